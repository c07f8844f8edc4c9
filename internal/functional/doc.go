// SPDX-License-Identifier: Apache-2.0

// Package functional holds upstream's own test cases for remote procedure calls and notifications, written anew
// for Parley's public API: those of oslo_messaging/tests/functional/test_functional.py and of
// the unit tests that say how calls behave. Where a driver is involved, the same case runs on
// the fake driver and on every wire of the test bed (rabbit with a real broker, zmq with none), as
// processes of their own. What is expected follows from the capabilities; a case that needs what
// only one wire has says so, and is logged as not proven on the others.
//
// docs/COMPATIBILITY.md maps every upstream case to a test; a test here reads that file, and
// fails when it names a test that does not exist.
package functional
