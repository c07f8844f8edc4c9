// SPDX-License-Identifier: Apache-2.0

// Package sieve keeps messages from the AMQP library that it cannot read. go-amqp v1.7.0 decodes a
// message before anybody can look at it, and what it meets there is the publisher's:
//
//   - A map with a key that Go cannot hash, such as an annotation whose name is binary, is a panic, and
//     values nested a million times, for which a megabyte is enough, overflow the stack. Either ends
//     the process, and the broker gives the message to the next.
//   - A type that it does not know, such as char, closes the link, and the message comes again with
//     the next link, for ever.
//
// A Conn reads what comes off the socket before the library does. A message that the library could
// not read is overwritten, in its place and size, with sections of data that say why, so that it is
// received and can be rejected like any other that makes no sense. Everything else passes as it is.
//
// What passes is less than what AMQP allows, and more than what any oslo.messaging peer sends: no
// described values within a section, maps with keys of simple types, values at most maxDepth deep.
package sieve
