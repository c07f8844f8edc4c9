// SPDX-License-Identifier: Apache-2.0

// Package memory is a transport driver without a broker: the whole contract of package
// driver, kept in memory. It is the driver behind parley-driver-fake and behind
// messagingtest, and it is the one to read first when writing another.
//
// # Where things are
//
//	driver.go    what the driver says of itself, and Open
//	conn.go      sending: admission, waiting for room, closing
//	vhost.go     one virtual host: its queues and the one lock over everything in it
//	route.go     which queues a message goes to, and which a listener takes from
//	queue.go     one queue: order, expiry, who is given the next message
//	listener.go  polling, settling, handing back
//	entry.go     a message while it is in a queue
//	direct.go    the same as if there were no queues, for tests
//
// # The one idea
//
// Nothing here runs by itself. There is no goroutine and no timer that outlives a call: a
// message moves when somebody sends, polls, settles or closes, and all of that happens under
// the lock of its virtual host. Whoever has to wait puts a channel where the next one to move
// something will find it, and lets go of the lock.
package memory
