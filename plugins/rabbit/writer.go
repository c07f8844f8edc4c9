// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/outbound"
)

// chunk is how many messages are written by one system call at most.
const chunk = 128

// write is the writer: it takes messages from the queue for as long as ctx lasts.
func (p *publisher) write(ctx context.Context) {
	defer close(p.ended)
	var l *lane
	defer func() {
		if l != nil {
			l.finish()
		}
	}()
	for {
		if !p.awaitQueue(ctx) {
			return
		}
		if l == nil || l.isClosed() {
			if l != nil {
				l.finish()
			}
			if l = p.openLane(ctx); l == nil {
				continue
			}
		}
		if !p.awaitUnblocked(ctx, l) {
			continue
		}
		p.writeChunk(ctx, l)
	}
}

// awaitQueue waits until there is something to write; false is the end of ctx.
func (p *publisher) awaitQueue(ctx context.Context) bool {
	for {
		p.mu.Lock()
		n := p.queue.Len()
		p.mu.Unlock()
		if ctx.Err() != nil {
			return false
		}
		if n > 0 {
			return true
		}
		select {
		case <-p.wake:
		case <-ctx.Done():
			return false
		}
	}
}

// openLane waits for a connection and opens a channel on it. It returns nil when there is no
// use in waiting; the queue is then empty or ctx has ended.
func (p *publisher) openLane(ctx context.Context) *lane {
	s, cause := p.link.Await(ctx, false)
	if s == nil {
		if ctx.Err() == nil {
			p.failQueued(cause) // permanent (SEND-4)
		}
		return nil
	}
	l, err := newLane(p, s)
	if err == nil {
		return l
	}
	p.set.log.Warn("cannot open a channel for sending", "host", s.host, "err", err.Error())
	if !awaitDone(ctx, s.done, p.set.retryInterval) {
		return nil
	}
	return nil
}

// awaitDone waits until done is closed or d has passed; false is the end of ctx.
func awaitDone(ctx context.Context, done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	return true
}

// awaitUnblocked waits while the broker takes no messages. It reports whether l may be used.
func (p *publisher) awaitUnblocked(ctx context.Context, l *lane) bool {
	for {
		s, trouble, changed := p.link.Trouble()
		if s != l.session {
			l.abandon() // its connection is gone, and it has not noticed yet
			return false
		}
		if trouble == nil {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// writeChunk writes what is in the queue, up to a chunk. What could not be written stays.
func (p *publisher) writeChunk(ctx context.Context, l *lane) {
	socket := l.session.socket
	socket.cork()
	defer func() {
		// An error closes the socket; the lane's goroutine settles what it had.
		_ = socket.uncork()
	}()
	now := time.Now()
	for range chunk {
		o, err := p.next(now)
		if o == nil {
			return
		}
		if err != nil {
			o.caller.Done(o.index, err)
			continue
		}
		alone := o.size > frameSize
		if alone || !l.isDeclared(o) {
			// Both wait for the broker, which must have seen all before.
			if err := socket.uncork(); err == nil {
				p.writeSlowly(ctx, l, o, alone)
			} else {
				p.requeue(o)
			}
			socket.cork()
			if l.isClosed() {
				return
			}
			continue
		}
		if !p.publish(l, o, now) {
			return
		}
	}
}

// next takes a message from the queue. With an error the message is settled and the caller
// is to report it.
func (p *publisher) next(now time.Time) (*outgoing, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.queue.Len() > 0 {
		o := p.queue.PopFront()
		if o.settled {
			p.bodies.put(o.body)
			o.body = nil
			continue
		}
		var err error
		switch {
		case !o.deadline.IsZero() && now.After(o.deadline):
			err = outbound.Expired(nil)
		case p.maxSize > 0 && o.size > p.maxSize:
			err = tooLargeError(o.size, p.maxSize)
		case o.caller.HasEnded():
			err = o.caller.GiveUp(nil)
		}
		if err != nil {
			p.settleLocked(o)
		}
		return o, err
	}
	return nil, nil
}

func (p *publisher) requeue(o *outgoing) {
	p.mu.Lock()
	p.queue.PushFront(o)
	p.mu.Unlock()
}

// writeSlowly declares what o needs, and writes it while nothing else is under way if it is
// large: a broker that finds it too large closes the channel, and then it is known which
// message was meant and nothing else is harmed (SEND-8).
func (p *publisher) writeSlowly(ctx context.Context, l *lane, o *outgoing, alone bool) {
	if err := l.declare(o); err != nil {
		if err.Reason == driver.ReasonNotConnected {
			p.requeue(o)
			l.abandon()
			return
		}
		p.settle(o, err)
		return
	}
	if alone && !l.awaitIdle(ctx) {
		p.requeue(o)
		return
	}
	if p.publish(l, o, time.Now()) && alone {
		l.awaitIdle(ctx)
	}
}

// publish writes one message. It returns false when the lane is closed; the message is then
// back in the queue, because an incomplete message is none to the broker.
func (p *publisher) publish(l *lane, o *outgoing, now time.Time) bool {
	if !l.push(o) {
		p.requeue(o)
		return false
	}
	msg := amqp.Publishing{
		Headers: o.headers, ContentType: contentType, ContentEncoding: contentEncoding,
		DeliveryMode: amqp.Persistent, Body: *o.body,
	}
	if o.expires && !o.deadline.IsZero() {
		msg.Expiration = strconv.FormatInt(max(1, o.deadline.Sub(now).Milliseconds()), 10)
	}
	confirm, err := l.publish(o, msg)
	if !l.pushed(o, confirm, err) {
		return false
	}
	p.bodies.put(o.body)
	o.body = nil
	return true
}

func tooLargeError(size, limit int) error {
	return driver.Errorf(driver.ReasonMessageTooLarge, "the message has %d bytes on the wire and the broker takes %d", size, limit).
		WithHint("send less, or raise max_message_size of the broker")
}
