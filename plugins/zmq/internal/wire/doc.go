// SPDX-License-Identifier: Apache-2.0

// Package wire is the format in which nodes talk to each other: envelope 2.
//
// A packet is one ZeroMQ message of exactly five frames:
//
//	frame  content
//	0      empty, as REQ sockets put it in front
//	1      the version: 2.0
//	2      the header
//	3      the request context of a call, cast or notify as one JSON object, or empty;
//	       the failure object of a reply that is one, else empty
//	4      the body of a message; the JSON of the sender's record in hello and welcome;
//	       the registry's payload in gossip; else empty
//
// The header is one CBOR map (RFC 8949) with unsigned integers for keys, each of definite length.
// Keys ascend, so that none can occur twice; integers have their shortest form. Who reads skips
// keys that it does not know, whatever well-formed value they have, and the context and body of
// types that have none: a later version may fill them. Times are integers of milliseconds. What is
// zero, empty or false is left out.
//
//	key  name         value            in
//	0    type         uint, see Type   all packets; never left out
//	1    seq          uint from 1      messages, that is call, cast, notify, reply and heartbeat;
//	                                   never left out there
//	2    floor        uint             all packets
//	3    attempt      uint             messages, and so on to 19
//	4    redelivered  bool
//	5    pool         text             used by notify
//	6    exchange     text             call, cast, notify, like 7 to 10
//	7    topic        text
//	8    server       text
//	9    fanout       bool
//	10   scoped       bool
//	11   priority     text             notify
//	12   format       uint             notify: 1 messaging, 2 messagingv2
//	13   reply_to     text             call, reply, heartbeat
//	14   call_id      text             call, reply, heartbeat
//	15   unique_id    text
//	16   monitor      uint, ms         call
//	17   time_left    int, ms          negative when it is over
//	18   deadline     uint, Unix ms
//	19   headers      map text: text
//	20   acked        ranges           packets that are no messages, and so on to 26; used by settle
//	21   done         ranges           settle
//	22   nacks        array of [seq, reason, retry_after in ms], each a uint; used by settle
//	23   load         uint
//	24   number       uint             hello, welcome, recall
//	25   sync         bool             hello
//	26   target       map              recall
//
// Ranges are one flat array of uints, two for each range: its first number, and how many follow
// that one. A target is a map like the header: 0 kind (uint), 1 exchange, 2 topic, 3 server,
// 4 scoped (bool), 5 reply, 6 priority, 7 pool, 8 at_least_once (bool).
//
// # Limits
//
// A header has at most MaxHeader bytes, a text MaxText, a list of ranges or nacks MaxRanges
// entries, a record MaxRecord bytes of JSON, MaxTargets targets and MaxEndpoints endpoints. Values
// nest at most 16 deep. What is beyond is refused whole, with one exception: headers of a message
// that driver.CheckHeaders does not allow are left out, because nothing of RPC is in them. How
// large a frame is, is the connection's limit.
//
// A range is two numbers that a peer chose and may span all of them. Who settles by it walks what
// it has sent, not the range.
package wire

// The limits of packets in both directions; see Packet.Check for what is about to be sent.
const (
	// MaxHeader is the most bytes of a header: what the longest lists need.
	MaxHeader = 4 << 20
	// MaxText is the most bytes of one text of a header.
	MaxText = 64 << 10
	// MaxRanges is the most entries of Acked, of Done and of Nacks.
	MaxRanges = 65536
	// MaxRecord is the most bytes of a record's JSON.
	MaxRecord = 1 << 20
	// MaxTargets is the most targets of a record.
	MaxTargets = 10000
	// MaxEndpoints is the most endpoints of a record.
	MaxEndpoints = 64

	// maxDepth is how deep the values of a header are nested.
	maxDepth = 16
)
