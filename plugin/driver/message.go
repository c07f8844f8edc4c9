// SPDX-License-Identifier: Apache-2.0

package driver

import "time"

// Kind says what a message is for.
type Kind uint8

// The kinds of messages. The numbers cross the process boundary and never change.
const (
	// Call is a request whose sender waits for a Reply.
	Call Kind = iota + 1
	// Cast is a request that is not answered.
	Cast
	// Reply is the one answer to a Call: a result or a failure.
	Reply
	// Heartbeat tells the sender of a Call that its handler still runs. It is only sent to a
	// caller that asked for it with MonitorTimeout.
	Heartbeat
	// Notification is an event for whoever listens to its topic and priority.
	Notification
)

// String returns the kind's name in lower case.
func (k Kind) String() string {
	switch k {
	case Call:
		return "call"
	case Cast:
		return "cast"
	case Reply:
		return "reply"
	case Heartbeat:
		return "heartbeat"
	case Notification:
		return "notification"
	default:
		return "unknown"
	}
}

// Target is where a Call, Cast or Notification goes, or what a Source listens to. The core
// has validated it and filled in the exchange; a driver never checks it again.
type Target struct {
	Exchange string
	Topic    string
	Server   string // one server of the topic; empty for any
	Fanout   bool   // every server of the topic; Server is then empty

	// Scoped keeps fanout within the exchange. In a Message it goes with Fanout; in a
	// SourceServer it says which fanouts are heard (LISTEN-8). It needs CapScopedFanout.
	Scoped bool
}

// NotificationFormat is the version of the notification format on the wire: upstream's
// "messaging" (1) and "messagingv2" (2) drivers. Each driver maps it to its framing.
type NotificationFormat uint8

// The formats of notifications.
const (
	NotificationV1 NotificationFormat = iota + 1
	NotificationV2
)

// Message is one message, structured. The driver maps it to its wire.
type Message struct {
	Kind Kind

	// Target is set for Call, Cast and Notification.
	Target Target

	// Priority is set for Notification: audit, debug, info, warn, error, critical or sample.
	Priority string
	// Format is set for Notification.
	Format NotificationFormat

	// ReplyTo is the reply name: where the answer to a Call goes, and where a Reply or
	// Heartbeat is sent. The core chose it (see Source.ReplyName), or the peer that called.
	// Without CapStableReplies the peer of a Call sees the address that the name stands for.
	ReplyTo string

	// CallID joins a Reply or Heartbeat to its Call (upstream: _msg_id).
	CallID string

	// UniqueID is new for every message sent, the same when one is sent again
	// (upstream: _unique_id). Receivers drop what they have seen.
	// A Call whose reply address ended is sent again with a new one: the first answer is lost.
	UniqueID string

	// MonitorTimeout, when positive on a Call, asks the server for heartbeats at half of it
	// (upstream: _timeout, in seconds).
	MonitorTimeout time.Duration

	// Context is the request context as one JSON object, or empty.
	Context []byte

	// Body is JSON. Call, Cast: an object with method, args and, when set, namespace and
	// version. Reply: the result, any JSON value, "null" when there is a Failure.
	// Notification: the event's object. Heartbeat: empty.
	//
	// JSON is the dialect of Python's json module: NaN, Infinity and integers of any size
	// occur in messages received.
	Body []byte

	// Failure is set on a Reply that is a failure: a JSON object with class, module, message,
	// tb, args and kwargs, as upstream's serialize_remote_exception makes it.
	Failure []byte

	// TimeLeft is how long the message is still wanted, counted from the moment it is handed
	// over; every hop subtracts what it used. Zero means without limit, negative that it is over.
	//
	// In a Delivery it is an upper bound: a wire tells how much time a message was sent with,
	// rarely how long the broker kept it. A driver fills it where its wire tells, and subtracts
	// what the delivery waited inside the driver, which never makes it zero. The core does better
	// with Deadline.
	TimeLeft time.Duration

	// Deadline is when TimeLeft is over, by the sender's own clock and in milliseconds; zero when
	// it is not known. It stays the same on the whole way, however long the message waits
	// somewhere. A driver whose wire has a place for it carries it, and never computes with it:
	// the clocks need not agree.
	Deadline time.Time

	// FailFast asks for an error at once while the broker is away (SEND-10).
	FailFast bool

	// Headers carry what is not oslo.messaging's, such as trace context. They never carry
	// anything that RPC needs. A driver whose wire has no place for them drops them. They are
	// valid UTF-8 and bounded by MaxHeaders and MaxHeaderBytes (CheckHeaders), in both
	// directions; a wire may reserve further names.
	Headers map[string]string

	// Mandatory asks for ReasonNoRoute when nobody can receive the message.
	Mandatory bool
}

// Size is the number of bytes the message counts for in limits and credit: its texts plus a
// fixed overhead. It is not the size on any wire.
func (m *Message) Size() int {
	n := messageOverhead + len(m.Body) + len(m.Context) + len(m.Failure) +
		len(m.ReplyTo) + len(m.CallID) + len(m.UniqueID) +
		len(m.Target.Exchange) + len(m.Target.Topic) + len(m.Target.Server)
	for k, v := range m.Headers {
		n += len(k) + len(v)
	}
	return n
}

// messageOverhead stands for the fixed fields of a message in a frame.
const messageOverhead = 64

// Delivery is a message received. Target, Priority and Mandatory are not promised to be set: what
// a receiver needs is in Body. Format is that of a notification as it was sent, where the wire
// tells; zero stands for not known.
type Delivery struct {
	Message

	// Token names the delivery in Done. It is unique within its Listener; zero when the
	// delivery needs no Done.
	Token uint64

	// Redelivered is the broker's hint that the message was delivered before.
	Redelivered bool

	// Lost is set by a SourceReplies of a driver without CapStableReplies, whose reply address may
	// end. The Delivery is then no message: of its fields only Kind, which is Reply, and CallID
	// are set.
	//
	//	LOST-1  When the address that a reply name stands for ends, every Call that was handed to
	//	        the broker with it and is not answered is reported lost, once, with InDoubt set: its
	//	        server may have run it, or may still. Token is zero.
	//	LOST-2  Nothing else fails for it: not a Call that was not sent yet, which goes with the
	//	        next address, and not a Cast. The Listener stays usable.
	//	LOST-3  Without CapStableReplies, Stop of a SourceReplies goes on taking messages until the
	//	        Calls sent with its name are answered, or lost, or ctx ends; and only then does what
	//	        STOP-1 says. That is how a connection moves to another process with calls under way.
	Lost *Error
}

// Result is what became of a delivery.
type Result uint8

// The results. The numbers cross the process boundary and never change.
const (
	// Accepted: the message was handled and is to be forgotten.
	Accepted Result = iota + 1
	// Requeued: the message goes back to the broker, for any consumer.
	Requeued
	// Rejected: the message is not wanted; the broker drops it or keeps it as a dead letter.
	Rejected
)

// String returns the result's name in lower case.
func (r Result) String() string {
	switch r {
	case Accepted:
		return "accepted"
	case Requeued:
		return "requeued"
	case Rejected:
		return "rejected"
	default:
		return "unknown"
	}
}

// Outcome settles one delivery.
type Outcome struct {
	Token  uint64
	Result Result
}
