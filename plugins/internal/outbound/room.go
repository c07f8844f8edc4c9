// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"
	"sync"
)

// Room bounds how many messages a driver has that are not settled, and lets senders wait for it
// (ASYNC-2). It has no lock of its own: each method needs the one that it was made with held.
type Room struct {
	lock    sync.Locker
	limit   int
	taken   int
	closed  bool
	waiters int
	freed   chan struct{} // closed and replaced when taken falls and somebody waits
}

// NewRoom returns one for limit messages that is guarded by lock.
func NewRoom(lock sync.Locker, limit int) *Room {
	return &Room{lock: lock, limit: limit, freed: make(chan struct{})}
}

// Full reports whether a sender has to wait.
func (r *Room) Full() bool { return r.taken >= r.limit && !r.closed }

// Empty reports whether all messages are settled.
func (r *Room) Empty() bool { return r.taken == 0 }

// Closed reports whether Close was called.
func (r *Room) Closed() bool { return r.closed }

// Take takes a message in.
func (r *Room) Take() { r.taken++ }

// Leave lets a settled one out.
func (r *Room) Leave() {
	r.taken--
	if r.waiters > 0 {
		r.wake()
	}
}

// Wait gives up the lock until there may be room, changed is closed or ctx ends.
func (r *Room) Wait(ctx context.Context, changed <-chan struct{}) {
	freed := r.freed
	r.waiters++
	r.lock.Unlock()
	select {
	case <-freed:
	case <-changed:
	case <-ctx.Done():
	}
	r.lock.Lock()
	r.waiters--
}

// Close takes nobody in any more, and waits until the room is empty or ctx ends. In between it
// gives up the lock.
func (r *Room) Close(ctx context.Context) {
	r.closed = true
	r.wake()
	for !r.Empty() && ctx.Err() == nil {
		r.Wait(ctx, nil)
	}
}

func (r *Room) wake() {
	close(r.freed)
	r.freed = make(chan struct{})
}
