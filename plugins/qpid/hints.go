// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/parleymq/parley/plugins/qpid/internal/address"
)

// policyHint is what the operator of this peer has to add for the addresses of this driver, as far
// as the peer is known.
func (d *diagnosis) policyHint() string {
	o := d.c.set.addresses
	product := strings.ToLower(d.s.product)
	switch {
	case strings.HasPrefix(product, "apache qpid broker-j"):
		return "add to the broker's virtual host:\n" + brokerJPolicies(o)
	case product == "qpid-cpp":
		return fmt.Sprintf("leave terminus_capabilities at auto, or add to qpidd.conf:\nqueue-patterns=%s\nqueue-patterns=%s\ntopic-patterns=%s",
			o.ServerRequestPrefix, o.GroupRequestPrefix, o.BroadcastPrefix)
	case strings.Contains(product, "dispatch"), strings.Contains(product, "skupper"):
		return "add to the router's configuration:\n" + routerAddresses(o, d.s.addr.Mode)
	case strings.HasPrefix(product, "apache-activemq-artemis"):
		return fmt.Sprintf("leave terminus_capabilities at auto, and let the broker make nodes, in broker.xml:\n"+
			"<address-setting match=\"%s\"><auto-create-queues>true</auto-create-queues><auto-create-addresses>true</auto-create-addresses></address-setting>", "#")
	case strings.HasPrefix(product, "rabbitmq"):
		return "RabbitMQ's AMQP 1.0 has no fanout and no reply addresses: use rabbit:// for RPC, and this driver for notifications at most"
	default:
		return "let the peer make the nodes of these addresses when they are first used, or make them beforehand"
	}
}

// brokerJPolicies is the attribute of a Broker-J virtual host that makes nodes for legacy addresses.
// Every consumer of a fanout's queue gets its copy, and a late one none of the older messages.
func brokerJPolicies(o address.Options) string {
	type policy struct {
		Pattern    string         `json:"pattern"`
		NodeType   string         `json:"nodeType"`
		Attributes map[string]any `json:"attributes"`
		OnPublish  bool           `json:"createdOnPublish"`
		OnConsume  bool           `json:"createdOnConsume"`
	}
	text, err := json.MarshalIndent(map[string]any{"nodeAutoCreationPolicies": []policy{
		{
			Pattern:  "(" + regexp.QuoteMeta(o.ServerRequestPrefix) + "|" + regexp.QuoteMeta(o.GroupRequestPrefix) + `)\..*`,
			NodeType: "queue", OnPublish: true, OnConsume: true, Attributes: map[string]any{"maximumDeliveryAttempts": 20},
		},
		{
			Pattern:  regexp.QuoteMeta(o.BroadcastPrefix) + `\..*`,
			NodeType: "queue", OnPublish: true, OnConsume: true, Attributes: map[string]any{
				"ensureNondestructiveConsumers": true, "maximumMessageTtl": 60000,
				"defaultFilters": `{"x-qpid-replay-period":{"x-qpid-replay-period":["0"]}}`,
			},
		},
	}}, "", "  ")
	if err != nil {
		return err.Error() // it is made of texts and numbers
	}
	return string(text)
}

// routerAddresses are the address sections of a dispatch router.
func routerAddresses(o address.Options, mode address.Mode) string {
	var b strings.Builder
	section := func(prefix, distribution string) {
		fmt.Fprintf(&b, "address { prefix: %s  distribution: %s }\n", prefix, distribution)
	}
	if mode == address.Legacy {
		section(o.ServerRequestPrefix, "closest")
		section(o.GroupRequestPrefix, "closest")
		section(o.BroadcastPrefix, "multicast")
		return strings.TrimSuffix(b.String(), "\n")
	}
	for _, prefix := range []string{o.RPCAddressPrefix, o.NotifyAddressPrefix} {
		section(prefix+"/"+o.UnicastAddress, "closest")
		section(prefix+"/"+o.AnycastAddress, "balanced")
		section(prefix+"/"+o.MulticastAddress, "multicast")
	}
	return strings.TrimSuffix(b.String(), "\n")
}
