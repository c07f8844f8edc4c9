// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"sync"

	"github.com/parleymq/parley/plugin/driver"
)

// Replies to addresses that end with their life (drivers without driver.CapStableReplies) are read
// from all lives at once: during a swap the old one goes on until its calls are answered, which may
// take as long as calls do, and the calls of the new one do not wait for that.

// maxLives is how many lives share the receiver's limit: one more than a swap has. A third one,
// which still drains when the next swap comes, may add as much again.
const maxLives = 2

// merge is one call of Receive that reads all lives.
type merge struct {
	l       *Listener
	limit   int // of each life
	readers sync.WaitGroup

	calling sync.Mutex // held while f is called
	f       func([]*driver.Delivery)

	mu     sync.Mutex
	failed error // why the listener can never work again; guarded by mu
}

// receiveMerged is Receive over all lives at once.
func (l *Listener) receiveMerged(ctx context.Context, limit int, f func([]*driver.Delivery)) error {
	m := &merge{l: l, limit: max(1, limit/maxLives), f: f}
	reading, stop := context.WithCancel(ctx)
	defer m.readers.Wait()
	defer stop()
	for {
		e := l.enterAll(m.limit)
		for _, ll := range e.lives {
			m.readers.Go(func() { m.read(reading, ll) })
		}
		if len(e.lost) > 0 {
			m.call(e.lost)
			continue
		}
		if err := m.err(); err != nil {
			return err
		}
		if e.over {
			return driver.Errorf(driver.ReasonClosed, "the listener is closed")
		}
		select {
		case <-e.changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *merge) err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failed
}

func (m *merge) call(ds []*driver.Delivery) {
	m.calling.Lock()
	defer m.calling.Unlock()
	m.f(ds)
}

// read reads one life to its end, or until ctx ends.
func (m *merge) read(ctx context.Context, ll *listenerLife) {
	defer m.l.leave(ll)
	err := m.receive(ctx, ll)
	if err == nil || ctx.Err() != nil {
		return
	}
	switch reason := driver.ReasonOf(err); {
	case reason == driver.ReasonDriverGone:
		m.l.drop(ll)
		m.l.conn.lose(ll.life.calls.take(m.l.src.ReplyName), ll.life.replyLost(err))
	case reason == driver.ReasonClosed && m.l.readOut(ll):
	case reason == driver.ReasonClosed && m.l.done():
		m.l.mu.Lock()
		ll.read = true
		m.l.mu.Unlock()
	case reason == driver.ReasonClosed:
		// The driver closed it, and nobody on this side asked for that.
		m.l.drop(ll)
		m.l.conn.lose(ll.life.calls.take(m.l.src.ReplyName), ll.life.replyLost(err))
		m.l.conn.listenAgain(m.l, ll.life)
	default:
		m.mu.Lock()
		m.failed = err
		m.mu.Unlock()
	}
}

func (m *merge) receive(ctx context.Context, ll *listenerLife) error {
	r, ok := ll.inner.(driver.Receiver)
	if !ok {
		return driver.Errorf(driver.ReasonUnsupported, "the listener cannot call a receiver")
	}
	return r.Receive(ctx, m.limit, func(ds []*driver.Delivery) {
		m.l.take(ll, ds)
		m.l.mu.Lock()
		m.l.held += len(ds)
		ll.held += len(ds)
		m.l.mu.Unlock()
		m.call(ds)
	})
}

// entered is what receiveMerged has to do.
type entered struct {
	lives   []*listenerLife // that are to be read, and are not yet
	lost    []*driver.Delivery
	changed <-chan struct{}
	over    bool // there will never be anything
}

// enterAll takes into use what can be read now. What is received from a life that ended counts for
// the next one: the limit is that of the receiver.
func (l *Listener) enterAll(limit int) entered {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := entered{changed: l.changed, over: l.stopped || l.closed}
	n := min(len(l.lost), limit)
	e.lost, l.lost = l.lost[:n:n], l.lost[n:]
	l.lostHeld += n
	for _, ll := range l.lives {
		if ll.read {
			continue
		}
		e.over = false
		if !ll.inUse {
			ll.inUse = true
			l.oweLocked(ll)
			e.lives = append(e.lives, ll)
		}
		if ll.life.calls == nil {
			break // its replies come in order with those of the next one
		}
	}
	return e
}

// oweLocked lets a life account for what was received from those that are gone.
func (l *Listener) oweLocked(ll *listenerLife) {
	orphans := l.held
	for _, other := range l.lives {
		orphans -= other.held
	}
	if o, ok := ll.inner.(interface{ Owe(int) }); ok && orphans > 0 {
		o.Owe(orphans)
		ll.held += orphans
	}
}

// releaseMerged gives back what was received, to the oldest first.
func (l *Listener) releaseMerged(n int) {
	type share struct {
		of driver.Receiver
		n  int
	}
	var shares []share
	l.mu.Lock()
	k := min(n, l.lostHeld)
	l.lostHeld -= k
	n -= k
	l.held = max(0, l.held-n)
	for _, ll := range l.lives {
		k := min(n, ll.held)
		ll.held -= k
		n -= k
		if r, ok := ll.inner.(driver.Receiver); ok && k > 0 {
			shares = append(shares, share{r, k})
		}
	}
	l.mu.Unlock()
	for _, s := range shares {
		s.of.Release(s.n)
	}
}

// pollMerged is Poll over all lives at once.
func (l *Listener) pollMerged(ctx context.Context, limit int) ([]*driver.Delivery, error) {
	if ds := l.takeSpare(limit); len(ds) > 0 {
		return ds, nil
	}
	receiving, stop := context.WithCancel(ctx)
	defer stop()
	err := l.receiveMerged(receiving, limit, func(ds []*driver.Delivery) {
		l.mu.Lock()
		l.spare = append(l.spare, ds...)
		l.mu.Unlock()
		l.releaseMerged(len(ds))
		stop()
	})
	if ds := l.takeSpare(limit); len(ds) > 0 {
		return ds, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, err
}

// takeSpare returns what was received and not returned by Poll.
func (l *Listener) takeSpare(limit int) []*driver.Delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(limit, len(l.spare))
	ds := l.spare[:n:n]
	l.spare = l.spare[n:]
	return ds
}

// tellLost hands the listener's owner calls whose answers cannot come.
func (l *Listener) tellLost(ds []*driver.Delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped || l.closed {
		return
	}
	l.lost = append(l.lost, ds...)
	l.changedLocked()
}
