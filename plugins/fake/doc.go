// SPDX-License-Identifier: Apache-2.0

// Command parley-driver-fake is a driver without a broker: it keeps messages in its own
// memory. It is for tests and for trying things out, and shows what a driver looks like when
// nothing but the contract is left; the code is in internal/memory.
//
// # What it speaks
//
// Nothing. There is no wire: a message is handed from a sender to a listener as it is, inside
// one process. URLs say fake://, and may have a path; hosts, users and passwords are accepted
// and mean nothing.
//
//	fake:///vhost?queue_limit=100
//
// # Options
//
//	queue_limit    messages a queue holds before senders wait; 0 for no limit. Default: 10000.
//	reply_ttl      seconds a reply queue is kept without a listener; 0 for ever. Default: 1800.
//	message_limit  largest message taken, in bytes; 0 for no limit. Default: 0.
//
// They are options of a connection: its own queue_limit is what a sender waits for.
//
// # Topology
//
// Each virtual host, which is the URL's path, has queues of its own. A server listens to the
// queue of its topic, which it shares with the topic's other servers, to the queue of its own
// name, and to a queue that gets a copy of each fanout of exchange and topic. Replies have a
// queue by reply name. Notifications have a queue for each exchange, topic, priority and pool;
// the one without a pool is made when the first is sent and nobody listens, so that it waits
// for its listener.
//
// Queues of topics, servers and notifications stay for the life of the process. A fanout queue
// goes with its listener, a reply queue reply_ttl seconds after its last one.
//
// # Guarantees
//
// A message that Send took is delivered once for each queue it went to, in order within a
// queue, unless it expires, is requeued, or its listener closes before it is settled; then it
// comes again at its old place, marked as redelivered. Listeners of one queue take turns. All
// of it is gone with the process: a driver that is killed has lost its messages, and two
// applications have a process each and do not meet. It has every capability of a driver with a
// broker but "shared" and "stored_notifications".
//
// # Errors
//
//	CONFIG             an option that does not exist, or a value it cannot have
//	NO_ROUTE           a mandatory message whose queue nobody has ever listened to, or whose
//	                   reply queue is gone
//	EXPIRED            the message's time ran out, also while it waited for room
//	CANCELLED          the sender's context ended while the message waited for room
//	MESSAGE_TOO_LARGE  the message is above message_limit
//	CLOSED             the connection or listener is closed
//	UNSUPPORTED        Poll for less than one message, or from two goroutines
//
// # Limits
//
// A full queue holds up its sender, and with it what the same connection sends behind that
// message. Nothing is written to disk. The broker cannot be away, so that what a driver does
// then has to be tried with a real one.
package main
