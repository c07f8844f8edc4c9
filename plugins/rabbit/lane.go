// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"hash/maphash"
	"strconv"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/outbound"
	"github.com/parleymq/parley/plugins/internal/uplink"
	"github.com/parleymq/parley/sdk/envelope"
)

const (
	contentType     = envelope.ContentType
	contentEncoding = envelope.ContentEncoding
)

// lane is one channel with confirms, from its opening to its end. Its goroutine learns what
// became of the messages.
//
// # Returns and confirms
//
// The broker returns a mandatory message that has no queue, and then confirms it like any
// other; so a return must be known before the confirm of the same message is acted upon. A
// return names no delivery tag. Both problems are solved without a mark on the wire:
//
//   - Order. One goroutine of the library reads the socket and handles frames one after
//     another: a return is sent to the returns channel, a confirm closes the Done channel of its
//     message. returns has no buffer, so the reader cannot get to the confirm before our goroutine
//     has taken the return. Our goroutine alone looks at both.
//   - Identity. A return carries the whole message. It is matched to the first unconfirmed
//     mandatory message with the same address and the same body, by hash. The body contains the
//     unique id, so only a message sent twice at the same time could be mistaken, for itself.
//
// The library's own ordered stream of confirms (NotifyPublish) is not used: it costs a timer
// for each. Waiting for the oldest message's Done gives the same order for less, and while many
// are under way most of them are done when we look.
type lane struct {
	p        *publisher
	session  *session
	ch       *amqp.Channel
	declarer *declarer
	declared map[string]bool // the writer's

	returns chan amqp.Return
	closes  chan *amqp.Error
	changed chan struct{} // of capacity one: a message was pushed or taken back
	idle    chan struct{} // of capacity one: nothing is unconfirmed
	ended   chan struct{}

	closed bool // no more messages are taken; guarded by publisher.mu
}

// newLane opens a channel. The publisher's unconfirmed messages are those of its lane, and
// there is one lane at a time.
func newLane(p *publisher, s *session) (*lane, error) {
	ch, err := s.conn.Channel()
	if err != nil {
		return nil, err
	}
	if err := ch.Confirm(false); err != nil {
		return nil, err
	}
	l := &lane{
		p: p, session: s, ch: ch, declarer: newDeclarer(s.conn, p.set.log), declared: make(map[string]bool),
		returns: ch.NotifyReturn(make(chan amqp.Return)),
		closes:  ch.NotifyClose(make(chan *amqp.Error, 1)),
		changed: make(chan struct{}, 1), idle: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	l.declarer.found = p.watch.found
	go l.confirm()
	return l, nil
}

func (l *lane) isClosed() bool {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	return l.closed
}

// abandon takes no more messages, after the connection turned out to be gone.
func (l *lane) abandon() {
	l.p.mu.Lock()
	l.closed = true
	l.p.mu.Unlock()
	l.session.cut()
}

// finish closes the channel and waits until all its messages are settled.
func (l *lane) finish() {
	l.p.mu.Lock()
	l.closed = true
	l.p.mu.Unlock()
	l.declarer.close()
	_ = l.ch.Close() // what was lost by that is settled as such
	<-l.ended
}

// isDeclared reports whether o needs nothing declared that must be waited for.
func (l *lane) isDeclared(o *outgoing) bool {
	return o.exchange.name == "" || l.declared[o.declareKey()]
}

func (o *outgoing) declareKey() string {
	if o.binding != nil {
		return o.exchange.name + "\x00" + o.key
	}
	return o.exchange.name
}

// declare makes what o is published to, once for each lane.
func (l *lane) declare(o *outgoing) *driver.Error {
	if l.isDeclared(o) {
		return nil
	}
	var err *driver.Error
	if o.binding != nil {
		err = l.declarer.binding(*o.binding)
	} else {
		err = l.declarer.exchange(o.exchange)
	}
	if err == nil {
		l.declared[o.declareKey()] = true
	}
	return err
}

// publish writes the message. An auto-delete exchange may have gone since it was declared,
// with the last server of its topic, and publishing to it would close the channel; so it is
// declared again just before, without waiting.
func (l *lane) publish(o *outgoing, msg amqp.Publishing) (*amqp.DeferredConfirmation, error) {
	if e := o.exchange; e.autoDelete {
		if err := l.ch.ExchangeDeclare(e.name, e.kind, e.durable, e.autoDelete, false, true, nil); err != nil {
			return nil, err
		}
	}
	return l.ch.PublishWithDeferredConfirm(o.exchange.name, o.key, o.mandatory, false, msg)
}

// push makes o the last of the unconfirmed, before it is written: its return may come before
// the call that writes it has returned.
func (l *lane) push(o *outgoing) bool {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if l.closed {
		return false
	}
	o.confirm = nil
	l.p.unconfirmed.PushBack(o)
	return true
}

// pushed completes push, or undoes it when the message was not written.
func (l *lane) pushed(o *outgoing, confirm *amqp.DeferredConfirmation, err error) bool {
	l.p.mu.Lock()
	if err != nil {
		l.closed = true
		l.p.unconfirmed.PopBack()
		l.p.queue.PushFront(o)
	} else {
		o.confirm = confirm
	}
	l.p.mu.Unlock()
	signal(l.changed)
	return err == nil
}

// awaitIdle waits until nothing is unconfirmed. It returns false when that cannot be.
func (l *lane) awaitIdle(ctx context.Context) bool {
	for {
		l.p.mu.Lock()
		n, closed := l.p.unconfirmed.Len(), l.closed
		l.p.mu.Unlock()
		if closed || ctx.Err() != nil {
			return false
		}
		if n == 0 {
			return true
		}
		select {
		case <-l.idle:
		case <-l.ended:
		case <-ctx.Done():
		}
	}
}

// confirm is the lane's goroutine. It ends when the channel is closed and every message that
// was written on it is settled.
func (l *lane) confirm() {
	defer close(l.ended)
	var lost []*outgoing
	returns := l.returns
	for {
		o, open := l.head(returns == nil)
		if !open {
			break
		}
		var done <-chan struct{}
		if o != nil {
			done = o.confirm.Done()
		}
		select {
		case <-done:
			if !l.confirmed(o) {
				lost = append(lost, o)
			}
		case r, ok := <-returns:
			if ok {
				l.returned(&r)
			} else {
				returns = nil
			}
		case <-l.changed:
		}
	}
	l.lose(lost)
}

// head returns the oldest message that was written, or nil when there is none yet. over says
// that the channel is closed; head then returns false when nothing is left.
func (l *lane) head(over bool) (*outgoing, bool) {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if over {
		l.closed = true
	}
	if l.p.unconfirmed.Len() == 0 {
		signal(l.idle)
		return nil, !over
	}
	if o := l.p.unconfirmed.At(0); o.confirm != nil {
		return o, true
	}
	return nil, true
}

// confirmed settles the oldest message. It returns false when the channel was closed under it.
func (l *lane) confirmed(o *outgoing) bool {
	l.p.mu.Lock()
	l.p.unconfirmed.PopFront()
	returned := o.returned
	acked := o.confirm.Acked()
	lost := !acked && returned == "" && l.ch.IsClosed()
	first := !lost && l.p.settleLocked(o)
	l.p.mu.Unlock()
	if !first {
		return !lost
	}
	var err error
	switch {
	case returned != "":
		err = driver.Errorf(driver.ReasonNoRoute, "nobody can receive the message: the broker answered %s for exchange %q and key %q",
			returned, o.exchange.name, o.key).WithHint("check that the receiver runs and that the names are right")
	case !acked:
		// The broker says that it failed, not what became of the message in each queue.
		err = outbound.InDoubt(l.refusedError(o))
	}
	o.caller.Done(o.index, err)
	return true
}

// refusedError is that of a message which the broker did not confirm.
func (l *lane) refusedError(o *outgoing) *driver.Error {
	if o.binding != nil && l.p.set.notifyRejects {
		return driver.Errorf(driver.ReasonBrokerBlocked, "the broker did not take the notification for exchange %q and key %q: a queue of it is full",
			o.exchange.name, o.key).WithHint("have it listened to, or raise %s or %s and delete the queue", optNotifyMaxLength, optNotifyMaxBytes)
	}
	return driver.Errorf(driver.ReasonInternal, "the broker refused to confirm the message for exchange %q and key %q", o.exchange.name, o.key).
		WithHint("it failed to store it, or a queue of it is full and its policy is %s", overflowReject)
}

// returned notes on the message that the broker gave it back.
func (l *lane) returned(r *amqp.Return) {
	fingerprint := maphash.Bytes(l.p.bodies.seed, r.Body)
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	for i := range l.p.unconfirmed.Len() {
		o := l.p.unconfirmed.At(i)
		if o.mandatory && o.returned == "" && o.fingerprint == fingerprint && o.key == r.RoutingKey && o.exchange.name == r.Exchange {
			o.returned = strconv.Itoa(int(r.ReplyCode)) + " " + r.ReplyText
			return
		}
	}
}

// lose settles the messages that were under way when the channel ended. A channel that the
// broker closed over one of them names the exchange in its text: the messages before that one
// may have arrived, that one has not, and the broker has ignored all after it.
func (l *lane) lose(lost []*outgoing) {
	cause, culprit := l.closeCause(lost)
	for i, o := range lost {
		err := cause
		switch {
		case culprit < 0:
			err = outbound.InDoubt(cause)
		case i < culprit:
			err = outbound.InDoubt(asNotConnected(cause))
		case i > culprit:
			err = asNotConnected(cause)
		}
		l.p.settle(o, err)
	}
}

// asNotConnected is the cause for a message that was not the reason of it.
func asNotConnected(cause *driver.Error) *driver.Error {
	return driver.Errorf(driver.ReasonNotConnected, "the channel was closed over another message: %w", cause)
}

// closeCause returns why the channel ended, and which of the lost messages was the reason, or
// -1 when none was.
func (l *lane) closeCause(lost []*outgoing) (*driver.Error, int) {
	var err *amqp.Error
	select {
	case err = <-l.closes:
	default:
	}
	if err == nil || !err.Server || l.session.conn.IsClosed() {
		if l.p.isClosed() {
			return uplink.Closed("connection"), -1
		}
		return lostError(l.session.host, err), -1
	}
	cause := brokerError("publish", err)
	switch err.Code {
	case amqp.PreconditionFailed:
		if limit, ok := sizeLimit(err.Reason); ok && len(lost) > 0 {
			return l.tooLarge(lost, limit)
		}
	case amqp.NotFound, amqp.AccessRefused:
		if err.Code == amqp.NotFound {
			cause.Reason, cause.Retryable = driver.ReasonNoRoute, true
		}
		for i, o := range lost {
			if strings.Contains(err.Reason, "'"+o.exchange.name+"'") {
				return cause, i
			}
		}
	}
	return cause, -1
}

// tooLarge finds the first message above the limit that the broker named, and remembers the
// limit.
func (l *lane) tooLarge(lost []*outgoing, limit int) (*driver.Error, int) {
	l.p.mu.Lock()
	l.p.maxSize = limit
	l.p.mu.Unlock()
	for i, o := range lost {
		if o.size > limit {
			var e *driver.Error
			errors.As(tooLargeError(o.size, limit), &e)
			return e, i
		}
	}
	return driver.Errorf(driver.ReasonInternal, "the broker found a message too large that is not"), -1
}

// sizeLimit finds the limit in RabbitMQ's text "message size 200 is larger than configured max
// size 100", which is the only place that has it.
func sizeLimit(reason string) (int, bool) {
	_, rest, ok := strings.Cut(reason, "max size ")
	if !ok || !strings.Contains(reason, "message size") {
		return 0, false
	}
	n, _, _ := strings.Cut(rest, " ")
	limit, err := strconv.Atoi(strings.Trim(n, "'\",."))
	return limit, err == nil && limit > 0
}

func (p *publisher) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.room.Closed()
}
