// SPDX-License-Identifier: Apache-2.0

// Package pyjson speaks the JSON of Python's json module, which is what oslo.messaging puts on
// the wire. It differs from encoding/json where the dialect does:
//
//   - NaN, Infinity and -Infinity are values.
//   - Integers have any size and stay apart from floats: 1 and 1.0 are different.
//   - A lone surrogate such as "\ud800" is a legal escape. Go strings cannot hold one, so it is
//     read as U+FFFD; nothing else about the text changes.
//   - Of duplicate keys the last one wins.
//   - A number too large for a float is infinite, not an error.
//
// Most of the package works on slices of the text without decoding it, because a driver moves
// the parts of a message around and has no use for their values.
//
// Errors name the place and the problem and never quote the text, so that they can be logged.
package pyjson

import "strconv"

// MaxDepth is how deeply arrays and objects may be nested. Python's own limit is its
// recursion limit, which is near.
const MaxDepth = 1000

// MaxIntDigits bounds the digits of an integer, as Python does (sys.int_info).
const MaxIntDigits = 4300

// SyntaxError says where a text stops being JSON and why, without quoting it.
type SyntaxError struct {
	Offset  int
	Problem string
}

// Error returns the problem and the offset.
func (e *SyntaxError) Error() string {
	return "json: " + e.Problem + " at offset " + strconv.Itoa(e.Offset)
}

func syntaxError(offset int, problem string) error {
	return &SyntaxError{Offset: offset, Problem: problem}
}
