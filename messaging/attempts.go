// SPDX-License-Identifier: Apache-2.0

package messaging

import "sync"

// maxAttempts bounds how many notifications are counted: the oldest are forgotten.
const maxAttempts = 1 << 14

// attempts counts how often notifications were given back. Most never are, and are not in it.
type attempts struct {
	mu    sync.Mutex // guards the rest
	count map[string]attempt
	order []counted // by their first count; those that are forgotten since are among them
	next  uint64    // number of the next in order
}

// attempt is how often one notification was given back, and its number in order.
type attempt struct {
	times  int
	number uint64
}

// counted is an entry of the order.
type counted struct {
	id     string
	number uint64
}

func newAttempts() *attempts { return &attempts{count: make(map[string]attempt)} }

// of returns how often a notice was given back.
func (a *attempts) of(n *notice) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.count) == 0 {
		return 0
	}
	return a.count[n.id()].times
}

// add counts that a notice is given back.
func (a *attempts) add(n *notice) {
	a.mu.Lock()
	defer a.mu.Unlock()
	id := n.id()
	now, known := a.count[id]
	if !known {
		now.number = a.next
		a.next++
		a.order = append(a.order, counted{id, now.number})
	}
	now.times++
	a.count[id] = now
	if !known {
		a.trim()
	}
}

// forget ends the count of a notice that is done.
func (a *attempts) forget(n *notice) {
	if n.attempt <= 1 {
		return // it was never counted
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.count, n.id())
}

// trim forgets the oldest when there are too many, and cleans the order now and then.
func (a *attempts) trim() {
	for len(a.count) > maxAttempts {
		if oldest := a.order[0]; a.counts(oldest) {
			delete(a.count, oldest.id)
		}
		a.order = a.order[1:]
	}
	if len(a.order) < 2*len(a.count)+64 {
		return
	}
	kept := make([]counted, 0, len(a.count))
	for _, c := range a.order {
		if a.counts(c) {
			kept = append(kept, c)
		}
	}
	a.order = kept
}

// counts reports whether an entry of the order is that of a count.
func (a *attempts) counts(c counted) bool {
	now, known := a.count[c.id]
	return known && now.number == c.number
}
