// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// Listener is a listener that outlives driver processes. During a swap it has two lives: the
// old one is read to its end before the new one is, unless merged says otherwise.
type Listener struct {
	conn *Conn
	src  driver.Source

	mu    sync.Mutex
	lives []*listenerLife // the oldest first; guarded by mu
	held  int             // deliveries that Receive's owner has not released; guarded by mu
	// merged: all lives are read at once.
	merged   bool
	lost     []*driver.Delivery // calls whose answers cannot come, to be told; guarded by mu
	lostHeld int                // of those told, not released; guarded by mu
	spare    []*driver.Delivery // received by Poll and not returned yet; guarded by mu
	stopped  bool               // guarded by mu
	closed   bool               // guarded by mu
	changed  chan struct{}      // closed and replaced at each change; guarded by mu
}

// listenerLife is a Listener in one process.
type listenerLife struct {
	life  *connLife
	inner driver.Listener

	// Guarded by Listener.mu.
	inUse    bool // Poll or Receive is in inner
	owed     bool // inner knows of the deliveries of lives before
	read     bool // inner has nothing more to give
	leaving  bool // finish was called: another life follows, at once or later
	finished bool // nothing is waited for any more: see finish
	open     int  // deliveries that are not done
	held     int  // with Listener.merged: deliveries that are not released
}

var (
	_ driver.Listener = (*Listener)(nil)
	_ driver.Stopper  = (*Listener)(nil)
	_ driver.Receiver = (*Listener)(nil)
)

// Tokens carry the number of the life they belong to in their upper bits, so that a late Done
// cannot settle a message of another life.
const (
	tokenBits = 48
	tokenMask = 1<<tokenBits - 1
)

func newListener(c *Conn, src driver.Source) *Listener {
	l := &Listener{conn: c, src: src, changed: make(chan struct{})}
	if info := c.info.Load(); info != nil {
		l.merged = src.Kind == driver.SourceReplies && !info.Has(driver.CapStableReplies)
	}
	return l
}

// changedLocked wakes all who wait for a change.
func (l *Listener) changedLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// attach puts a life's listener to use, behind those there are. It reports false when it is not
// wanted any more: the Listener is closed, or the life was replaced meanwhile.
func (l *Listener) attach(life *connLife, inner driver.Listener) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped || l.closed {
		return false
	}
	select {
	case <-life.replaced:
		return false
	default:
	}
	l.lives = append(l.lives, &listenerLife{life: life, inner: inner})
	l.changedLocked()
	return true
}

// drop forgets a life whose process is gone.
func (l *Listener) drop(ll *listenerLife) {
	l.mu.Lock()
	l.lives = slices.DeleteFunc(l.lives, func(other *listenerLife) bool { return other == ll })
	l.changedLocked()
	l.mu.Unlock()
	abandon(ll.inner)
}

// dropLife forgets what the listener has in a life.
func (l *Listener) dropLife(life *connLife) {
	if ll := l.in(life.number); ll != nil {
		l.drop(ll)
	}
}

// abandon ends the goroutines of a listener whose process is gone or not needed.
func abandon(inner driver.Listener) {
	if a, ok := inner.(interface{ Abandon() }); ok {
		a.Abandon()
	}
}

// in returns the listener's life of that number, or nil.
func (l *Listener) in(number uint64) *listenerLife {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ll := range l.lives {
		if ll.life.number == number {
			return ll
		}
	}
	return nil
}

// relisten listens again in a new life, as often as it takes. up is called once: when it
// listens, or when it never will.
func (l *Listener) relisten(life *connLife, up func()) {
	var once sync.Once
	defer once.Do(up)
	ctx, cancel := context.WithCancel(l.conn.ctx)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() { // ends with relisten
		select {
		case <-life.proc.gone:
			cancel()
		case <-life.conn.Broken(): // the process may live on; this life of the Conn does not
			cancel()
		case <-life.replaced:
			cancel()
		case <-stop:
		}
	}()
	for ctx.Err() == nil {
		if l.done() {
			return
		}
		inner, err := life.conn.Listen(ctx, l.src)
		if err == nil {
			if !l.attach(life, inner) {
				abandon(inner)
			}
			return
		}
		if ctx.Err() != nil {
			return
		}
		l.conn.logger.Error("listening again failed; trying on", "source", l.src.Kind.String(),
			"topic", l.src.Target.Topic, "err", err.Error())
		once.Do(up)
		if !pauseFor(ctx, time.Second) {
			return
		}
	}
}

// pauseFor waits, and reports false when ctx ended first.
func pauseFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *Listener) done() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed || l.stopped
}

// Poll implements driver.Listener. The end of a process is a pause.
func (l *Listener) Poll(ctx context.Context, max int) (ds []*driver.Delivery, err error) {
	if l.merged {
		return l.pollMerged(ctx, max)
	}
	err = l.eachLife(ctx, func(ll *listenerLife) error {
		ds, err = ll.inner.Poll(ctx, max)
		if len(ds) > 0 {
			l.take(ll, ds)
			return nil
		}
		return err
	})
	return ds, err
}

// Receive implements driver.Receiver, in one process after the other, or with replies that end with
// their process in all at once.
func (l *Listener) Receive(ctx context.Context, max int, f func([]*driver.Delivery)) error {
	if l.merged {
		return l.receiveMerged(ctx, max, f)
	}
	return l.eachLife(ctx, func(ll *listenerLife) error {
		r, ok := ll.inner.(driver.Receiver)
		if !ok {
			return driver.Errorf(driver.ReasonUnsupported, "the listener cannot call a receiver")
		}
		return r.Receive(ctx, max, func(ds []*driver.Delivery) {
			l.take(ll, ds)
			l.mu.Lock()
			l.held += len(ds)
			l.mu.Unlock()
			f(ds)
		})
	})
}

// Release implements driver.Receiver. What was received from an earlier process counts for the
// present one: the limit is that of the receiver, whatever the process.
func (l *Listener) Release(n int) {
	if l.merged {
		l.releaseMerged(n)
		return
	}
	l.mu.Lock()
	l.held = max(0, l.held-n)
	var inner driver.Listener
	for _, ll := range l.lives {
		if ll.inUse {
			inner = ll.inner
		}
	}
	l.mu.Unlock()
	if r, ok := inner.(driver.Receiver); ok {
		r.Release(n)
	}
}

// eachLife calls use with the listener of the oldest life that has something to give, and with
// the next one's when that has ended. It returns what use returns otherwise, or why there is no
// next one.
func (l *Listener) eachLife(ctx context.Context, use func(*listenerLife) error) error {
	for {
		ll, changed, over := l.enter()
		if ll != nil {
			err := use(ll)
			l.leave(ll)
			switch {
			case err == nil:
				return nil
			case driver.ReasonOf(err) == driver.ReasonDriverGone:
				l.drop(ll)
			case driver.ReasonOf(err) == driver.ReasonClosed && l.readOut(ll):
			case driver.ReasonOf(err) == driver.ReasonClosed && !l.done():
				// The driver closed it, and nobody on this side asked for that.
				l.drop(ll)
				l.conn.listenAgain(l, ll.life)
			default:
				return err
			}
			continue
		}
		if over {
			return driver.Errorf(driver.ReasonClosed, "the listener is closed")
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// enter returns the life to read from, or nil, and when that changes, and whether there will
// never be one.
func (l *Listener) enter() (*listenerLife, <-chan struct{}, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ll := range l.lives {
		if ll.read {
			continue
		}
		ll.inUse = true
		if o, ok := ll.inner.(interface{ Owe(int) }); ok && !ll.owed {
			o.Owe(l.held)
		}
		ll.owed = true
		return ll, l.changed, false
	}
	return nil, l.changed, l.stopped || l.closed
}

func (l *Listener) leave(ll *listenerLife) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ll.inUse = false
	l.changedLocked()
}

// readOut notes that a life has nothing more to give. It reports false for the last one: then
// the listener has nothing more to give either.
func (l *Listener) readOut(ll *listenerLife) bool {
	l.mu.Lock()
	last := !ll.leaving && (len(l.lives) == 0 || l.lives[len(l.lives)-1] == ll)
	ll.read = !last
	over := ll.read && ll.finished
	l.mu.Unlock()
	if over {
		l.drop(ll)
	}
	return !last
}

// take puts the number of the life into the tokens, and counts those that are to be done.
func (l *Listener) take(ll *listenerLife, ds []*driver.Delivery) {
	if l.src.Kind == driver.SourceReplies {
		ll.life.calls.answered(l.src.ReplyName, ds)
	}
	open := 0
	for _, d := range ds {
		if d.Token != 0 {
			d.Token = d.Token&tokenMask | ll.life.number<<tokenBits
			open++
		}
	}
	if open == 0 || l.src.Settle != driver.SettleOnDone {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	ll.open += open
}

// Done implements driver.Listener. Outcomes of a process that is gone are dropped: the broker
// gives those messages again.
func (l *Listener) Done(ctx context.Context, outcomes []driver.Outcome) error {
	byLife := make(map[uint64][]driver.Outcome, 1)
	for _, o := range outcomes {
		if o.Token != 0 {
			number := o.Token >> tokenBits
			byLife[number] = append(byLife[number], driver.Outcome{Token: o.Token & tokenMask, Result: o.Result})
		}
	}
	var first error
	for number, of := range byLife {
		ll := l.in(number)
		if ll == nil {
			continue
		}
		if err := ll.inner.Done(ctx, of); err != nil && first == nil {
			first = err
		}
		l.settled(ll, len(of))
	}
	return first
}

func (l *Listener) settled(ll *listenerLife, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ll.open = max(0, ll.open-n); ll.open == 0 {
		l.changedLocked()
	}
}

// finish stops taking messages in a life that is not in use any more, and waits until those
// that were taken are done. What waits to be polled is kept on this side, and stays.
func (l *Listener) finish(ctx context.Context, life *connLife) {
	ll := l.in(life.number)
	if ll == nil {
		return
	}
	l.mu.Lock()
	ll.leaving = true
	l.mu.Unlock()
	if l.src.Kind == driver.SourceReplies {
		life.calls.seal(ctx) // the driver waits for the answers to what has left (LOST-3)
	}
	if s, ok := ll.inner.(driver.Stopper); ok {
		_ = s.Stop(ctx) // it fails when ctx is over, and then nothing is waited for
	}
	l.awaitDone(ctx, ll)
	l.mu.Lock()
	ll.finished = true
	over := ll.read
	l.mu.Unlock()
	if over {
		l.drop(ll)
	}
}

// awaitDone waits until everything that was taken in a life is done.
func (l *Listener) awaitDone(ctx context.Context, ll *listenerLife) {
	for {
		l.mu.Lock()
		empty, changed := ll.open == 0 && !ll.inUse, l.changed
		l.mu.Unlock()
		if empty {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// innersLocked lists the listeners of all lives.
func (l *Listener) innersLocked() []driver.Listener {
	all := make([]driver.Listener, 0, len(l.lives))
	for _, ll := range l.lives {
		all = append(all, ll.inner)
	}
	return all
}

// Stop implements driver.Stopper.
func (l *Listener) Stop(ctx context.Context) error {
	l.mu.Lock()
	l.stopped = true
	inners := l.innersLocked()
	l.changedLocked()
	l.mu.Unlock()
	var first error
	for _, inner := range inners {
		if s, ok := inner.(driver.Stopper); ok {
			if err := s.Stop(ctx); err != nil && first == nil {
				first = err
			}
		}
	}
	return first
}

// Close implements driver.Listener.
func (l *Listener) Close(ctx context.Context) error {
	l.conn.remove(l)
	l.mu.Lock()
	l.closed = true
	inners := l.innersLocked()
	l.lives = nil
	l.changedLocked()
	l.mu.Unlock()
	var last error
	for _, inner := range inners {
		last = inner.Close(ctx) // an older one may be closed already
	}
	return last
}
