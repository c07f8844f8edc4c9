// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// urgentInterval bounds the wait between attempts while somebody waits for the connection.
// Upstream's longest wait is half a minute, which an application would feel for as long after
// the broker is back; its own consumers cut theirs to 5 seconds by their poll timer. Calls are to
// succeed again within as long, and the client's wait and the server's may add up.
const urgentInterval = 2 * time.Second

// closeTimeout bounds the good-bye to a peer when the caller sets no bound.
const closeTimeout = 5 * time.Second

// link keeps one connection to the broker: it dials, watches and dials again until it is
// stopped. Its goroutine is started by start and ended by stop.
type link struct {
	set   *settings
	state *stateReporter

	cancel context.CancelFunc
	ended  chan struct{}

	mu      sync.Mutex
	current *session                 // nil while there is none; guarded by mu
	cause   *driver.Error            // why there is no connection, or nil; guarded by mu
	changed chan struct{}            // closed and replaced at each change of the above; guarded by mu
	waiting int                      // how many wait for a connection; guarded by mu
	missed  bool                     // somebody would not wait for the connection; guarded by mu
	urgent  chan struct{}            // of capacity one: waiting was zero and is not any more
	closeBy time.Time                // guarded by mu
	stalled map[string]*driver.Error // addresses that take no messages in the current session; guarded by mu

	mode string // how addresses were chosen last; of the goroutine
}

func newLink(set *settings) *link {
	return &link{
		set: set, state: newStateReporter(set.report), stalled: make(map[string]*driver.Error),
		ended: make(chan struct{}), changed: make(chan struct{}), urgent: make(chan struct{}, 1),
	}
}

func (l *link) start() {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	go l.run(ctx)
}

// stop closes the connection by the end of ctx and waits for the goroutine. No state is reported
// from then on.
func (l *link) stop(ctx context.Context) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(closeTimeout)
	}
	l.mu.Lock()
	l.closeBy = deadline
	l.mu.Unlock()
	l.cancel()
	<-l.ended
	l.state.end()
}

func (l *link) run(ctx context.Context) {
	defer close(l.ended)
	hosts := newHostOrder(l.set.hosts)
	l.update(nil, nil)
	for {
		s := l.connect(ctx, hosts)
		if s == nil {
			l.update(nil, closedError("connection"))
			return
		}
		l.welcome(s)
		l.update(s, nil)
		select {
		case <-ctx.Done():
			l.leaveSession(s)
			return
		case <-s.conn.Done():
		}
		cause := lostError(s.host, s.conn.Err())
		l.set.log.Warn("connection lost", "host", s.host, "err", cause.Error())
		l.update(nil, cause)
		close(s.done) // after the update: who waits for it must not be given s again
		s.close(time.Now().Add(closeTimeout))
		if !sleep(ctx, firstRetry()) {
			l.update(nil, closedError("connection"))
			return
		}
	}
}

// leaveSession closes the connection in order.
func (l *link) leaveSession(s *session) {
	l.update(nil, closedError("connection"))
	close(s.done)
	l.mu.Lock()
	deadline := l.closeBy
	l.mu.Unlock()
	s.close(deadline)
}

// welcome logs whom we are connected to, and how addresses look when that is new.
func (l *link) welcome(s *session) {
	l.set.log.Info("connected", "host", s.host, "product", foreign(s.product), "container", foreign(s.peer.ContainerID), "sessions", s.pool.limit)
	if mode := string(s.addr.Mode) + s.addr.Why; mode != l.mode {
		l.mode = mode
		l.set.log.Info("addressing chosen", "host", s.host, "mode", string(s.addr.Mode), "why", s.addr.Why)
	}
}

// connect tries the hosts until one is connected, or returns nil at the end of ctx.
func (l *link) connect(ctx context.Context, hosts *hostOrder) *session {
	for pass := 0; ; pass++ {
		var cause *driver.Error
		l.mu.Lock()
		l.missed = false
		l.mu.Unlock()
		for range hosts.hosts {
			s, err := dial(ctx, l.set, hosts.take())
			if ctx.Err() != nil {
				if s != nil {
					s.close(time.Now().Add(closeTimeout))
				}
				return nil
			}
			if err == nil {
				return s
			}
			if cause == nil || isPermanent(cause) { // one that waiting can heal is worth waiting for
				cause = err
			}
			l.set.log.Debug("cannot connect", "err", err.Error())
		}
		l.update(nil, cause)
		if !l.pause(ctx, l.set.backoff(pass)) {
			return nil
		}
	}
}

// pause waits before the next pass: for d, or less while somebody waits and waiting can help.
func (l *link) pause(ctx context.Context, d time.Duration) bool {
	started := time.Now()
	for {
		l.mu.Lock()
		hurry := (l.waiting > 0 || l.missed) && !isPermanent(l.cause)
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
func (l *link) update(s *session, cause *driver.Error) {
	l.mu.Lock()
	defer l.mu.Unlock() // over the report, which does not block, to keep the order
	clear(l.stalled)
	if cause == nil || cause.Reason != driver.ReasonClosed {
		l.state.set(stateOf(s, nil, cause))
	}
	l.current, l.cause = s, cause
	close(l.changed)
	l.changed = make(chan struct{})
}

// stateOf is the state of the Conn.
func stateOf(s *session, blocked, cause *driver.Error) driver.State {
	switch {
	case s == nil && cause == nil:
		return driver.State{Phase: driver.Connecting}
	case s == nil:
		return driver.State{Phase: driver.Connecting, Err: cause}
	case blocked != nil:
		return driver.State{Phase: driver.Blocked, Host: s.host, Err: blocked}
	default:
		return driver.State{Phase: driver.Ready, Host: s.host}
	}
}

// stall reports that address takes no messages, for why (BROKER_BLOCKED), until it is called with
// nil or s is over: the state of the Conn is Blocked while there is such an address. It fails no
// messages: trouble and failing know nothing of it.
func (l *link) stall(s *session, address string, why *driver.Error) {
	l.mu.Lock()
	defer l.mu.Unlock() // over the report, which does not block, to keep the order
	if l.current != s || s == nil {
		return
	}
	if why == nil {
		delete(l.stalled, address)
	} else {
		l.stalled[address] = why
	}
	var first string
	var blocked *driver.Error
	for name, why := range l.stalled {
		if blocked == nil || name < first {
			first, blocked = name, why
		}
	}
	l.state.set(stateOf(s, blocked, nil))
}

// trouble returns what keeps messages from being sent now, nil when nothing does, and a
// channel that is closed when that changes.
func (l *link) trouble() (*session, *driver.Error, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.current != nil:
		return l.current, nil, l.changed
	case l.cause != nil:
		return nil, l.cause, l.changed
	default:
		return nil, driver.Errorf(driver.ReasonNotConnected, "the broker is not connected yet"), l.changed
	}
}

// failing is trouble for those that wait only for the first try (SEND-10): nil while its outcome
// is open.
func (l *link) failing() (*driver.Error, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current != nil {
		return nil, l.changed
	}
	return l.cause, l.changed
}

// miss notes that a message could not wait for the connection, which is as urgent as one that
// waits.
func (l *link) miss() {
	l.mu.Lock()
	first := !l.missed
	l.missed = true
	l.mu.Unlock()
	if first {
		signal(l.urgent)
	}
}

// await returns the session, waiting for one until ctx ends. It gives up early when the cause
// is permanent, unless it is told to be patient, and when the link is stopped.
func (l *link) await(ctx context.Context, patient bool) (*session, *driver.Error) {
	l.enter()
	defer l.leave()
	for {
		l.mu.Lock()
		s, cause, changed := l.current, l.cause, l.changed
		l.mu.Unlock()
		if s != nil {
			return s, nil
		}
		if cause != nil && (cause.Reason == driver.ReasonClosed || !patient && isPermanent(cause)) {
			return nil, cause
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if cause == nil {
				cause = driver.Errorf(driver.ReasonNotConnected, "the broker is not connected yet")
			}
			return nil, cause
		}
	}
}

func (l *link) enter() {
	l.mu.Lock()
	l.waiting++
	first := l.waiting == 1
	l.mu.Unlock()
	if first {
		signal(l.urgent)
	}
}

func (l *link) leave() {
	l.mu.Lock()
	l.waiting--
	l.mu.Unlock()
}

// sleep reports whether d passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
