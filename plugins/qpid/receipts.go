// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/outbound"
)

// renewAfter is how many settled messages a link carries before it is made anew: after some twenty
// thousand, Broker-J grants credit for one at a time.
const renewAfter = 10_000

// byeTimeout bounds the good-bye of one link. Some brokers never answer it: RabbitMQ 3 answers with
// a detach that does not close, which the library takes for none.
const byeTimeout = time.Second

// sendLink is one link of a lane. A link for unsettled messages has a goroutine, which learns what
// became of them, and outlives the lane's use of the link for as long as something is open.
//
// The goroutine waits for the oldest message. A router may settle in another order: what is behind a
// slow one is looked for by the sweeper's beat.
type sendLink struct {
	l       *lane
	s       *session
	lease   *lease
	snd     *amqp.Sender
	address string // "" for the anonymous relay
	label   string // the address for people
	window  int
	changed chan struct{}
	told    atomic.Int64 // how many outcomes the peer has told
	worked  atomic.Bool  // the link was of use
	count   int          // of settled messages; the lane's goroutine's
	tags    uint64       // the last tag; the lane's goroutine's
	dead    atomic.Bool  // the peer has closed it, or its session or connection is lost
	stale   atomic.Bool  // it took messages and takes none any more: another one is tried

	// Guarded by outbox.mu.
	pending  outbound.Deque[inFlight]
	taken    int64 // how many outcomes were acted upon
	lastHead *outgoing
	waiting  context.Context    //nolint:containedctx // of the waits for the oldest
	wait     context.CancelFunc // ends waiting
	retired  bool               // no more messages are sent on it
	opaque   bool               // whether a message has left cannot be told
	wrote    bool               // a message has left
}

// inFlight is a message that was written, and how to learn what became of it.
type inFlight struct {
	o       *outgoing
	receipt amqp.SendReceipt
}

// over reports whether the link cannot be used any longer.
func (k *sendLink) over() bool { return k == nil || k.stale.Load() || k.ended() }

// ended reports whether the link is not there any longer, as far as is known.
func (k *sendLink) ended() bool {
	if k.dead.Load() {
		return true
	}
	select {
	case <-k.s.done:
		return true
	default:
		return false
	}
}

// usable reports whether the lane's goroutine may send on the link.
func (k *sendLink) usable() bool { return !k.over() && k.count < renewAfter }

// fullLocked reports whether no more messages may be sent before the peer has told more outcomes.
func (k *sendLink) fullLocked() bool { return k != nil && k.pending.Len() >= k.window && !k.over() }

// retire gives the lane's link up. What is open on it gets its outcome still.
func (l *lane) retire() {
	k := l.link
	if k == nil {
		return
	}
	l.link = nil
	if k.worked.Load() {
		l.backoff = 0
	} else {
		l.backoff = l.p.set.growing(l.backoff)
	}
	l.p.mu.Lock()
	k.retired = true
	l.p.mu.Unlock()
	if l.key.settled {
		l.p.wg.Go(func() { k.shut(nil) })
		return
	}
	signal(k.changed)
}

// receive is the goroutine of a link for unsettled messages.
func (k *sendLink) receive() {
	var why error
	for why == nil {
		head, ctx, more := k.head()
		if !more {
			break
		}
		state, err := head.receipt.Wait(ctx)
		switch {
		case err == nil:
			k.first(head.o, state)
		case errors.Is(err, context.Canceled):
			why = k.scan()
		default:
			why = k.last(err)
		}
	}
	k.shut(why)
}

// head waits for the oldest message without an outcome. It returns false when none will come.
func (k *sendLink) head() (inFlight, context.Context, bool) {
	for {
		k.l.p.mu.Lock()
		for k.pending.Len() > 0 && k.pending.At(0).o.stage == settled {
			k.pending.PopFront() // nobody waits for its outcome
		}
		if k.pending.Len() > 0 {
			if k.waiting == nil || k.waiting.Err() != nil {
				k.waiting, k.wait = context.WithCancel(context.Background())
			}
			head, ctx := k.pending.At(0), k.waiting
			k.l.p.mu.Unlock()
			return head, ctx, true
		}
		retired := k.retired
		k.l.p.mu.Unlock()
		if retired {
			return inFlight{}, nil, false
		}
		<-k.changed // the lane's goroutine retires its link when it ends
	}
}

// nudgeLocked ends the wait for the oldest message when another may have its outcome, or nobody
// waits for the oldest.
func (k *sendLink) nudgeLocked() {
	if k.pending.Len() == 0 || k.wait == nil {
		return
	}
	head := k.pending.At(0).o
	if head.stage == settled || head == k.lastHead && k.told.Load() > k.taken {
		k.wait()
	}
	k.lastHead = head
}

// first acts upon the outcome of the oldest message.
func (k *sendLink) first(o *outgoing, state amqp.DeliveryState) {
	k.l.p.mu.Lock()
	full := k.fullLocked()
	k.pending.PopFront()
	k.taken++
	k.l.p.mu.Unlock()
	if full {
		signal(k.l.wake)
	}
	k.outcome(o, state)
}

// scan acts upon the outcomes that are known, of whatever message. It returns why the link ended.
func (k *sendLink) scan() error {
	k.l.p.mu.Lock()
	all := make([]inFlight, k.pending.Len())
	for i := range all {
		all[i] = k.pending.At(i)
	}
	k.l.p.mu.Unlock()
	known := make(map[*outgoing]amqp.DeliveryState)
	for _, f := range all {
		state, err := peek(f.receipt)
		switch {
		case err == nil:
			known[f.o] = state
		case !errors.Is(err, context.Canceled):
			return k.last(err)
		}
	}
	if len(known) == 0 {
		return nil
	}
	k.l.p.mu.Lock()
	k.pending.Keep(func(f inFlight) bool { _, told := known[f.o]; return !told })
	k.taken += int64(len(known))
	k.l.p.mu.Unlock()
	signal(k.l.wake)
	for o, state := range known {
		k.outcome(o, state)
	}
	return nil
}

// peek returns the outcome if it is known. The library chooses at random between an outcome and the
// end of the wait, so that it is asked more than once.
func peek(receipt amqp.SendReceipt) (amqp.DeliveryState, error) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var err error
	for range 8 {
		var state amqp.DeliveryState
		if state, err = receipt.Wait(ctx); err == nil {
			return state, nil
		}
	}
	return nil, err
}

// last settles everything on a link that ended: what has no outcome is in doubt. It returns err.
func (k *sendLink) last(err error) error {
	k.dead.Store(true)
	k.l.p.mu.Lock()
	all := make([]inFlight, 0, k.pending.Len())
	for k.pending.Len() > 0 {
		all = append(all, k.pending.PopFront())
	}
	k.l.p.mu.Unlock()
	signal(k.l.wake)
	cause := linkError("send to "+k.label, err)
	for _, f := range all {
		state, unknown := peek(f.receipt)
		switch {
		case unknown == nil:
			k.outcome(f.o, state)
		case refused(f.receipt.DeliveryTag(), err):
			k.l.p.settle(f.o, cause)
		default:
			k.l.p.settle(f.o, outbound.InDoubt(cause))
		}
	}
	return err
}

// refused reports whether err says that the peer closed the link over the message with that tag: an
// anonymous relay tells which it was (OASIS, Using the AMQP Anonymous Terminus for Message Routing, 2.2.2).
func refused(tag []byte, err error) bool {
	e, ok := errors.AsType[*amqp.LinkError](err)
	if !ok || e.RemoteErr == nil || len(tag) == 0 {
		return false
	}
	guilty, _ := e.RemoteErr.Info["delivery-tag"].([]byte)
	return bytes.Equal(guilty, tag)
}

// nextTag is the tag of the next message of the link. The library makes tags as well, and tells them
// only for what it has sent.
func (k *sendLink) nextTag() []byte {
	k.tags++
	return binary.BigEndian.AppendUint64(nil, k.tags)
}

// shut ends the link and gives its session back. why is nil when it was not the peer who ended it.
func (k *sendLink) shut(why error) {
	closing := k.l.p.ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.Background(), byeTimeout)
	defer cancel()
	if why == nil && !k.ended() && (k.l.key.settled || !closing) {
		// The peer's answer also says that it has read everything before. That it does not come
		// changes nothing but that the session is not used again.
		why = k.snd.Close(ctx)
	}
	if !closing { // else the connection ends anyhow
		k.lease.release(ctx, why)
	}
	k.l.p.mu.Lock()
	defer k.l.p.mu.Unlock()
	if k.wait != nil {
		k.wait()
	}
	k.l.links = slices.DeleteFunc(k.l.links, func(other *sendLink) bool { return other == k })
}

// outcome acts upon what the peer says of a message.
func (k *sendLink) outcome(o *outgoing, state amqp.DeliveryState) {
	err, again := judge("the message to "+k.label, state)
	if err == nil {
		k.worked.Store(true)
	}
	if !again {
		if err == nil {
			k.l.p.settle(o, nil)
		} else {
			k.l.p.settle(o, err)
		}
		return
	}
	p := k.l.p
	p.mu.Lock()
	call := ""
	if o.stage != settled {
		o.tries++
		wait := time.Duration(0)
		for range o.tries {
			wait = p.set.growing(wait)
		}
		o.stage, o.trouble, o.due = waiting, err, time.Now().Add(wait)
		k.l.later = append(k.l.later, o)
		if o.m.Kind == driver.Call {
			call = o.m.CallID
		}
	}
	p.mu.Unlock()
	if call != "" {
		p.book.failed(call)
	}
}

// judge says what an outcome means (oslo_messaging/_drivers/amqp1_driver/controller.py: Sender). again
// says that the message was not touched and is to be sent again.
func judge(what string, state amqp.DeliveryState) (err *driver.Error, again bool) {
	switch s := state.(type) {
	case *amqp.StateAccepted:
		return nil, false
	case *amqp.StateReleased:
		return givenBack(what), true
	case *amqp.StateModified:
		switch {
		case s.DeliveryFailed:
			return outbound.InDoubt(driver.Errorf(driver.ReasonInternal, "%s: a receiver took it and failed (modified, delivery-failed)", what)), false
		case s.UndeliverableHere:
			return driver.Errorf(driver.ReasonNoRoute, "%s: the receiver does not want it (modified, undeliverable-here)", what), false
		default:
			return givenBack(what), true
		}
	case *amqp.StateRejected:
		e := answerError(what+" was rejected", s.Error)
		return e, false
	default:
		return outbound.InDoubt(driver.Errorf(driver.ReasonInternal, "%s: the peer settled it and does not say how", what)), false
	}
}

func givenBack(what string) *driver.Error {
	e := driver.Errorf(driver.ReasonNoRoute, "%s: the peer gives it back each time (released)", what).
		WithHint("nobody takes it: check that the receiver runs and that the names are right")
	e.Retryable = true
	return e
}

// gone reports whether err means that the link, its session or the connection is over.
func gone(err error) bool {
	if _, ok := errors.AsType[*amqp.LinkError](err); ok {
		return true
	}
	return sessionLost(err)
}
