// SPDX-License-Identifier: Apache-2.0

package driver

import "slices"

// Capability names something that not every broker can do. The core asks for the capability
// before it relies on it and refuses early, with the driver's name, what a driver cannot do.
type Capability string

// The capabilities of this version of the contract.
const (
	// CapRPC: calls, casts and replies.
	CapRPC Capability = "rpc"
	// CapFanout: a cast to every server of a topic.
	CapFanout Capability = "fanout"
	// CapScopedFanout: Target.Scoped is honoured (LISTEN-8).
	CapScopedFanout Capability = "scoped_fanout"
	// CapUnscopedFanout: without Target.Scoped a fanout reaches the servers of its topic in
	// every exchange. It is a fact about the wire, upstream's rabbit has it, not an ability.
	CapUnscopedFanout Capability = "unscoped_fanout"
	// CapMandatory: ReasonNoRoute for a Mandatory message that nobody can receive.
	CapMandatory Capability = "mandatory"
	// CapStableReplies: a reply name keeps its messages while the driver is away (LISTEN-5).
	CapStableReplies Capability = "stable_replies"
	// CapExpiry: the broker drops a message that was not taken in its TimeLeft.
	CapExpiry Capability = "expiry"
	// CapRequeue: Requeued brings a delivery back.
	CapRequeue Capability = "requeue"
	// CapNotifications: sending and receiving notifications.
	CapNotifications Capability = "notifications"
	// CapPools: every pool of notification listeners gets its own copy.
	CapPools Capability = "pools"
	// CapStoredNotifications: a notification that nobody listens to yet can be kept for who listens
	// later, over restarts of the application. The driver's options say whether it is and for how
	// long.
	CapStoredNotifications Capability = "stored_notifications"
	// CapQueues: the Conn tells what waits in the queues of notifications, see [QueueInspector].
	CapQueues Capability = "notification_queues"
	// CapHeaders: Message.Headers arrive at the other end.
	CapHeaders Capability = "headers"
	// CapShared: applications in different processes meet. A driver without it is for tests.
	CapShared Capability = "shared"
	// CapAckOnReceipt: nobody but its sender keeps a message until it is done. A request that such
	// a driver had answered for, and not handed to the core when it died, would be lost. For a
	// server that acknowledges before it dispatches, the core therefore listens with SettleOnDone
	// and Source.AtMostOnce, and says Done(Accepted) for all that came together, once, before it
	// dispatches any of it.
	//
	//	RECEIPT-1  Done does not wait for a peer: the core calls it on the way to the handlers. It
	//	           may come some milliseconds late when it is the last thing that happens.
	//	RECEIPT-2  With Source.AtMostOnce a delivery that Poll returned may have been run from
	//	           that moment on. When its Listener, driver or application ends before Done, it
	//	           is given again to a Listener of the same Config.Instance, or to nobody: the
	//	           core there knows it by its UniqueID. That holds for each copy that is given
	//	           again for this cause, also before Poll returned it. Anything else goes back as
	//	           always (CLOSE-4), and so does what the core says Done(Requeued) for: it has
	//	           not run that.
	CapAckOnReceipt Capability = "ack_on_receipt"
	// CapDirect: nothing stands between a sender and its receivers that would keep a message
	// nobody listens for. "The broker took it" then means that the process of a receiver did.
	//
	//	DIRECT-1  A Call, Cast or Notification without Mandatory that nobody listens for waits for
	//	          a listener, until its TimeLeft or ctx ends. It then fails with ReasonNoRoute, or
	//	          with ReasonExpired when it was its TimeLeft, not in doubt, and is never
	//	          delivered. A driver that stores notifications itself takes them instead.
	//	          A Call with a MonitorTimeout waits for no longer than that: it asked for signs of
	//	          life.
	//	DIRECT-2  What waits holds up nothing else: not the other messages of its batch to other
	//	          targets, and with SendAsync, which such a driver has, no later call.
	//	DIRECT-3  A FailFast message that nobody listens for fails with ReasonNoRoute at once. Only
	//	          while the Conn looks for its peers for the first time it waits for the outcome.
	//	DIRECT-4  A Mandatory message that nobody listens for fails with ReasonNoRoute after a short
	//	          time, which an option of the driver says: a listener may be about to be found.
	//	DIRECT-5  A fanout that nobody hears is no error, and never waits.
	//	DIRECT-6  A Reply or Heartbeat without Mandatory, to a name that nobody has listened to as
	//	          far as is known, may vanish in silence.
	//	DIRECT-7  What a Listener gives back goes to its sender, who gives it to another listener or
	//	          lets it wait for one. When the sender is gone, it may be lost with a log record.
	CapDirect Capability = "direct"
)

// Info is what a driver says of itself.
type Info struct {
	// Name is the driver's canonical name: lower-case letters, digits and dashes.
	Name string `json:"name"`
	// Version is the driver's own semantic version.
	Version string `json:"version"`
	// Summary is one line for people: which broker, which wire.
	Summary string `json:"summary"`
	// Aliases are further names the driver answers to. An application's aliases and the
	// built-in ones come before them.
	Aliases []string `json:"aliases,omitempty"`
	// DefaultPort is the broker's port when a URL names none; zero when there is none.
	DefaultPort int `json:"default_port,omitempty"`
	// Capabilities lists what the driver can do.
	Capabilities []Capability `json:"capabilities"`
	// Options lists every option of the driver, see DESC-3.
	Options []OptionSpec `json:"options"`
}

// Has reports whether the driver declared the capability.
func (i Info) Has(c Capability) bool { return slices.Contains(i.Capabilities, c) }
