// SPDX-License-Identifier: Apache-2.0

package bridge

import "context"

// Flush returns once every message sent so far on this Conn has its result, or with ctx's
// error. It is meant for a Conn that gets no more messages: those sent meanwhile are waited for
// as well.
func (c *Conn) Flush(ctx context.Context) error {
	idle := c.sender.awaitIdle()
	select {
	case <-idle:
		return nil
	case <-c.sender.broken: // everything has got its result by that
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// awaitIdle returns a channel that is closed when nothing is queued or in flight.
func (s *sender) awaitIdle() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle == nil {
		s.idle = make(chan struct{})
	}
	idle := s.idle
	s.idleLocked()
	return idle
}

// idleLocked tells those who wait for it that nothing is queued or in flight.
func (s *sender) idleLocked() {
	if s.idle != nil && s.room.idle() {
		close(s.idle)
		s.idle = nil
	}
}

// releaseLocked gives back the room of a message.
func (s *sender) releaseLocked(out *outgoing) {
	s.room.give(out)
	s.idleLocked()
}
