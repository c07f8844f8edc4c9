// SPDX-License-Identifier: Apache-2.0

// Package scripted is an AMQP 1.0 peer for tests: a small broker on a loopback port, in this
// process, that does wrong what a test tells it to do wrong.
//
// Left alone it behaves as Broker-J does where that matters to a client: nodes come to be when a
// link is attached to them, an address that begins with "broadcast." or contains "/multicast/" gives
// every consumer a copy, a dynamic source lives as long as its connection, an anonymous target takes
// messages by their "to". Nothing is durable, a TTL is not observed.
//
// Faults are scripted for an address ([Peer.OnMessage], [Peer.OnSender], [Peer.OnReceiver]), for the
// start of every connection ([Options]), or happen when the test says so ([Peer.Detach],
// [Peer.EndSessions], [Peer.CutAll] and others).
//
// Everything that clients send is recorded in order ([Peer.Events]), and what the protocol or
// Parley's own rules forbid them is kept apart ([Peer.Violations]).
//
// It has a codec of its own, which it uses for the client's frames and its own alike; so the tests do
// not believe in the library that the driver uses. All methods may be called from any goroutine.
package scripted
