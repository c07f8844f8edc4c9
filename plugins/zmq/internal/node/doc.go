// SPDX-License-Identifier: Apache-2.0

// Package node is RPC and notifications between processes with nothing between them: a node
// listens on one address, has a link to each peer it deals with, and keeps what it sent until the
// other side's application has it.
//
// # Where things are
//
//	node.go      Options, Open, Close; who owns which goroutine
//	parcel.go    one copy of a message on its way out, and to whom its fate is told
//	send.go      admission of messages, and what becomes of them when their time is over
//	queue.go     first in, first out
//	route.go     who listens to what, and who of them is given a message
//	waiting.go   messages that nobody can take now
//	orphan.go    what was written to a peer that is gone
//	spooling.go  notifications on disk
//	fanout.go    one message in several copies
//	settle.go    the answers to what was sent and received
//	inbound.go   one message received, until it is settled
//	listener.go  Poll, Done, Stop, Close
//	peer.go      another node
//	link.go      one connection to it
//	legacy.go    peers of oslo.messaging 8.x
//	mesh.go      which peers to dial, and when
//	announce.go  telling what this node listens to
//	sweep.go     what happens with time
//
// # What is promised
//
// Send returns when the receiver's process holds the message, and the sender's process keeps it
// until the receiver's application has it. Between the two either process may end:
//
//   - The link breaks: it is dialled again, and everything that is not done is sent again. The
//     receiver knows what it has by the sender's id and number.
//   - The receiving process ends and its application starts another: that one is given what was
//     not done. What the application had already, it knows by the unique id.
//   - The application is gone: what was never written to it goes to another. What was written
//     fails as in doubt, or was taken before; replies and notifications, which do no harm twice,
//     go to another.
//   - The sending process ends: messages whose Send has not returned are in doubt, as with any
//     driver; the others are with their receivers.
//
// # One lock
//
// Everything in a Node is guarded by its mu. Nothing that can wait is done while it is held:
// writing to a link only fills its buffer.
package node
