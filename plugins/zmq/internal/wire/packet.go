// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/registry"
)

// Version is the second frame of every packet.
const Version = "2.0"

// Type says what a packet is. The numbers are on the wire and never change.
type Type uint8

// The types of packets.
const (
	Call Type = iota + 1
	Cast
	Notify
	Reply
	Heartbeat
	// Settle answers for packets received: Acked, Done, Nacks.
	Settle
	// Hello is the first packet in each direction of a link, and again when the sender's record
	// changed. Hello.Sync asks for a Welcome.
	Hello
	// Welcome says that the Hello with the same Number has been taken in.
	Welcome
	// Recall asks the receiver to give back, by NackBack, up to Number messages of the sender for
	// Target that nobody took yet: another listener would.
	Recall
	// Gossip carries a registry's Payload.
	Gossip
	// Goodbye says that the sender will close the link and is not coming back.
	Goodbye
)

// Packet is one multipart message between two nodes.
type Packet struct {
	Type Type

	// Seq numbers the message copies of one node, from 1 and for Call to Heartbeat only. With the
	// node's id it is the identity of a copy, whichever link it takes.
	Seq uint64
	// Attempt is 0 for the first time that a copy is sent, and grows.
	Attempt uint32
	// Redelivered: the message was with another listener before.
	Redelivered bool
	// Pool is the pool of notification listeners that the copy is for.
	Pool string
	// Message is what Call to Heartbeat carry. TimeLeft crosses in milliseconds, rounded up and
	// never to zero; Token-like and local fields (FailFast, Mandatory) do not cross.
	Message driver.Message

	// Settlements, for Settle.
	Acked []Range
	Done  []Range
	Nacks []Nack
	// Load is how many messages wait in the sender's queues, in any packet but Call to Heartbeat.
	Load uint32
	// Floor says that every Seq below it that was sent to this receiver is settled and will not
	// come again: the receiver forgets them. In every type of packet; zero says nothing.
	Floor uint64

	// Record is of Hello and Welcome, Number of Hello, Welcome and Recall, Sync of Hello.
	Record *registry.Record
	Number uint64
	Sync   bool

	// Target of a Recall.
	Target registry.Target

	// Gossip.
	Payload []byte
}

// Range is a run of sequence numbers, both ends included.
type Range struct{ From, To uint64 }

// Nack refuses a message, or gives it back.
type Nack struct {
	Seq    uint64
	Reason NackReason
	// RetryAfter is the receiver's advice; zero for none. Milliseconds on the wire.
	RetryAfter time.Duration
}

// NackReason says why. The numbers are on the wire and never change.
type NackReason uint8

// The reasons of a Nack.
const (
	// NackBusy: no room in the queue.
	NackBusy NackReason = iota + 1
	// NackNoTarget: nobody listens to that here.
	NackNoTarget
	// NackClosing: the node is about to end.
	NackClosing
	// NackBad: the message cannot be understood. It is not sent again.
	NackBad
	// NackBack: it was admitted, nobody took it, and it goes back.
	NackBack
	// NackRequeued: the application gave it back.
	NackRequeued
	// NackExpired: its time was over before anybody took it.
	NackExpired
	// NackTaken: the application was given it and has not said what became of it. It may have been
	// handled: nobody but that application may have it again.
	NackTaken
)
