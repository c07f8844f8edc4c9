// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultBudget = 256 * mib
	// smallMessage is what a peer may announce without asking.
	smallMessage = 64 * kib
	// earnest is how much of a frame must have come before more is set aside for it.
	earnest = 16 * kib
	// budgetWait bounds how long a peer waits for others to finish.
	budgetWait = 10 * time.Second
	// A peer that holds bytes for longer than budgetGrace, and fills them more slowly than
	// budgetRate bytes a second, is closed when others wait.
	budgetGrace = time.Second
	budgetRate  = mib
)

// Budget bounds the bytes of unfinished messages above 64 KiB, because zmq4 allocates a frame as
// soon as its length is announced. Who finds it empty waits; when that is because of peers that
// announced much and send little, the slowest of them is closed. It is safe for concurrent use.
type Budget struct {
	total int

	mu     sync.Mutex
	used   int
	grants map[*grant]struct{}
	freed  chan struct{} // closed and replaced when used falls
}

// NewBudget makes a Budget of so many bytes. One message may always be unfinished, however big it
// is.
func NewBudget(bytes int) *Budget {
	return &Budget{total: bytes, grants: make(map[*grant]struct{}), freed: make(chan struct{})}
}

// grant is what one Conn holds for the message that it is receiving.
type grant struct {
	got    atomic.Int64 // bytes that came since
	revoke func(error)

	size  int       // guarded by Budget.mu
	since time.Time // guarded by Budget.mu
}

// take adds size bytes to g. It blocks until they are there, done is closed, or budgetWait is over.
func (b *Budget) take(g *grant, size int, done <-chan struct{}) error {
	if freed := b.tryTake(g, size); freed == nil {
		return nil
	}
	const tick = 100 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for end := time.Now().Add(budgetWait); time.Now().Before(end); {
		freed := b.tryTake(g, size)
		if freed == nil {
			return nil
		}
		if slow := b.slowest(g); slow != nil {
			slow.revoke(fmt.Errorf("%w: this one was the slowest", ErrCrowded))
		}
		select {
		case <-freed:
		case <-ticker.C:
		case <-done:
			return ErrClosed
		}
	}
	return fmt.Errorf("%w: %d bytes more did not fit for %v", ErrCrowded, size, budgetWait)
}

// tryTake returns nil when g has got the bytes, else what to wait for.
func (b *Budget) tryTake(g *grant, size int) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used+size > b.total && b.used > g.size {
		return b.freed
	}
	if g.size == 0 {
		g.since = time.Now()
		g.got.Store(0)
		b.grants[g] = struct{}{}
	}
	b.used += size
	g.size += size
	return nil
}

// slowest is the holder, other than g, that fills its bytes too slowly and most slowly of all.
func (b *Budget) slowest(g *grant) *grant {
	b.mu.Lock()
	defer b.mu.Unlock()
	var slow *grant
	least := float64(budgetRate)
	for other := range b.grants {
		held := time.Since(other.since)
		if other == g || held < budgetGrace {
			continue
		}
		if rate := float64(other.got.Load()) / held.Seconds(); rate < least {
			slow, least = other, rate
		}
	}
	return slow
}

// give returns all that g has.
func (b *Budget) give(g *grant) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if g.size == 0 {
		return
	}
	b.used -= g.size
	g.size = 0
	delete(b.grants, g)
	close(b.freed)
	b.freed = make(chan struct{})
}

// held is how many bytes are taken.
func (b *Budget) held() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}
