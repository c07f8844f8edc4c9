// SPDX-License-Identifier: Apache-2.0

// Package errors shows how errors travel and how they are told apart: what the server said,
// and what happened on this side. The code is in the examples.
package errors
