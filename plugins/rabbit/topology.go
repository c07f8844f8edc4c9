// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"slices"
	"strconv"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/plugin/driver"
)

// exchangeSpec, queueSpec and binding are declared in this order, each exactly as upstream
// does (oslo_messaging/_drivers/impl_rabbit.py, class Consumer and the publish methods).
type exchangeSpec struct {
	name       string
	kind       string
	durable    bool
	autoDelete bool
}

type queueSpec struct {
	name       string
	durable    bool
	autoDelete bool
	args       amqp.Table
	// limited may have limits on what it holds that differ from what is there.
	limited bool
}

type binding struct {
	exchange exchangeSpec
	queue    queueSpec
	key      string
}

// topology is what a Source needs at the broker.
type topology struct {
	bindings []binding
	queues   []string // to consume from, in this order
	private  string   // a queue of this listener alone, deleted when it closes; may be empty
}

// topicExchange is the exchange that RPC and notifications share.
func (s *settings) topicExchange(name string) exchangeSpec {
	return exchangeSpec{name: name, kind: amqp.ExchangeTopic, durable: s.durable || s.quorum, autoDelete: s.autoDelete}
}

// fanoutExchange is the exchange of a topic's fanouts. Upstream's has the topic's name alone, so
// that all exchanges share it.
//
// The name of a scoped one differs from every unscoped one, because it does not end in _fanout,
// and from every other scoped one, because the number says where the exchange's name ends.
func (s *settings) fanoutExchange(t driver.Target) exchangeSpec {
	name := t.Topic + "_fanout"
	if t.Scoped {
		name = t.Exchange + "." + t.Topic + "_fanout_scoped_" + strconv.Itoa(len(t.Exchange))
	}
	return exchangeSpec{name: name, kind: amqp.ExchangeFanout, durable: s.transientQuorum, autoDelete: true}
}

// sharedQueue is a queue that any service of the topic may declare.
func (s *settings) sharedQueue(name string) queueSpec {
	q := queueSpec{name: name, durable: s.durable || s.quorum, autoDelete: s.autoDelete}
	if s.quorum {
		q.args = amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum}
	}
	return q
}

// notificationQueue is the queue of a topic and priority for the listeners without a pool.
func (s *settings) notificationQueue(name string) queueSpec {
	q := s.sharedQueue(name)
	q.limited = true
	if len(s.notifyLimits) > 0 {
		args := maps.Clone(s.notifyLimits)
		maps.Copy(args, q.args)
		q.args = args
	}
	return q
}

// transientQueue is a queue of one process: for replies or for fanout.
func (s *settings) transientQueue(name string) queueSpec {
	q := queueSpec{name: name, durable: s.transientQuorum}
	if s.transientQuorum {
		q.args = amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum}
	}
	if s.transientTTL > 0 {
		if q.args == nil {
			q.args = amqp.Table{}
		}
		q.args[amqp.QueueTTLArg] = int32(s.transientTTL.Milliseconds())
	}
	return q
}

// topologyOf returns what src needs. unique makes the name of its fanout queue.
func (s *settings) topologyOf(src driver.Source, unique string) (topology, error) {
	switch src.Kind {
	case driver.SourceServer:
		return s.serverTopology(src.Target, unique), nil
	case driver.SourceReplies:
		return s.replyTopology(src.ReplyName), nil
	case driver.SourceNotifications:
		return s.notificationTopology(src), nil
	default:
		return topology{}, driver.Errorf(driver.ReasonUnsupported, "the rabbit driver cannot listen to %s", src.Kind)
	}
}

// serverTopology is LISTEN-4: the topic's queue, the server's own, and a copy of the fanout.
func (s *settings) serverTopology(t driver.Target, unique string) topology {
	exchange := s.topicExchange(t.Exchange)
	names := []string{t.Topic}
	if t.Server != "" {
		names = append(names, t.Topic+"."+t.Server)
	}
	var top topology
	for _, name := range names {
		top.add(binding{exchange: exchange, queue: s.sharedQueue(name), key: name})
	}
	fanout := s.fanoutExchange(t)
	top.private = fanout.name + "_" + unique
	top.add(binding{exchange: fanout, queue: s.transientQueue(top.private), key: t.Topic})
	return top
}

// replyTopology has the reply queue, and a direct exchange of the same name. Servers up to
// oslo.messaging 9.1 send their replies to that exchange, and no upstream client of today
// makes it any more; all later ones reach the queue through the default exchange.
func (s *settings) replyTopology(name string) topology {
	exchange := exchangeSpec{name: name, kind: amqp.ExchangeDirect, autoDelete: true}
	var top topology
	top.add(binding{exchange: exchange, queue: s.transientQueue(name), key: name})
	return top
}

// notificationTopology has a queue for each topic and priority, or one of the pool's name
// that is bound for all of them.
func (s *settings) notificationTopology(src driver.Source) topology {
	var top topology
	for _, n := range src.Notifications {
		key := n.Topic + "." + n.Priority
		queue := s.notificationQueue(key)
		if src.Pool != "" {
			queue = s.sharedQueue(src.Pool)
		}
		top.add(binding{exchange: s.topicExchange(n.Exchange), queue: queue, key: key})
	}
	return top
}

func (t *topology) add(b binding) {
	t.bindings = append(t.bindings, b)
	if !slices.Contains(t.queues, b.queue.name) {
		t.queues = append(t.queues, b.queue.name)
	}
}
