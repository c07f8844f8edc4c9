// SPDX-License-Identifier: Apache-2.0

package messaging

import "time"

// Defaults of the window in which repeated messages are recognised. Upstream remembers 16
// (oslo_messaging/_drivers/amqp.py, DUP_MSG_CHECK_SIZE), which a busy server overruns in a
// moment.
const (
	defaultDedupeSize = 4096
	defaultDedupeAge  = 10 * time.Minute
)

// dedupe is a window of the unique ids a listener has seen, bounded by count and age. It is
// used by one goroutine.
type dedupe struct {
	age  time.Duration
	seen map[string]int64 // id to its number in ring
	ring []seenID
	next int64 // number of the next entry; entry n stands at n modulo len(ring)
	old  int64 // number of the oldest entry that may still count
}

type seenID struct {
	id string
	at time.Time
}

func newDedupe(size int, age time.Duration) *dedupe {
	return &dedupe{age: age, seen: make(map[string]int64), ring: make([]seenID, size)}
}

// add remembers id and reports whether it is new. A message without an id is always new.
func (d *dedupe) add(id string, now time.Time) bool {
	if id == "" {
		return true
	}
	d.dropOld(now)
	if _, ok := d.seen[id]; ok {
		return false
	}
	if d.next-d.old == int64(len(d.ring)) {
		d.dropOldest()
	}
	d.ring[d.next%int64(len(d.ring))] = seenID{id, now}
	d.seen[id] = d.next
	d.next++
	return true
}

// forget makes id new again: its message goes back to the broker and will be seen once more.
func (d *dedupe) forget(id string) { delete(d.seen, id) }

func (d *dedupe) dropOld(now time.Time) {
	for d.old < d.next && now.Sub(d.ring[d.old%int64(len(d.ring))].at) > d.age {
		d.dropOldest()
	}
}

// dropOldest forgets the oldest entry, unless its id was forgotten and seen again since.
func (d *dedupe) dropOldest() {
	e := &d.ring[d.old%int64(len(d.ring))]
	if d.seen[e.id] == d.old {
		delete(d.seen, e.id)
	}
	*e = seenID{}
	d.old++
}
