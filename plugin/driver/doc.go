// SPDX-License-Identifier: Apache-2.0

// Package driver is the contract between Parley's core and a transport driver.
//
// A driver knows one kind of message broker and nothing of remote procedure calls. It
// sends and it listens; a listener is polled, and told when a message is done. Everything
// that can be said once for all brokers (target rules, ids, correlation of replies,
// deadlines, duplicates, retries, versions, dispatch) is said in the core.
//
// The package imports the standard library only. A Go driver implements [Driver], [Conn]
// and [Listener] and hands the first to sdk.Serve, which runs it as a process of its own;
// the same three interfaces are what the core is given on its side of the process boundary,
// so that a driver can also be linked into a test.
//
// # Reading the contract
//
// Every rule has an id, such as SEND-3. Tests cite the ids, and so do the errors of the
// conformance suite. "Core" is whoever calls the driver: Parley's core, the SDK that serves
// the driver, or a test. MUST rules are checked; SHOULD rules are reported.
//
// # Life of a driver
//
//	LIFE-1  One process serves one Driver value. The core MAY open many Conns on it, at once
//	        and one after another, each with its own [Config].
//	LIFE-2  No method may be called on a Conn or Listener after its Close was called, and
//	        Close is called once; a Poll may be waiting then. All other methods may be called from any goroutine at any
//	        time unless a rule says otherwise.
//	LIFE-3  A process may end at any moment, without notice. The core then starts another,
//	        opens the same Configs and listens to the same Sources. A driver therefore keeps
//	        nothing that must outlive it: names that must be stable come from the core.
//	LIFE-4  A driver reconnects to its broker by itself, for as long as the Conn is open.
//	        A lost broker is a [State], never a reason to end the process.
//	LIFE-5  A driver never retries what could run twice. Who retries is the core, by the kind
//	        of the message; see [Error.InDoubt].
//	LIFE-6  Arguments are lent: a driver MUST NOT keep or change a Message, its slices or maps
//	        after the call returned (after done was called, for SendAsync). Deliveries are
//	        given: the core owns them from the moment Poll returned.
//
// # Time
//
// Every call has a ctx, and every wait in a driver ends when it does. Deadlines cross
// process boundaries as time left, see [Message.TimeLeft], because two machines do not share
// a clock.
package driver
