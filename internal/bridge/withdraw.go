// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"time"
)

// withdrawGrace is how long a sender whose ctx ended waits for the driver's word on a message
// that was written. Mostly it comes at once, and tells more than that time ran out.
const withdrawGrace = 50 * time.Millisecond

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
	if out.number != 0 {
		s.cancels = append(s.cancels, out.number)
		s.mu.Unlock()
		notify(s.wake)
		time.AfterFunc(withdrawGrace, func() { s.giveUp(ctx, out) })
		return
	}
	out.settled = true
	for i, q := range s.queue {
		if q == out {
			s.queue = append(s.queue[:i], s.queue[i+1:]...)
			break
		}
	}
	s.pending -= out.size
	s.releaseLocked(1)
	s.mu.Unlock()
	out.done(out.index, cancelled(ctx))
}
