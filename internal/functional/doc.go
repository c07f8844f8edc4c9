// SPDX-License-Identifier: Apache-2.0

// Package functional holds upstream's own test cases for remote procedure calls, written anew
// for Parley's public API: those of oslo_messaging/tests/functional/test_functional.py and of
// the unit tests that say how calls behave. Where a driver is involved, the same case runs on
// the fake driver and on rabbit with a real broker, both as processes of their own.
//
// docs/COMPATIBILITY.md maps every upstream case to a test; a test here reads that file, and
// fails when it names a test that does not exist.
package functional
