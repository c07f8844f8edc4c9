// SPDX-License-Identifier: Apache-2.0

package driver

// SourceKind says what a Listener is for.
type SourceKind uint8

// The kinds of sources. The numbers cross the process boundary and never change.
const (
	// SourceServer receives the requests of an RPC server; see LISTEN-4.
	SourceServer SourceKind = iota + 1
	// SourceReplies receives the replies to the calls of one transport; see LISTEN-5.
	SourceReplies
	// SourceNotifications receives notifications of the listed topics and priorities.
	SourceNotifications
)

// String returns the kind's name.
func (k SourceKind) String() string {
	switch k {
	case SourceServer:
		return "server"
	case SourceReplies:
		return "replies"
	case SourceNotifications:
		return "notifications"
	default:
		return "unknown"
	}
}

// Settle says who acknowledges a delivery to the broker, and when. It is the answer to the
// question in the project's first notes, whether done() is needed when poll() can ack: both,
// because the two lose differently.
type Settle uint8

// The ways to settle. The numbers cross the process boundary and never change.
const (
	// SettleOnPoll: Poll acknowledges what it returns. A request is then run at most once; a
	// driver that dies between its acknowledgement and the core loses it, and the caller
	// learns that by its deadline. RPC servers use it by default: it costs no second trip. With
	// CapAckOnReceipt they use SettleOnDone and AtMostOnce instead.
	SettleOnPoll Settle = iota + 1
	// SettleOnDone: the core says Done. What is not done when the driver or the application
	// dies is delivered again. Replies and notifications use it; both are idempotent for the
	// core, by call id and by unique id.
	SettleOnDone
)

// Source is what a Listener receives from.
type Source struct {
	Kind   SourceKind
	Settle Settle

	// AtMostOnce goes with SettleOnDone, for drivers with CapAckOnReceipt: what Poll returned may
	// have been run though it is not done, and is given to nobody else (RECEIPT-2). The core says
	// Done when it has a delivery, and not when it has been handled.
	AtMostOnce bool

	// Target is set for SourceServer: exchange, topic, server and whether it hears Scoped
	// fanouts. Fanout is not set: a server hears it always.
	Target Target

	// ReplyName is set for SourceReplies: chosen by the core, unique in the world, at most 64
	// bytes of [A-Za-z0-9_-], the same after a restart.
	ReplyName string

	// Notifications and Pool are set for SourceNotifications. Listeners of one pool share the
	// messages; every pool gets its own copy.
	Notifications []NotificationTopic
	Pool          string
}

// NotificationTopic is one exchange, topic and priority of a SourceNotifications.
type NotificationTopic struct {
	Exchange string
	Topic    string
	Priority string
}
