// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/outbound"
)

// verdict is what a message is settled with.
//
// Requeued is released, as upstream's requeue() does it: the broker counts no failed attempt, so that
// a limit of attempts, which is for messages that harm their receivers, never swallows what an
// application wanted to have again.
type verdict uint8

const (
	accept verdict = iota + 1
	release
	reject
	refuse // reject what cannot be decoded
)

func verdictOf(r driver.Result) verdict {
	switch r {
	case driver.Accepted:
		return accept
	case driver.Requeued:
		return release
	default:
		return reject
	}
}

// batch is settled together: done is closed when the last of its messages is.
type batch struct {
	all  []*held
	done chan struct{}

	mu     sync.Mutex
	left   int                // guarded by mu
	failed map[*held]struct{} // nil while all is well; guarded by mu
	err    error              // the last failure; guarded by mu
}

func newBatch(hs []*held) *batch {
	return &batch{all: hs, left: len(hs), done: make(chan struct{})}
}

// settleAll settles what came by links.
func settleAll(hs []*held, how verdict) *batch {
	b := newBatch(hs)
	for _, h := range hs {
		h.from.settle(h, how, b)
	}
	return b
}

// settled notes what became of one message; b may be nil.
func (b *batch) settled(h *held, err error) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		if b.failed == nil {
			b.failed = make(map[*held]struct{})
		}
		b.failed[h], b.err = struct{}{}, err
	}
	if b.left--; b.left == 0 {
		close(b.done)
	}
}

// result is what was settled in the order of all, after done.
func (b *batch) result() ([]*held, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed == nil {
		return b.all, nil
	}
	good := make([]*held, 0, len(b.all)-len(b.failed))
	for _, h := range b.all {
		if _, bad := b.failed[h]; !bad {
			good = append(good, h)
		}
	}
	return good, b.err
}

// settler is the goroutine that settles what came by one link. The AMQP library waits, without a
// deadline of the caller's, until each disposition is on the wire; those who wait for that should be
// able to give up.
type settler struct {
	wake  chan struct{} // of capacity one
	ended chan struct{}

	mu     sync.Mutex
	queue  outbound.Deque[settlement] // guarded by mu
	closed bool                       // guarded by mu
}

type settlement struct {
	h     *held
	how   verdict
	batch *batch
}

func newSettler() *settler {
	return &settler{wake: make(chan struct{}, 1), ended: make(chan struct{})}
}

// run settles until it is closed and has settled all.
func (s *settler) run(a *attachment) {
	defer close(s.ended)
	for {
		s.mu.Lock()
		closed, some := s.closed, s.queue.Len() > 0
		var next settlement
		if some {
			next = s.queue.PopFront()
		}
		s.mu.Unlock()
		switch {
		case some:
			next.batch.settled(next.h, a.perform(next.h, next.how))
		case closed:
			return
		default:
			<-s.wake // close wakes it
		}
	}
}

// put returns false when the settler is closed.
func (s *settler) put(x settlement) bool {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false
	}
	s.queue.PushBack(x)
	s.mu.Unlock()
	signal(s.wake)
	return true
}

func (s *settler) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	signal(s.wake)
}

// settle settles one message soon; b, which may be nil, is told.
func (a *attachment) settle(h *held, how verdict, b *batch) {
	if !a.settler.put(settlement{h: h, how: how, batch: b}) {
		b.settled(h, a.perform(h, how)) // the link is gone: it fails at once
	}
}

// perform settles one message now. A message that was settled by its sender needs nothing, and the
// library knows.
func (a *attachment) perform(h *held, how verdict) error {
	ctx := context.Background() // the connection's own limit for writing
	var err error
	switch how {
	case accept:
		err = a.rx.AcceptMessage(ctx, h.msg)
	case release:
		err = a.rx.ReleaseMessage(ctx, h.msg)
	default:
		err = a.rejectMessage(ctx, h, how)
	}
	if err == nil && !h.returned {
		a.credit.freed()
	}
	return err
}

// rejectMessage gets rid of a message. A broker may give what was rejected again and again (Broker-J
// does unless the queue limits the attempts): in the end it is accepted, which ends that everywhere.
// What a broker does for rejected messages, such as to keep them aside, it has done by then.
func (a *attachment) rejectMessage(ctx context.Context, h *held, how verdict) error {
	if how == reject {
		h.mark = a.l.owner.rejected.markOf(a.address, h.d)
	}
	times := a.l.owner.rejected.add(h.mark)
	if times > maxRejections {
		a.l.set.log.Warn("a message that was rejected comes again and again; it is accepted to be rid of it",
			"address", foreign(a.address), "rejected", times-1)
		return a.rx.AcceptMessage(ctx, h.msg)
	}
	why := &amqp.Error{Condition: amqp.ErrCondNotAllowed, Description: "the receiver does not want this message"}
	if how == refuse {
		why = &amqp.Error{Condition: amqp.ErrCondDecodeError, Description: "the receiver cannot read this message"}
	}
	return a.rx.RejectMessage(ctx, h.msg, why)
}
