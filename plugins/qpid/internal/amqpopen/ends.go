// SPDX-License-Identifier: Apache-2.0

package amqpopen

import (
	"context"
	"sync"
)

// ends knows the sessions that the peer has ended, and whose end this side has not answered: the
// library gives their channels away before it does, and a session that begins on one then is an error
// that ends the connection.
type ends struct {
	mu       sync.Mutex
	channels map[uint16]uint16 // ours by the peer's; guarded by mu
	ended    map[uint16]bool   // ours that this side ended first; guarded by mu
	waiting  map[uint16]bool   // ours that the peer ended, not answered; guarded by mu
	changed  chan struct{}     // closed and replaced when one is answered; guarded by mu
}

func newEnds() *ends {
	return &ends{
		channels: make(map[uint16]uint16), ended: make(map[uint16]bool), waiting: make(map[uint16]bool), changed: make(chan struct{}),
	}
}

// received takes a begin or an end of the peer.
func (e *ends) received(channel uint16, f *performative) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if f.code == codeBegin {
		if ours, ok := f.field(0).(uint64); ok && ours <= maxChannel {
			e.channels[channel] = uint16(ours)
		}
		return
	}
	ours, ok := e.channels[channel]
	if !ok {
		return
	}
	delete(e.channels, channel)
	if e.ended[ours] {
		delete(e.ended, ours)
		return
	}
	e.waiting[ours] = true
}

// sent takes an end of this side.
func (e *ends) sent(channel uint16) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.waiting[channel] {
		e.ended[channel] = true
		return
	}
	delete(e.waiting, channel)
	close(e.changed)
	e.changed = make(chan struct{})
}

// answered waits until there is none to answer, or ctx ends.
func (e *ends) answered(ctx context.Context) error {
	for {
		e.mu.Lock()
		n, changed := len(e.waiting), e.changed
		e.mu.Unlock()
		if n == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
