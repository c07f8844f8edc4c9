// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// readyBackoffMax bounds the wait after a process that was ready. Its program works, and calls
// wait for the next one: the long waits are for programs that do not start.
const readyBackoffMax = 2 * time.Second

// supervisor keeps one driver running: it starts a process, waits for its end, and starts the
// next one after a pause. Its one goroutine owns the processes.
type supervisor struct {
	host   *Host
	key    processKey
	logger *slog.Logger
	users  int // guarded by Host.mu

	cancel context.CancelFunc
	ended  chan struct{}

	mu       sync.Mutex
	current  *process      // nil while none is ready; guarded by mu
	lives    int           // how many processes were ready so far; guarded by mu
	failures int           // starts that failed since the last success; guarded by mu
	lastErr  error         // why there is no process; guarded by mu
	stopped  bool          // guarded by mu
	changed  chan struct{} // closed and replaced at each change; guarded by mu
}

func newSupervisor(h *Host, key processKey) *supervisor {
	return &supervisor{
		host: h, key: key, logger: h.opts.Logger.With("driver", key.driver),
		ended: make(chan struct{}), changed: make(chan struct{}),
	}
}

func (s *supervisor) start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go s.run(ctx)
}

// stop ends the process and waits until nothing of it is left.
func (s *supervisor) stop() {
	s.cancel()
	<-s.ended
}

// run is the supervisor's goroutine.
func (s *supervisor) run(ctx context.Context) {
	defer close(s.ended)
	defer s.set(func() { s.current, s.stopped = nil, true })
	backoff := s.host.opts.BackoffMin
	for ctx.Err() == nil {
		started, limit := time.Now(), s.host.opts.BackoffMax
		p, err := launch(ctx, s.host, s.key.driver, s.logger)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			s.logger.Log(ctx, s.failureLevel(), "driver did not start", "err", err.Error())
			s.set(func() { s.lastErr, s.failures = err, s.failures+1 })
		} else {
			s.set(func() { s.current, s.failures, s.lastErr = p, 0, nil; s.lives++ })
			s.live(ctx, p)
			if ctx.Err() != nil {
				return
			}
			limit = min(limit, readyBackoffMax)
		}
		if time.Since(started) > s.host.opts.StableTime {
			backoff = s.host.opts.BackoffMin
		}
		backoff = min(backoff, limit)
		if !s.pause(ctx, backoff) {
			return
		}
		backoff *= 2
	}
}

// failureLevel is debug while the failure of a start is also the error that a caller gets.
func (s *supervisor) failureLevel() slog.Level {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lives == 0 {
		return slog.LevelDebug
	}
	return slog.LevelError
}

// live waits for the end of a process, or of the supervisor, and clears up after it.
func (s *supervisor) live(ctx context.Context, p *process) {
	select {
	case <-p.gone:
		s.logger.Warn("driver process ended; starting it again", "pid", p.pid, "cause", p.cause().Error())
		s.set(func() { s.current, s.lastErr = nil, p.cause() })
	case <-ctx.Done():
		s.set(func() { s.current = nil })
	}
	p.stop()
}

// pause waits before the next start. Jitter keeps applications that share a broken binary
// from starting it in step.
func (s *supervisor) pause(ctx context.Context, d time.Duration) bool {
	d = d/2 + rand.N(d/2+1) //nolint:gosec // jitter needs no secrecy
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// set changes the state and wakes everyone who waits for it.
func (s *supervisor) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

// process waits for a process that is ready. With failFast a start that failed is an error at
// once; without, the next start is waited for until ctx ends.
func (s *supervisor) process(ctx context.Context, failFast bool) (*process, error) {
	for {
		s.mu.Lock()
		p, changed, stopped, lastErr := s.current, s.changed, s.stopped, s.lastErr
		failed := failFast && s.failures > 0
		s.mu.Unlock()
		switch {
		case stopped:
			return nil, driver.Errorf(driver.ReasonClosed, "driver %s was stopped", s.key.driver)
		case p != nil && p.cause() == nil: // one that is gone is about to be replaced
			return p, nil
		case failed:
			return nil, lastErr
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, s.notRunning(ctx, lastErr)
		}
	}
}

// notRunning says why there is no process by the end of ctx.
func (s *supervisor) notRunning(ctx context.Context, lastErr error) error {
	e := driver.Errorf(driver.ReasonDriverGone, "driver %s is not running", s.key.driver)
	if lastErr != nil {
		e.Message += ": " + lastErr.Error()
	} else {
		e.Message += ": it was still being started when the time was up"
		e.Hint = "allow more time, or see with parley doctor whether the driver hangs"
	}
	e.Err = errors.Join(ctx.Err(), lastErr)
	return e
}

// cause is why there is no process now, or nil.
func (s *supervisor) cause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastErr
}

// status is what Running tells.
func (s *supervisor) status() Running {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := Running{Driver: s.key.driver, Lives: s.lives, Err: s.lastErr}
	if s.current != nil {
		r.PID = s.current.pid
	}
	return r
}
