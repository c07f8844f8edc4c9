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
	// CapHeaders: Message.Headers arrive at the other end.
	CapHeaders Capability = "headers"
	// CapShared: applications in different processes meet. A driver without it is for tests.
	CapShared Capability = "shared"
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
