// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"slices"

	"github.com/parleymq/parley/plugin/driver"
)

// room is what a sender may queue or have in flight: a number of messages, and bytes. Large
// messages have bytes of their own and wait in line for them, so that small ones pass. The
// sender's mu guards it.
type room struct {
	limits     Limits
	messages   int // how many more
	bytes      int // queued or in flight
	largeBytes int // of bytes, those of large messages

	waiting      []*waiter // for room for a small one
	waitingLarge []*waiter // the first in line is the next
}

// waiter waits for room. ready is of capacity one.
type waiter struct{ ready chan struct{} }

func newRoom(l Limits) room { return room{limits: l, messages: l.MaxSendsInFlight} }

// fits reports whether there is room for out now.
func (r *room) fits(out *outgoing) bool {
	switch {
	case r.messages == 0:
		return false
	case out.large == nil:
		return r.bytes-r.largeBytes < sendWindowBytes
	default:
		return r.largeBytes == 0 || r.largeBytes+out.size <= r.limits.MaxMessageBytes
	}
}

// take uses room, and wakes the next who may have some: a wake-up is for one.
func (r *room) take(out *outgoing) {
	r.messages--
	r.bytes += out.size
	if out.large != nil {
		r.largeBytes += out.size
	}
	r.wakeSmall()
}

// give returns the room of a message and wakes who may use it.
func (r *room) give(out *outgoing) {
	r.messages++
	r.bytes -= out.size
	if out.large != nil {
		r.largeBytes -= out.size
	}
	r.wakeSmall()
	if out.large != nil || r.messages == 1 {
		r.wakeLarge()
	}
}

func (r *room) wakeSmall() {
	if len(r.waiting) > 0 && r.messages > 0 && r.bytes-r.largeBytes < sendWindowBytes {
		notify(r.waiting[0].ready)
		r.waiting = r.waiting[1:]
	}
}

func (r *room) wakeLarge() {
	if len(r.waitingLarge) > 0 {
		notify(r.waitingLarge[0].ready)
	}
}

// wakeAll is for the end of the stream.
func (r *room) wakeAll() {
	for _, w := range r.waiting {
		notify(w.ready)
	}
	for _, w := range r.waitingLarge {
		notify(w.ready)
	}
	r.waiting = nil
}

// idle reports whether nothing is queued or in flight.
func (r *room) idle() bool { return r.messages == r.limits.MaxSendsInFlight }

// awaitRoomLocked returns when there is room for out or the stream has failed. It gives up mu
// while it waits.
func (s *sender) awaitRoomLocked(ctx context.Context, out *outgoing) error {
	if out.large != nil {
		return s.awaitLargeRoomLocked(ctx, out)
	}
	for s.failed == nil && !s.room.fits(out) {
		w := &waiter{ready: make(chan struct{}, 1)}
		s.room.waiting = append(s.room.waiting, w)
		woken, err := s.waitLocked(ctx, w, out.m.FailFast)
		if !woken {
			if i := slices.Index(s.room.waiting, w); i >= 0 {
				s.room.waiting = slices.Delete(s.room.waiting, i, i+1)
			} else {
				s.room.wakeSmall() // the wake-up came too late for us; the next one has it
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// awaitLargeRoomLocked is awaitRoomLocked in line.
func (s *sender) awaitLargeRoomLocked(ctx context.Context, out *outgoing) error {
	if s.failed != nil || len(s.room.waitingLarge) == 0 && s.room.fits(out) {
		return nil
	}
	w := &waiter{ready: make(chan struct{}, 1)}
	s.room.waitingLarge = append(s.room.waitingLarge, w)
	defer func() {
		s.room.waitingLarge = slices.DeleteFunc(s.room.waitingLarge, func(other *waiter) bool { return other == w })
		s.room.wakeLarge() // there may be room for the next as well
	}()
	for s.failed == nil && (s.room.waitingLarge[0] != w || !s.room.fits(out)) {
		if _, err := s.waitLocked(ctx, w, out.m.FailFast); err != nil {
			return err
		}
	}
	return nil
}

// waitLocked waits until w is woken, ctx ends, or, with failFast, the broker is away: those
// before wait for it. It gives up mu meanwhile and reports whether w was woken.
func (s *sender) waitLocked(ctx context.Context, w *waiter, failFast bool) (bool, error) {
	var changed <-chan struct{}
	if failFast {
		var cause *driver.Error
		if cause, changed = s.broker.trouble(); cause != nil {
			return false, cause
		}
	}
	s.mu.Unlock()
	notify(s.wake) // what this batch has queued already may be what takes the room
	defer s.mu.Lock()
	select {
	case <-w.ready:
		return true, nil
	case <-changed:
		return false, nil
	case <-ctx.Done():
		return false, s.lateError(ctx)
	}
}

// lateError says why a message could not be sent until ctx ended. What keeps the driver from
// its broker says more than that time ran out (SEND-4).
func (s *sender) lateError(ctx context.Context) *driver.Error {
	err := cancelled(ctx)
	cause, _ := s.broker.trouble()
	if cause == nil || err.Reason != driver.ReasonExpired {
		return err
	}
	e := *cause
	e.Message, e.Err = notInTime+cause.Message, ctx.Err()
	return &e
}
