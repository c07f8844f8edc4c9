// SPDX-License-Identifier: Apache-2.0

package address

import "github.com/parleymq/parley/plugin/driver"

// Node is what stands behind an address.
type Node uint8

// The nodes.
const (
	Unicast   Node = iota + 1 // one server
	Multicast                 // a copy for every server
	Anycast                   // any server of the topic, notifications
	Reply                     // a reply address, dynamic or named
)

// NodeOf is what a message goes to.
func NodeOf(m *driver.Message) Node {
	switch {
	case m.Kind == driver.Reply || m.Kind == driver.Heartbeat:
		return Reply
	case m.Kind == driver.Notification:
		return Anycast
	case m.Target.Fanout:
		return Multicast
	case m.Target.Server != "":
		return Unicast
	default:
		return Anycast
	}
}

// capabilities are those of the termini of queues and of topics, nil for none.
type capabilities struct {
	queue, topic []string
}

func (o Options) capabilitiesFor(product string) capabilities {
	switch {
	case o.Termini == TerminiNone:
		return capabilities{}
	case product == productQpidCpp:
		return capabilities{queue: []string{"create-on-demand", "queue"}, topic: []string{"create-on-demand", "topic"}}
	case isProduct(product, productArtemis):
		return capabilities{queue: []string{"queue"}, topic: []string{"topic"}}
	default:
		return capabilities{}
	}
}

// Capabilities are the terminus capabilities to ask for at such a node, nil for none: of the source
// of a receiver, of the target of a sender. Artemis takes a node for a topic unless it is told, and
// qpid-cpp makes none unless it is asked to. The caller must not change what it gets.
func (r Resolver) Capabilities(n Node) []string {
	if n == Multicast {
		return r.capabilities.topic
	}
	return r.capabilities.queue
}
