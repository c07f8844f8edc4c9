// SPDX-License-Identifier: Apache-2.0

// Package middleware shows what is put around calls and their handling: middleware of one's own,
// which checks who asks and takes the time, and the library's for tracing and metrics.
package middleware
