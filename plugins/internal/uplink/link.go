// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

const (
	// urgentInterval bounds the wait between attempts while somebody waits for the connection.
	// Upstream's longest wait is half a minute, which an application would feel for as long after
	// the broker is back; its own consumers cut theirs to 5 seconds by their poll timer. Calls are to
	// succeed again within as long, and the client's wait and the server's may add up.
	urgentInterval = 2 * time.Second
	// maxFirstRetry bounds the wait after a loss. It is short, and different for each of the many
	// clients that a broker loses at once.
	maxFirstRetry = 250 * time.Millisecond
	// CloseTimeout bounds the good-bye to a broker when the caller sets no bound.
	CloseTimeout = 5 * time.Second
)

// Options are those of a Link. All must be set but Welcome.
type Options[S Session] struct {
	// Name tells the links of a Conn apart in States.
	Name   string
	States *States
	Log    *slog.Logger
	Hosts  Hosts
	// Dial makes one attempt at one host. It has its own limit of time.
	Dial func(context.Context, driver.Host) (S, *driver.Error)
	// Backoff is the wait after pass n over the hosts failed, counted from zero.
	Backoff func(n int) time.Duration
	// Welcome is told of each new session before anybody is given it.
	Welcome func(S)
}

// Link keeps one connection to the broker until it is stopped.
type Link[S Session] struct {
	opts   Options[S]
	cancel context.CancelFunc
	ended  chan struct{}
	urgent chan struct{} // of capacity one: waiting was zero and is not any more, or missed is new

	mu      sync.Mutex
	current S                        // zero while there is none; guarded by mu
	blocked *driver.Error            // why the broker takes no messages, or nil; guarded by mu
	stalled map[string]*driver.Error // see Stall; guarded by mu
	cause   *driver.Error            // why there is no connection, or nil; guarded by mu
	changed chan struct{}            // closed and replaced at each change of current, blocked, cause; guarded by mu
	waiting int                      // how many wait for a connection; guarded by mu
	missed  bool                     // somebody would not wait for the connection; guarded by mu
	closeBy time.Time                // guarded by mu
}

// New returns a Link that does nothing yet.
func New[S Session](opts Options[S]) *Link[S] {
	if opts.Welcome == nil {
		opts.Welcome = func(S) {}
	}
	return &Link[S]{
		opts: opts, ended: make(chan struct{}), urgent: make(chan struct{}, 1),
		stalled: make(map[string]*driver.Error), changed: make(chan struct{}),
	}
}

// Start begins to connect. It must be called once, and Stop after it.
func (l *Link[S]) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	go func() { // ends with Stop
		defer cancel()
		l.run(ctx)
	}()
}

// Stop closes the connection by the end of ctx and waits for the goroutine. Whoever waits for a
// session, or comes later, is told that the connection is closed.
func (l *Link[S]) Stop(ctx context.Context) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(CloseTimeout)
	}
	l.mu.Lock()
	l.closeBy = deadline
	l.mu.Unlock()
	l.cancel()
	<-l.ended
}

func (l *Link[S]) run(ctx context.Context) {
	defer close(l.ended)
	var none S
	l.update(none, nil, nil)
	for l.live(ctx) && Sleep(ctx, rand.N(maxFirstRetry)) { //nolint:gosec // a wait is no secret
	}
	l.update(none, nil, Closed("connection"))
}

// live connects and stays until the connection is over. It reports whether there is to be another.
func (l *Link[S]) live(ctx context.Context) bool {
	var none S
	s, ok := l.connect(ctx)
	if !ok {
		return false
	}
	l.opts.Welcome(s)
	l.update(s, nil, nil)
	cause := s.Watch(ctx, func(why *driver.Error) { l.update(s, why, nil) })
	if ctx.Err() != nil {
		l.update(none, nil, Closed("connection"))
		s.End()
		s.Close(l.closeDeadline())
		return false
	}
	l.opts.Log.Warn("connection lost", "host", s.Peer(), "err", cause.Error())
	l.update(none, nil, cause)
	s.End() // after the update: who waits for it must not be given s again
	s.Close(time.Now().Add(CloseTimeout))
	return true
}

func (l *Link[S]) closeDeadline() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closeBy
}

// connect tries the hosts until one is connected, or ctx ends.
func (l *Link[S]) connect(ctx context.Context) (S, bool) {
	var none S
	for n := 0; ; n++ {
		s, cause := l.pass(ctx)
		if ctx.Err() != nil {
			if s != none {
				s.Close(time.Now().Add(CloseTimeout))
			}
			return none, false
		}
		if s != none {
			return s, true
		}
		l.update(none, nil, cause)
		if !l.pause(ctx, l.opts.Backoff(n)) {
			return none, false
		}
	}
}

// pass tries each host once. Of several causes it returns one that waiting can heal, if there is
// one: that is worth waiting for.
func (l *Link[S]) pass(ctx context.Context) (S, *driver.Error) {
	l.mu.Lock()
	l.missed = false
	l.mu.Unlock()
	var none S
	var cause *driver.Error
	for range l.opts.Hosts.Len() {
		s, err := l.opts.Dial(ctx, l.opts.Hosts.Next())
		if err == nil || ctx.Err() != nil {
			return s, err
		}
		if cause == nil || Permanent(cause) {
			cause = err
		}
		l.opts.Log.Debug("cannot connect", "err", err.Error())
	}
	return none, cause
}

// pause waits before the next pass: for d, or less while somebody waits and waiting can help.
func (l *Link[S]) pause(ctx context.Context, d time.Duration) bool {
	started := time.Now()
	for {
		l.mu.Lock()
		hurry := (l.waiting > 0 || l.missed) && !Permanent(l.cause)
		l.mu.Unlock()
		left := d
		if hurry {
			left = min(left, urgentInterval)
		}
		left -= time.Since(started)
		if left <= 0 {
			return true
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-l.urgent:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return false
		}
	}
}

// update reports the link's state, stores it and wakes who waits for a change: who fails for it
// finds it reported.
func (l *Link[S]) update(s S, blocked, cause *driver.Error) {
	l.mu.Lock()
	defer l.mu.Unlock() // over the report, which does not block, to keep the order
	if s != l.current {
		clear(l.stalled)
	}
	l.current, l.blocked, l.cause = s, blocked, cause
	l.reportLocked()
	close(l.changed)
	l.changed = make(chan struct{})
}

// Stall reports that a part of session s, such as an address, takes no messages, for why
// (BROKER_BLOCKED), until it is called with nil or s is over: the state is Blocked while there is
// such a part. It fails no messages: Trouble and Failing know nothing of it.
func (l *Link[S]) Stall(s S, part string, why *driver.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var none S
	if l.current != s || s == none {
		return
	}
	if why == nil {
		delete(l.stalled, part)
	} else {
		l.stalled[part] = why
	}
	l.reportLocked()
}

func (l *Link[S]) reportLocked() {
	if l.cause != nil && l.cause.Reason == driver.ReasonClosed {
		return // it is no state of a Conn that is open
	}
	l.opts.States.set(l.opts.Name, l.stateLocked())
}

func (l *Link[S]) stateLocked() driver.State {
	var none S
	blocked := l.blocked
	if blocked == nil {
		blocked = firstOf(l.stalled)
	}
	switch {
	case l.current == none && l.cause == nil:
		return driver.State{Phase: driver.Connecting}
	case l.current == none:
		return driver.State{Phase: driver.Connecting, Err: l.cause}
	case blocked != nil:
		return driver.State{Phase: driver.Blocked, Host: l.current.Peer(), Err: blocked}
	default:
		return driver.State{Phase: driver.Ready, Host: l.current.Peer()}
	}
}

// firstOf is the one with the first name, so that the same ones make the same state; nil for none.
func firstOf(causes map[string]*driver.Error) *driver.Error {
	var first string
	var cause *driver.Error
	for name, why := range causes {
		if cause == nil || name < first {
			first, cause = name, why
		}
	}
	return cause
}

// Sleep reports whether d passed before ctx ended.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
