// SPDX-License-Identifier: Apache-2.0

// Package untyped shows methods without declared types: maps in, any JSON value out, for
// peers whose interface is not known to the compiler. The code is in the examples.
package untyped
