// SPDX-License-Identifier: Apache-2.0

// Package address turns targets into AMQP 1.0 addresses as oslo.messaging's amqp1 driver does
// (oslo_messaging/_drivers/amqp1_driver/addressing.py). It is pure.
//
// Names are put into addresses as they are: there is no escape, as upstream has none, and empty
// parts are left out. Two targets can therefore have one address, here as there.
package address

import (
	"strings"

	"github.com/parleymq/parley/plugin/driver"
)

// service tells RPC from notifications, which routable addresses keep apart.
type service uint8

const (
	rpc service = iota
	notify
)

// multicastEnd is the last word of a legacy multicast address.
const multicastEnd = "all"

// Message is where a Call, Cast or Notification goes.
func (r Resolver) Message(m *driver.Message) string {
	if m.Kind == driver.Notification {
		return r.anycast(m.Target.Exchange, topicOf(m.Target.Topic, m.Priority), notify)
	}
	t := m.Target
	switch NodeOf(m) {
	case Multicast:
		return r.multicast(t.Exchange, t.Topic)
	case Unicast:
		return r.unicast(t.Exchange, t.Topic, t.Server)
	default:
		return r.anycast(t.Exchange, t.Topic, rpc)
	}
}

// Source are the addresses that a SourceServer or SourceNotifications receives from, in
// upstream's order and each once: of a server its own (Unicast), the fanout's (Multicast) and the
// topic's (Anycast); of notifications an Anycast one for each topic and priority. Other sources
// have none.
func (r Resolver) Source(src driver.Source) []string {
	switch src.Kind {
	case driver.SourceServer:
		t := src.Target
		return []string{
			r.unicast(t.Exchange, t.Topic, t.Server), r.multicast(t.Exchange, t.Topic), r.anycast(t.Exchange, t.Topic, rpc),
		}
	case driver.SourceNotifications:
		out := make([]string, 0, len(src.Notifications))
		seen := make(map[string]bool, len(src.Notifications))
		for _, n := range src.Notifications {
			a := r.anycast(n.Exchange, topicOf(n.Topic, n.Priority), notify)
			if !seen[a] {
				seen[a] = true
				out = append(out, a)
			}
		}
		return out
	default:
		return nil
	}
}

// topicOf is the topic of notifications of one priority (oslo_messaging/notify/messaging.py).
func topicOf(topic, priority string) string { return topic + "." + priority }

func (r Resolver) multicast(exchange, topic string) string {
	if r.Mode == Routable {
		return join("/", r.prefix(rpc, r.opts.MulticastAddress), r.opts.VirtualHost, r.exchange(exchange, rpc), topic)
	}
	return join(".", r.opts.BroadcastPrefix, r.opts.VirtualHost, r.exchange(exchange, rpc), topic, multicastEnd)
}

func (r Resolver) unicast(exchange, topic, server string) string {
	if r.Mode == Routable {
		return join("/", r.prefix(rpc, r.opts.UnicastAddress), r.opts.VirtualHost, r.exchange(exchange, rpc), topic, server)
	}
	return join(".", r.opts.ServerRequestPrefix, r.opts.VirtualHost, r.exchange(exchange, rpc), topic, server)
}

func (r Resolver) anycast(exchange, topic string, s service) string {
	if r.Mode == Routable {
		return join("/", r.prefix(s, r.opts.AnycastAddress), r.opts.VirtualHost, r.exchange(exchange, s), topic)
	}
	return join(".", r.opts.GroupRequestPrefix, r.opts.VirtualHost, r.exchange(exchange, s), topic)
}

// prefix starts a routable address. Its slash is always there, as upstream's is.
func (r Resolver) prefix(s service, tag string) string {
	if s == notify {
		return r.opts.NotifyAddressPrefix + "/" + tag
	}
	return r.opts.RPCAddressPrefix + "/" + tag
}

// exchange returns the exchange's part of an address. A target that names none has the default
// of its service with upstream. The core fills it in before that, so that the default exchange
// stands for none here.
func (r Resolver) exchange(name string, s service) string {
	fallback := r.opts.DefaultExchange
	if r.Mode != Routable {
		return first(name, fallback)
	}
	if name != "" && name != fallback {
		return name
	}
	if s == notify {
		return first(r.opts.DefaultNotificationExchange, fallback, DefaultExchange)
	}
	return first(r.opts.DefaultRPCExchange, fallback, DefaultExchange)
}

// first returns the first text that is not empty.
func first(texts ...string) string {
	for _, s := range texts {
		if s != "" {
			return s
		}
	}
	return ""
}

// join puts sep between the parts that are not empty.
func join(sep string, parts ...string) string {
	size := 0
	for _, p := range parts {
		size += len(p) + len(sep)
	}
	var b strings.Builder
	b.Grow(size)
	for _, p := range parts {
		if p == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(sep)
		}
		b.WriteString(p)
	}
	return b.String()
}
