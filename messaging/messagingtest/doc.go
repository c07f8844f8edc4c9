// SPDX-License-Identifier: Apache-2.0

// Package messagingtest is for the unit tests of applications that use package messaging: a
// broker in the memory of the test, without driver processes and without a network.
//
//	func TestResize(t *testing.T) {
//		broker := messagingtest.NewBroker()
//		app := NewApp(broker.Transport(t, nil))
//		app.Resize(t.Context(), "i-1")
//		sent := broker.Expect(t, messagingtest.Match{Method: "resize_instance"})
//		// look at sent.Args
//	}
//
// Transports of one [Broker] meet, as those of processes on one broker do, so a client and a
// server can be tested together. The Broker records what was sent, whether or not anybody
// receives it, and can be told to lose, repeat, delay or refuse the next message: what a
// program does then is what such tests are for.
//
// The broker keeps the whole contract of a driver and passes the same conformance suite. It is
// made for testing/synctest: nothing in it waits for anything but messages and clocks.
package messagingtest
