// SPDX-License-Identifier: Apache-2.0

// Package flow holds the tests of what shares one driver process: calls of many megabytes among
// small ones, and very many servers. internal/bridge has the tests of the boundary by itself.
package flow
