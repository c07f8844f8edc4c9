// SPDX-License-Identifier: Apache-2.0

// Package badinput holds the tests of what an application sees when something it was given is
// wrong: the URL, an alias, a target, the driver's file, the broker, a message of a peer. Each
// case says which text must be seen; the test's log has the whole of it. URLs and brokers have their
// rows for each driver; what is not a driver's own is done on every wire.
//
// A planted password is searched for in everything that any of these produce.
package badinput
