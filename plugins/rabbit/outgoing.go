// SPDX-License-Identifier: Apache-2.0

package main

import (
	"hash/maphash"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/outbound"
	"github.com/parleymq/parley/sdk/envelope"
)

// maxShortString is the most that AMQP allows for a name or key. The library ends the
// connection over a longer one, so that they are refused before.
const maxShortString = 255

// outgoing is one message on its way to the broker. The fields below the line change and are
// guarded by publisher.mu.
type outgoing struct {
	caller    *outbound.Caller
	index     int
	exchange  exchangeSpec
	binding   *binding // to declare instead of the exchange alone, for notifications
	key       string
	mandatory bool
	expires   bool // the broker is to drop the message when its time is over
	failFast  bool // not to wait for the broker (SEND-10)
	deadline  time.Time
	body      *[]byte // from bodies; nil once it is written
	size      int
	headers   amqp.Table
	// fingerprint is that of a mandatory message's body, to know it when it is returned.
	fingerprint uint64

	// ---
	confirm  *amqp.DeferredConfirmation // nil until written
	returned string                     // why the broker gave it back
	settled  bool                       // done was or is being called
}

// bodies holds encoded messages between their making and their writing.
type bodies struct {
	pool sync.Pool
	seed maphash.Seed
}

func newBodies() *bodies {
	b := &bodies{seed: maphash.MakeSeed()}
	b.pool.New = func() any { return new([]byte) }
	return b
}

func (b *bodies) get() *[]byte { return b.pool.Get().(*[]byte) }

func (b *bodies) put(body *[]byte) {
	if body == nil || cap(*body) > frameSize {
		return // the few large ones are left to the collector
	}
	*body = (*body)[:0]
	b.pool.Put(body)
}

// prepare makes an outgoing of m: address, properties and body.
func (p *publisher) prepare(o *outgoing, m *driver.Message, now time.Time) error {
	if err := p.set.address(o, m); err != nil {
		return err
	}
	o.failFast = m.FailFast
	if m.TimeLeft < 0 {
		return outbound.Expired(nil)
	}
	if m.TimeLeft > 0 {
		o.deadline = now.Add(m.TimeLeft)
	}
	// Upstream sets an expiration for calls alone: a cast is meant to be found later.
	o.expires = m.Kind == driver.Call
	if err := o.setHeaders(m.Headers); err != nil {
		return err
	}
	body := p.bodies.get()
	text, err := envelope.Append((*body)[:0], m)
	if err != nil {
		p.bodies.put(body)
		return err
	}
	*body = text
	o.body, o.size = body, len(text)
	if o.mandatory {
		o.fingerprint = maphash.Bytes(p.bodies.seed, text)
	}
	return nil
}

// address says where m goes (oslo_messaging/_drivers/impl_rabbit.py: topic_send, fanout_send,
// direct_send, notify_send).
func (s *settings) address(o *outgoing, m *driver.Message) error {
	o.mandatory = m.Mandatory
	t := m.Target
	switch m.Kind {
	case driver.Call, driver.Cast:
		if t.Fanout {
			o.exchange = s.fanoutExchange(t)
			break
		}
		o.exchange, o.key = s.topicExchange(t.Exchange), t.Topic
		if t.Server != "" {
			o.key += "." + t.Server
		}
	case driver.Reply, driver.Heartbeat:
		if m.ReplyTo == "" {
			return driver.Errorf(driver.ReasonConfig, "a %s without a reply name cannot be sent", m.Kind)
		}
		o.key = m.ReplyTo
		o.mandatory = o.mandatory || s.directMandatory
	case driver.Notification:
		o.exchange, o.key = s.topicExchange(t.Exchange), t.Topic+"."+m.Priority
		// A notification without a listener is kept for one that comes later: the publisher
		// makes the queue.
		if s.notifyDeclare {
			o.binding = &binding{exchange: o.exchange, queue: s.notificationQueue(o.key), key: o.key}
		}
	default:
		return driver.Errorf(driver.ReasonUnsupported, "the rabbit driver cannot send a message of kind %d", m.Kind)
	}
	if len(o.key) > maxShortString || len(o.exchange.name) > maxShortString {
		return driver.Errorf(driver.ReasonConfig, "the address of the %s is longer than AMQP's %d bytes", m.Kind, maxShortString).
			WithHint("use shorter names for exchange, topic and server")
	}
	return nil
}
