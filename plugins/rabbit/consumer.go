// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/sdk/envelope"
)

// tagBits of a token are the delivery tag, the rest is the generation of the channel that it
// belongs to: a Done that comes after a reconnect finds another generation and does nothing
// (DONE-2).
const (
	tagBits = 40
	tagMask = 1<<tagBits - 1
)

// consumer is one channel of a listener, from its opening to its loss.
type consumer struct {
	l          *listener
	session    *session
	ch         *amqp.Channel
	generation uint64
	broken     chan struct{} // of capacity one: a queue stopped delivering

	// highest is the largest delivery tag seen, which bounds what Done may settle.
	highest atomic.Uint64

	prefetch int       // zero before the first consume; the run loop's
	readers  []*reader // of the current consumers; the run loop's
	nextTag  int       // the run loop's

	prover *prover // nil when Poll returns without a proof

	// rpcMu is held over each method that has an answer: the AMQP library gives an answer to whoever
	// waits for one. Before ackMu.
	rpcMu sync.Mutex
	qos   int // the prefetch that was set last; guarded by rpcMu

	ackMu sync.Mutex // held over marking and writing: the order of both must be the same
	acks  ackTracker // guarded by ackMu
}

func newConsumer(l *listener, s *session, generation uint64) (*consumer, error) {
	ch, err := s.conn.Channel()
	if err != nil {
		return nil, err
	}
	c := &consumer{
		l: l, session: s, ch: ch, generation: generation,
		broken: make(chan struct{}, 1), acks: newAckTracker(),
	}
	if l.set.confirmAcks && l.src.Settle == driver.SettleOnPoll {
		c.prover = newProver()
		go c.prover.run(c)
	}
	return c, nil
}

// rpc calls a method of the channel that has an answer.
func (c *consumer) rpc(call func() error) error {
	c.rpcMu.Lock()
	defer c.rpcMu.Unlock()
	return call()
}

// reader is the goroutine of one queue's consumer.
type reader struct {
	tag       string
	cancelled atomic.Bool // its end is our own doing
	ended     chan struct{}
}

// consume starts the consumers with a prefetch, or starts them again with a larger one: a
// consumer keeps the prefetch that it began with.
func (c *consumer) consume(prefetch int, queues []string) error {
	err := c.rpc(func() error {
		c.qos = prefetch
		return c.ch.Qos(prefetch, 0, false)
	})
	if err != nil {
		return err
	}
	old := c.readers
	// Cancelling first keeps what is given ahead within the prefetch. An auto-delete queue
	// would go with its last consumer, so that the new one must be there before.
	if !c.l.set.autoDelete {
		if err := c.cancel(old); err != nil {
			return err
		}
	}
	c.readers = nil
	for _, queue := range queues {
		c.nextTag++
		r := &reader{tag: strconv.Itoa(c.nextTag), ended: make(chan struct{})}
		var deliveries <-chan amqp.Delivery
		err := c.rpc(func() (err error) {
			deliveries, err = c.ch.Consume(queue, r.tag, false, false, false, false, nil)
			return err
		})
		if err != nil {
			return err
		}
		c.readers = append(c.readers, r)
		go c.read(r, deliveries)
	}
	c.prefetch = prefetch
	if c.l.set.autoDelete {
		return c.cancel(old)
	}
	return nil
}

// cancel stops consumers and waits for their readers; what they were given stays to be
// settled.
func (c *consumer) cancel(readers []*reader) error {
	for _, r := range readers {
		r.cancelled.Store(true)
		if err := c.rpc(func() error { return c.ch.Cancel(r.tag, false) }); err != nil {
			return err
		}
		<-r.ended
	}
	return nil
}

// read hands deliveries to the listener until the consumer ends, by us, by the broker or with
// the channel.
func (c *consumer) read(r *reader, deliveries <-chan amqp.Delivery) {
	defer close(r.ended)
	for d := range deliveries {
		c.accept(&d)
	}
	if !r.cancelled.Load() {
		signal(c.broken)
	}
}

// accept decodes a delivery. One that cannot be decoded is rejected and logged, without its
// payload (POLL-6).
func (c *consumer) accept(d *amqp.Delivery) {
	for {
		seen := c.highest.Load()
		if d.DeliveryTag <= seen || c.highest.CompareAndSwap(seen, d.DeliveryTag) {
			break
		}
	}
	out := &driver.Delivery{Redelivered: d.Redelivered, Token: c.generation<<tagBits | d.DeliveryTag}
	compression, _ := d.Headers[headerCompression].(string)
	err := envelope.DecodeInto(&out.Message, d.ContentType, d.ContentEncoding, compression, d.Body, envelope.Limits{})
	if err != nil {
		c.l.set.log.Error("message rejected: it cannot be decoded",
			"exchange", d.Exchange, "routing_key", d.RoutingKey, "bytes", len(d.Body), "err", err.Error())
		_ = c.reject([]uint64{d.DeliveryTag}, false) // a lost channel brings it again, and here again
		return
	}
	out.Target = driver.Target{Exchange: d.Exchange}
	out.Headers = textHeaders(d.Headers)
	if out.Kind == driver.Call || out.Kind == driver.Cast {
		out.TimeLeft = expiration(d.Expiration)
	}
	c.l.add(c, out)
}

// expiration reads the property of that name, milliseconds as text: how long the message was
// wanted when it was sent. The broker does not tell how long it kept it. What is no number is a
// peer's mistake and no limit; zero stands for a message that is only wanted at once.
func expiration(text string) time.Duration {
	if text == "" || len(text) > maxExpirationDigits {
		return 0
	}
	ms, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0
	}
	return max(time.Duration(ms)*time.Millisecond, 1)
}

// maxExpirationDigits are those of 31 years. RabbitMQ refuses more than 49 days (2^32 ms).
const maxExpirationDigits = 12

// ack acknowledges, a run of tags by one frame.
func (c *consumer) ack(tags []uint64) error {
	c.ackMu.Lock()
	defer c.ackMu.Unlock()
	tags = c.acks.open(tags, c.highest.Load())
	n, upTo := c.acks.settle(tags)
	frames := len(tags) - n
	if n > 0 {
		frames++
	}
	if frames > 1 {
		c.session.socket.cork()
	}
	var err error
	if n > 0 {
		err = c.ch.Ack(upTo, n > 1)
	}
	for _, tag := range tags[n:] {
		if err == nil {
			err = c.ch.Ack(tag, false)
		}
	}
	if frames > 1 {
		if uerr := c.session.socket.uncork(); err == nil {
			err = uerr
		}
	}
	return err
}

// reject gives back or drops, one by one as upstream does: a broker that dead-letters looks at
// each.
func (c *consumer) reject(tags []uint64, requeue bool) error {
	c.ackMu.Lock()
	defer c.ackMu.Unlock()
	tags = c.acks.open(tags, c.highest.Load())
	c.acks.settle(tags)
	for _, tag := range tags {
		if err := c.ch.Reject(tag, requeue); err != nil {
			return err
		}
	}
	return nil
}

// close ends the channel: what is not settled goes back to the broker.
func (c *consumer) close() {
	_ = c.rpc(c.ch.Close) // fails only when it is closed
	if c.prover != nil {
		c.prover.stop()
	}
	for _, r := range c.readers {
		<-r.ended
	}
}
