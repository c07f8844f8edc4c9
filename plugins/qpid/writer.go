// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/outbound"
	"github.com/parleymq/parley/plugins/internal/uplink"
	"github.com/parleymq/parley/plugins/qpid/internal/wire"
)

// write writes what waits in the lane, until there is nothing more, or no room, or no link.
func (l *lane) write(ctx context.Context) {
	inner, done := l.interruptible(ctx, false)
	defer done()
	c := &writeContext{Context: inner}
	for l.link.usable() {
		o, err := l.take()
		if o == nil {
			return
		}
		if err != nil {
			l.p.report(o, err)
			continue
		}
		if !l.send(ctx, c, o) {
			return
		}
	}
}

// take makes the next message the current one. With an error it is settled, and the caller is to
// report it.
func (l *lane) take() (*outgoing, error) {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	for l.queue.Len() > 0 && !l.link.fullLocked() {
		o := l.queue.PopFront()
		if o.stage == settled {
			continue
		}
		if o.caller.HasEnded() || !o.expiry().IsZero() {
			if err := o.overdue(time.Now(), nil); err != nil {
				l.p.settleLocked(o)
				return o, err
			}
		}
		o.stage, o.encoded, o.giveUpAt = writing, false, time.Time{}
		l.current = o
		return o, nil
	}
	return nil, nil //nolint:nilnil // there is none
}

// send writes the current message. It reports whether the caller may go on with the same link and
// context.
func (l *lane) send(ctx context.Context, c *writeContext, o *outgoing) bool {
	msg, err := l.encode(c, o)
	if msg == nil {
		return l.unsent(ctx, c, o, err)
	}
	k := l.link
	l.p.mu.Lock()
	o.encoded = true
	l.writingTo, l.writingSince = k, time.Now()
	l.p.mu.Unlock()
	c.touched.Store(false)
	call := ""
	if o.m.Kind == driver.Call {
		call = o.m.CallID
	}
	if l.key.settled {
		if err := k.snd.Send(c, msg, &amqp.SendOptions{Settled: true}); err != nil {
			return l.failed(ctx, c, o, nil, err)
		}
		l.written(c, o, nil)
		l.answerable(o, call)
		l.p.settle(o, nil)
		return true
	}
	msg.DeliveryTag = k.nextTag()
	receipt, failure := k.snd.SendWithReceipt(c, msg, nil)
	if failure != nil {
		return l.failed(ctx, c, o, msg.DeliveryTag, failure)
	}
	l.written(c, o, &receipt)
	l.answerable(o, call)
	return true
}

// answerable notes that a Call has left. It is in doubt, and lost, when its reply address has ended
// meanwhile: it was not among the calls that were reported lost then.
func (l *lane) answerable(o *outgoing, call string) {
	if call == "" || l.p.book.left(call) {
		return
	}
	l.p.settle(o, outbound.InDoubt(driver.Errorf(driver.ReasonNotConnected, "the address for the reply ended while the call was sent").
		WithHint("the server may have run the call; call again if that does no harm")))
	l.p.book.failed(call) // if it was settled before
}

// restLocked notes that there is no current message.
func (l *lane) restLocked() {
	l.current, l.writingTo, l.rested = nil, nil, time.Now()
}

// written notes that the current message has left.
func (l *lane) written(c *writeContext, o *outgoing, receipt *amqp.SendReceipt) {
	k := l.link
	l.p.mu.Lock()
	l.restLocked()
	l.lastWritten, k.wrote = l.rested, true
	first := false
	if receipt != nil && o.stage != settled {
		o.stage = sent
		first = k.pending.Len() == 0
		k.pending.PushBack(inFlight{o: o, receipt: *receipt})
	}
	if !c.touched.Load() {
		k.opaque = true // the library is not as we know it: what is lost may have left
	}
	l.p.mu.Unlock()
	if receipt == nil {
		k.worked.Store(true)
		k.count++
	}
	if first {
		signal(k.changed)
	}
}

// encode makes the AMQP message of the current one. A Call is noted as sent with its reply address.
func (l *lane) encode(c *writeContext, o *outgoing) (*amqp.Message, *driver.Error) {
	m, s := *o.m, l.link.s
	if !o.deadline.IsZero() {
		m.TimeLeft = max(time.Until(o.deadline), time.Millisecond)
	}
	to, replyTo := l.link.address, ""
	switch {
	case m.Kind == driver.Call:
		address, err := l.replyAddress(c.Context, s, &m, o.deadline)
		if err != nil {
			return nil, err
		}
		replyTo = address
	case to == "":
		address, _, err := l.p.book.address(c.Context, s, m.ReplyTo)
		if err != nil {
			return nil, err
		}
		to = address
	}
	msg, err := wire.Encode(&m, to, replyTo)
	if err != nil {
		return nil, driver.AsError(err)
	}
	return msg, nil
}

// replyAddress is that of a Call's reply link, with which the call is noted.
func (l *lane) replyAddress(ctx context.Context, s *session, m *driver.Message, until time.Time) (string, *driver.Error) {
	for {
		address, known, err := l.p.book.address(ctx, s, m.ReplyTo)
		if err != nil || !known {
			return address, err
		}
		if l.p.book.writing(s, m.ReplyTo, address, m.CallID, until) {
			return address, nil
		}
		if ctx.Err() != nil {
			return "", driver.Errorf(driver.ReasonCancelled, "the message was given up before it was sent")
		}
	}
}

// unsent settles the current message, which has not left, or puts it back when that is for the
// link's sake. It reports what send does.
func (l *lane) unsent(ctx context.Context, c *writeContext, o *outgoing, err *driver.Error) bool {
	interrupted := c.Context.Err() != nil
	var verdict error
	switch {
	case ctx.Err() != nil:
		verdict = uplink.Closed("connection")
	case interrupted:
		verdict = l.whyInterrupted(o, err)
	case err != nil && !l.link.over():
		verdict = err
	}
	first, call := false, ""
	l.p.mu.Lock()
	l.restLocked()
	switch {
	case o.stage == settled:
	case verdict != nil:
		first = l.p.settleLocked(o)
	default:
		if o.m.Kind == driver.Call {
			call = o.m.CallID
		}
		o.stage = waiting
		l.queue.PushFront(o)
	}
	l.p.mu.Unlock()
	if first {
		l.p.report(o, verdict)
	}
	if call != "" {
		l.p.book.failed(call)
	}
	return !interrupted && !l.link.over()
}

// whyInterrupted is why the current message was given up, or nil when it was not. err is what it
// waited for.
func (l *lane) whyInterrupted(o *outgoing, err *driver.Error) error {
	_, trouble, _ := l.p.link.Trouble()
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if trouble == nil {
		trouble = l.trouble
	}
	if trouble == nil && err != nil && err.Reason != driver.ReasonCancelled {
		trouble = err
	}
	if o.stage == settled {
		return nil
	}
	verdict := o.overdue(time.Now(), trouble)
	if verdict == nil && o.m.FailFast && trouble != nil {
		return trouble
	}
	return verdict
}

// failed judges an error of the library. tag is that of the message, nil when it has none of ours.
func (l *lane) failed(ctx context.Context, c *writeContext, o *outgoing, tag []byte, err error) bool {
	k := l.link
	what := "send to " + k.label
	left := c.touched.Load() || k.opaque
	switch {
	case gone(err):
		why, useless := linkError(what, err), !k.worked.Load()
		l.retire()
		switch {
		case left && refused(tag, err): // the peer answered before the library returned
			return l.lost(o, why)
		case left:
			return l.lost(o, outbound.InDoubt(why))
		}
		if connectionLost(err) || !l.turnedAway(o, why, useless) {
			l.unsent(ctx, c, o, nil)
		}
		return false
	case condition(err) == amqp.ErrCondMessageSizeExceeded:
		return l.unsent(ctx, c, o, l.tooLarge(o))
	case c.Context.Err() != nil:
		if left {
			l.retire() // a part of it may have left, which the peer forgets with the link
		}
		return l.unsent(ctx, c, o, nil)
	default: // it could not be encoded
		return l.unsent(ctx, c, o, linkError(what, err))
	}
}

// turnedAway deals with a link that ended before the current message left by it. A peer may refuse a
// link behind its attach, so that one link after the other ends and was of no use: the second time
// that is its answer, and turnedAway reports that it has settled what waits.
func (l *lane) turnedAway(o *outgoing, why *driver.Error, useless bool) bool {
	l.p.mu.Lock()
	o.trouble = why // if its time ends before another link is of use
	o.tries++
	tries := o.tries
	l.p.mu.Unlock()
	if !useless || tries < 2 || !l.settleRefusal(why) {
		return false
	}
	l.lost(o, why)
	l.failQueue(why)
	return true
}

// lost settles the current message, of which it is not known whether it has left.
func (l *lane) lost(o *outgoing, err *driver.Error) bool {
	l.p.mu.Lock()
	l.restLocked()
	first := l.p.settleLocked(o)
	l.p.mu.Unlock()
	if first {
		l.p.report(o, err)
	}
	return false
}

func (l *lane) tooLarge(o *outgoing) *driver.Error {
	return driver.Errorf(driver.ReasonMessageTooLarge, "the message has %d bytes without its framing, and %s takes %d for %s",
		len(o.m.Body)+len(o.m.Context)+len(o.m.Failure), l.link.s.host, l.link.snd.MaxMessageSize(), l.link.label).
		WithHint("send less, or raise the broker's limit for the size of a message")
}
