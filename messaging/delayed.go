// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"sync"
	"time"
)

// delayed are notices that are to be given back after a while. The zero value is ready.
type delayed struct {
	mu      sync.Mutex // guards timers and closed, and that none fires once closed
	timers  map[*notice]*time.Timer
	closed  bool
	firings sync.WaitGroup
}

// add calls then after a while, unless close comes first. False means that it has: n is still the
// caller's.
func (d *delayed) add(n *notice, after time.Duration, then func()) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	if d.timers == nil {
		d.timers = make(map[*notice]*time.Timer)
	}
	d.timers[n] = time.AfterFunc(after, func() {
		if d.take(n) {
			defer d.firings.Done()
			then()
		}
	})
	return true
}

// take removes n, and reports whether it was there and its timer may fire.
func (d *delayed) take(n *notice) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, there := d.timers[n]; !there {
		return false
	}
	delete(d.timers, n)
	d.firings.Add(1)
	return true
}

// close stops all timers, waits for those that fire now, and returns the notices of the others:
// they are the caller's.
func (d *delayed) close() []*notice {
	d.mu.Lock()
	d.closed = true
	all := make([]*notice, 0, len(d.timers))
	for n, timer := range d.timers {
		timer.Stop()
		all = append(all, n)
	}
	clear(d.timers)
	d.mu.Unlock()
	d.firings.Wait()
	return all
}
