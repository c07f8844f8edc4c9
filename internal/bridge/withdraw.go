// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"slices"
	"time"
)

// withdrawGrace is how long a sender whose ctx ended waits for the driver's word on a message
// that was written. Mostly it comes at once, and tells more than that time ran out; on a busy machine
// it takes its time.
const withdrawGrace = 200 * time.Millisecond

// giveUp reports a message as in doubt whose fate the driver did not tell in time.
func (s *sender) giveUp(ctx context.Context, out *outgoing) {
	s.mu.Lock()
	if out.settled || s.failed != nil {
		s.mu.Unlock()
		return // reported, or about to be by fail
	}
	out.settled = true
	s.mu.Unlock()
	err := cancelled(ctx)
	err.InDoubt = true
	out.done(out.index, err)
}

// withdraw takes back a message whose sender's ctx ended: at once while it is queued,
// otherwise by asking the driver, which then reports what became of it.
func (s *sender) withdraw(ctx context.Context, out *outgoing) {
	s.mu.Lock()
	if out.settled || s.failed != nil {
		s.mu.Unlock()
		return
	}
	switch {
	case out.number != 0:
		s.cancels = append(s.cancels, out.number)
		s.mu.Unlock()
		notify(s.wake)
		time.AfterFunc(withdrawGrace, func() { s.giveUp(ctx, out) })
	case s.cutting == out && out.given == nil:
		// Its bytes are being read; the writer drops it after that, unless it is stuck.
		out.given = s.lateError(ctx)
		s.mu.Unlock()
		time.AfterFunc(withdrawGrace, func() { s.withdraw(ctx, out) })
	default:
		cause := s.lateError(ctx)
		s.dropLocked(out)
		s.mu.Unlock()
		notify(s.wake) // for what is to be said of it, or what it held back
		out.done(out.index, cause)
	}
}

// dropLocked takes back a message that is not written, or not completely, so that it never left,
// and settles it.
func (s *sender) dropLocked(out *outgoing) {
	out.settled = true
	if out.large != nil && s.large.remove(out.large) {
		s.aborts = append(s.aborts, out.large.number)
	}
	if i := slices.Index(s.queue, out); i >= 0 {
		s.queue = slices.Delete(s.queue, i, i+1)
	}
	s.releaseLocked(out)
	if out.placed {
		s.followLocked(out)
	}
}
