// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"sync"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// Listener is a listener that outlives driver processes.
type Listener struct {
	conn *Conn
	src  driver.Source

	mu      sync.Mutex
	life    *connLife       // of inner; guarded by mu
	inner   driver.Listener // nil while no process listens; guarded by mu
	stopped bool            // guarded by mu
	closed  bool            // guarded by mu
	changed chan struct{}   // closed and replaced at each change; guarded by mu
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
	return &Listener{conn: c, src: src, changed: make(chan struct{})}
}

// attach puts a life's listener to use. It reports false when it is not wanted any more.
func (l *Listener) attach(life *connLife, inner driver.Listener) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped || l.closed {
		return false
	}
	l.life, l.inner = life, inner
	close(l.changed)
	l.changed = make(chan struct{})
	return true
}

// detach takes a life's listener out of use.
func (l *Listener) detach(life *connLife) {
	l.mu.Lock()
	inner := l.inner
	if l.life != life || inner == nil {
		l.mu.Unlock()
		return
	}
	l.inner = nil
	l.mu.Unlock()
	abandon(inner)
}

// abandon ends the goroutines of a listener whose process is gone.
func abandon(inner driver.Listener) {
	if a, ok := inner.(interface{ Abandon() }); ok {
		a.Abandon()
	}
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
		case <-life.gone:
			cancel()
		case <-life.conn.Broken(): // the process may live on; this life of the Conn does not
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
			l.detach(l.lifeNow())
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
		if !l.conn.super.pause(ctx, time.Second) {
			return
		}
	}
}

func (l *Listener) done() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed || l.stopped
}

func (l *Listener) lifeNow() *connLife {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.life
}

// Poll implements driver.Listener. The end of a process is a pause.
func (l *Listener) Poll(ctx context.Context, max int) (ds []*driver.Delivery, err error) {
	err = l.eachLife(ctx, func(inner driver.Listener, life *connLife) error {
		ds, err = inner.Poll(ctx, max)
		if len(ds) > 0 {
			mark(ds, life.number)
			return nil
		}
		return err
	})
	return ds, err
}

// Receive implements driver.Receiver, in one process after the other.
func (l *Listener) Receive(ctx context.Context, max int, f func([]*driver.Delivery)) error {
	return l.eachLife(ctx, func(inner driver.Listener, life *connLife) error {
		r, ok := inner.(driver.Receiver)
		if !ok {
			return driver.Errorf(driver.ReasonUnsupported, "the listener cannot call a receiver")
		}
		return r.Receive(ctx, max, func(ds []*driver.Delivery) {
			mark(ds, life.number)
			f(ds)
		})
	})
}

// Release implements driver.Receiver.
func (l *Listener) Release(n int) {
	l.mu.Lock()
	inner := l.inner
	l.mu.Unlock()
	if r, ok := inner.(driver.Receiver); ok {
		r.Release(n)
	}
}

// eachLife calls use with the listener of the present process, and again with the next one's
// when a process ended. It returns what use returns otherwise, or why there is no next one.
func (l *Listener) eachLife(ctx context.Context, use func(driver.Listener, *connLife) error) error {
	for {
		l.mu.Lock()
		inner, life, changed, over := l.inner, l.life, l.changed, l.stopped || l.closed
		l.mu.Unlock()
		if inner != nil {
			err := use(inner, life)
			if err == nil || driver.ReasonOf(err) != driver.ReasonDriverGone {
				return err
			}
			l.detach(life)
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

// mark puts the number of a life into the tokens.
func mark(ds []*driver.Delivery, life uint64) {
	for _, d := range ds {
		if d.Token != 0 {
			d.Token = d.Token&tokenMask | life<<tokenBits
		}
	}
}

// Done implements driver.Listener. Outcomes of an earlier life are dropped: the broker gives
// those messages again.
func (l *Listener) Done(ctx context.Context, outcomes []driver.Outcome) error {
	l.mu.Lock()
	inner, life := l.inner, l.life
	l.mu.Unlock()
	if inner == nil {
		return nil
	}
	current := life.number << tokenBits
	valid := make([]driver.Outcome, 0, len(outcomes))
	for _, o := range outcomes {
		if o.Token != 0 && o.Token&^tokenMask == current {
			valid = append(valid, driver.Outcome{Token: o.Token & tokenMask, Result: o.Result})
		}
	}
	if len(valid) == 0 {
		return nil
	}
	return inner.Done(ctx, valid)
}

// Stop implements driver.Stopper.
func (l *Listener) Stop(ctx context.Context) error {
	l.mu.Lock()
	l.stopped = true
	inner := l.inner
	close(l.changed)
	l.changed = make(chan struct{})
	l.mu.Unlock()
	if s, ok := inner.(driver.Stopper); ok {
		return s.Stop(ctx)
	}
	return nil
}

// Close implements driver.Listener.
func (l *Listener) Close(ctx context.Context) error {
	l.conn.remove(l)
	l.mu.Lock()
	l.closed = true
	inner := l.inner
	l.inner = nil
	close(l.changed)
	l.changed = make(chan struct{})
	l.mu.Unlock()
	if inner == nil {
		return nil
	}
	return inner.Close(ctx)
}
