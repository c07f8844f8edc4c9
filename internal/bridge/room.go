// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"slices"

	"github.com/parleymq/parley/plugin/driver"
)

// awaitRoomLocked gives up mu while it waits. With failFast it fails while the broker is away:
// those before wait for it.
func (s *sender) awaitRoomLocked(ctx context.Context, failFast bool) error {
	var changed <-chan struct{}
	if failFast {
		var cause *driver.Error
		if cause, changed = s.broker.trouble(); cause != nil {
			return cause
		}
	}
	ready := make(chan struct{})
	s.waiting = append(s.waiting, ready)
	s.mu.Unlock()
	notify(s.wake) // what this batch has queued already may be what takes the room
	var err error
	woken := false
	select {
	case <-ready:
		woken = true
	case <-changed:
	case <-ctx.Done():
		err = cancelled(ctx)
	}
	s.mu.Lock()
	if !woken && !s.forgetLocked(ready) {
		s.releaseLocked(0) // the wake-up came too late for us; the next one has it
	}
	return err
}

// forgetLocked removes a waiter and reports whether it was still waiting.
func (s *sender) forgetLocked(ready chan struct{}) bool {
	i := slices.Index(s.waiting, ready)
	if i < 0 {
		return false
	}
	s.waiting = slices.Delete(s.waiting, i, i+1)
	return true
}

// releaseLocked gives back room and wakes who waits for it.
func (s *sender) releaseLocked(n int) {
	s.room += n
	for n = min(s.room, len(s.waiting)); n > 0; n-- {
		close(s.waiting[0])
		s.waiting = s.waiting[1:]
	}
}
