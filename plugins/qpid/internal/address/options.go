// SPDX-License-Identifier: Apache-2.0

package address

// Mode is how addresses look.
type Mode string

// The modes.
const (
	Legacy   Mode = "legacy"   // exclusive.openstack.topic.server
	Routable Mode = "routable" // openstack.org/om/rpc/unicast/openstack/topic/server
	Dynamic  Mode = "dynamic"  // by the peer's product; see Options.For
)

// Termini says whether the capabilities of termini are asked for.
type Termini string

// The ways to ask.
const (
	TerminiAuto Termini = "auto" // from peers that make nodes by them; see Resolver.Capabilities
	TerminiNone Termini = "none" // from none, as upstream does
)

// DefaultExchange is upstream's control_exchange.
const DefaultExchange = "openstack"

// Options are what addresses are made of: upstream's options of the same names in the group
// oslo_messaging_amqp (oslo_messaging/_drivers/amqp1_driver/opts.py). An empty text is a
// setting like any other, and leaves a part out; start from Defaults.
type Options struct {
	// Mode is addressing_mode.
	Mode Mode
	// VirtualHost is part of every address; empty for none. It is the URL's with pseudo_vhost, and
	// empty without.
	VirtualHost string

	// ServerRequestPrefix, BroadcastPrefix and GroupRequestPrefix start legacy addresses: of one
	// server, of all, of any.
	ServerRequestPrefix string
	BroadcastPrefix     string
	GroupRequestPrefix  string

	// RPCAddressPrefix and NotifyAddressPrefix start routable addresses, and the three tags follow
	// them.
	RPCAddressPrefix    string
	NotifyAddressPrefix string
	MulticastAddress    string
	UnicastAddress      string
	AnycastAddress      string

	// DefaultExchange is what the core fills in where a target names no exchange (upstream:
	// control_exchange).
	DefaultExchange string
	// DefaultRPCExchange and DefaultNotificationExchange take its place in routable addresses,
	// unless they are empty. A target that names the default exchange itself is not told from one
	// that names none.
	DefaultRPCExchange          string
	DefaultNotificationExchange string

	// Termini is terminus_capabilities, an option of ours.
	Termini Termini
}

// Defaults returns upstream's defaults, and ours where upstream has none.
func Defaults() Options {
	return Options{
		Mode:                Dynamic,
		ServerRequestPrefix: "exclusive",
		BroadcastPrefix:     "broadcast",
		GroupRequestPrefix:  "unicast",
		RPCAddressPrefix:    "openstack.org/om/rpc",
		NotifyAddressPrefix: "openstack.org/om/notify",
		MulticastAddress:    "multicast",
		UnicastAddress:      "unicast",
		AnycastAddress:      "anycast",
		DefaultExchange:     DefaultExchange,
		Termini:             TerminiAuto,
	}
}
