// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// supervisor keeps one driver running: it starts a process, waits for its end, and starts the
// next one after a pause. Its one goroutine owns the processes, the breaker and the swaps.
type supervisor struct {
	host   *Host
	key    processKey
	logger *slog.Logger
	users  int // guarded by Host.mu

	cancel   context.CancelFunc
	ended    chan struct{}
	reloads  chan *reload
	lateness chan lateness  // of capacity one: the newest word on heartbeats
	retiring sync.WaitGroup // processes that were swapped out

	// For the goroutine alone.
	breaker   breaker
	backoff   backoff
	probation *probation // nil when no program is on trial
	rejected  *rejected  // nil when no program failed its trial

	mu        sync.Mutex
	current   *process           // nil while none is ready; guarded by mu
	conns     map[*Conn]struct{} // guarded by mu
	status    Running            // all but Users; guarded by mu
	lastTried fileID             // guarded by mu
	failed    bool               // the last start failed, and none is ready; guarded by mu
	changed   chan struct{}      // closed and replaced at each change; guarded by mu
}

func newSupervisor(h *Host, key processKey) *supervisor {
	o := h.opts
	return &supervisor{
		host: h, key: key, logger: o.Logger.With("driver", key.driver),
		ended: make(chan struct{}), reloads: make(chan *reload), lateness: make(chan lateness, 1),
		breaker: breaker{limit: o.BreakerFailures, window: o.BreakerWindow, stable: o.StableTime},
		backoff: backoff{min: o.BackoffMin, max: o.BackoffMax, stable: o.StableTime},
		conns:   make(map[*Conn]struct{}), changed: make(chan struct{}),
		status: Running{Driver: key.driver, Class: key.class, Phase: Starting, Since: time.Now()},
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
	defer s.enter(Stopped, "", func(st *Running) { st.PID, st.Err, st.RetryAt = 0, nil, time.Time{} })
	defer s.forgetPrograms()
	defer s.retiring.Wait()
	var asked *reload // what the next start answers
	for ctx.Err() == nil {
		p, err := s.startNext(ctx)
		s.noteStart(asked, p, err)
		asked.answer(err)
		if err == nil {
			err = s.live(ctx, p)
		}
		if ctx.Err() != nil {
			return
		}
		asked = s.pause(ctx, p, err)
	}
	asked.answer(errStopped(s.key.driver))
}

// noteStart records what became of a start that somebody asked for.
func (s *supervisor) noteStart(asked *reload, p *process, err error) {
	if asked == nil {
		return
	}
	r := ReloadResult{Time: time.Now(), Driver: s.key.driver, Class: s.key.class, OK: err == nil}
	if err == nil {
		r.To, r.Message = p.describe(), "started"
	} else {
		r.Message = err.Error()
	}
	s.host.noteReload(r)
}

func errStopped(name string) error {
	return driver.Errorf(driver.ReasonClosed, "driver %s was stopped", name)
}

// startNext starts a process.
func (s *supervisor) startNext(ctx context.Context) (*process, error) {
	began := time.Now()
	p, attached, err := s.attach(ctx)
	if !attached {
		p, err = s.startProgram(ctx)
	}
	if err != nil {
		if ctx.Err() == nil {
			s.logger.Log(ctx, s.failureLevel(), "driver did not start", "err", err.Error())
		}
		return nil, err
	}
	s.logger.Debug("driver is ready", "pid", p.pid, "after", time.Since(began))
	s.ready(p, "")
	return p, nil
}

// startProgram starts a process of a driver's file.
func (s *supervisor) startProgram(ctx context.Context) (*process, error) {
	prog, err := s.program()
	if err != nil {
		return nil, err
	}
	s.noteTried(prog.id)
	return launch(ctx, s, prog)
}

// ready makes p the process that is used.
func (s *supervisor) ready(p *process, message string) {
	s.enter(Ready, message, func(st *Running) {
		s.current, s.failed = p, false
		st.PID, st.Version, st.File = p.pid, p.peer.Info().Version, p.file
		st.Lives++
		st.Err, st.RetryAt = nil, time.Time{}
	})
}

// failureLevel is debug while the failure of a start is also the error that a caller gets.
func (s *supervisor) failureLevel() slog.Level {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status.Lives == 0 {
		return slog.LevelDebug
	}
	return slog.LevelError
}

// live serves a process, and those that take its place, until the last of them has ended. It
// returns why.
func (s *supervisor) live(ctx context.Context, p *process) error {
	trial := s.trialTimer()
	defer trial.Stop()
	for {
		select {
		case <-p.gone:
			return s.lost(p)
		case <-ctx.Done():
			s.enter(Draining, "", func(*Running) { s.current = nil })
			p.stop()
			return nil
		case r := <-s.reloads:
			q, err := s.swap(ctx, p)
			if q != nil {
				p = q
				trial.Reset(s.host.opts.ProbationTime)
			}
			r.answer(err)
		case l := <-s.lateness:
			if l.process == p {
				s.late(p, l.silence)
			}
		case <-trial.C:
			s.endProbation()
		}
	}
}

// lost clears up after a process that ended by itself.
func (s *supervisor) lost(p *process) error {
	cause := p.cause()
	s.logger.Warn("driver process ended; starting it again", "pid", p.pid, "cause", cause.Error())
	s.enter(Restarting, "", func(st *Running) {
		s.current = nil
		st.PID, st.Err = 0, cause
	})
	p.stop()
	s.takeBack(cause)
	return cause
}

// lateness is a process that does not answer its heartbeats, or does again after zero.
type lateness struct {
	process *process
	silence time.Duration
}

// noteLate leaves the newest word to the supervisor's goroutine.
func (s *supervisor) noteLate(l lateness) {
	for {
		select {
		case s.lateness <- l:
			return
		default:
		}
		select {
		case <-s.lateness:
		default:
		}
	}
}

// late shows a process that is slow to answer its heartbeats, and one that is back.
func (s *supervisor) late(p *process, silence time.Duration) {
	if silence == 0 {
		s.enter(Ready, "heartbeats are answered again", func(st *Running) { st.Err = nil })
		return
	}
	s.enter(Degraded, "", func(st *Running) {
		st.Err = driver.Errorf(driver.ReasonDriverGone, "driver %s (pid %d) has not answered its heartbeats for %s",
			s.key.driver, p.pid, silence.Round(time.Millisecond))
	})
}

// pause waits before the next start, longer when the breaker opens. It ends early for a reload,
// which it returns.
func (s *supervisor) pause(ctx context.Context, p *process, cause error) *reload {
	var lived time.Duration
	if p != nil {
		lived = time.Since(p.began)
	}
	wait := s.backoff.after(p != nil, lived)
	phase, message := Restarting, ""
	// A driver that somebody debugs may be gone for a while: it is being built.
	if s.mayReplace() == nil && s.breaker.failed(time.Now(), lived) {
		wait = s.host.opts.BreakerPause
		phase, message = Broken, fmt.Sprintf("it failed too often; the next start is tried in %s", wait)
		s.logger.Error("driver is broken and left alone for a while", "for", wait, "cause", cause.Error())
	}
	s.enter(phase, message, func(st *Running) {
		if st.Lives == 0 && phase == Restarting {
			st.Phase = Starting
		}
		s.failed = p == nil
		st.Err, st.RetryAt = cause, time.Now().Add(wait)
	})
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case r := <-s.reloads:
		s.breaker.reset()
		s.backoff.next = 0
		return r
	}
	return nil
}

// enter changes the status, and tells of it when the phase is another, or there is something to
// say. It wakes everyone who waits for a change.
func (s *supervisor) enter(phase Phase, message string, change func(*Running)) {
	now := time.Now()
	s.mu.Lock()
	before := s.status.Phase
	s.status.Phase = phase
	change(&s.status)
	if s.status.Phase != before {
		s.status.Since = now
	}
	e := Event{Running: s.status, Time: now, Message: message}
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	if e.Phase != before || message != "" || phase == Ready {
		s.host.tell(e)
	}
}

// process waits for a process that is ready, until ctx ends. A start that failed is an error at
// once.
func (s *supervisor) process(ctx context.Context) (*process, error) {
	for {
		p, changed, err := s.now()
		if p != nil || err != nil {
			return p, err
		}
		s.mu.Lock()
		failed, cause := s.failed, s.status.Err
		s.mu.Unlock()
		if failed {
			return nil, cause
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, s.notRunning(ctx, cause)
		}
	}
}

// now returns the process that is ready, or nil; and the error of everything that needs one when
// there will be none for a while. The channel is closed at the next change.
func (s *supervisor) now() (*process, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.status.Phase == Stopped:
		return nil, s.changed, errStopped(s.key.driver)
	case s.current != nil && s.current.cause() == nil: // one that is gone is about to be replaced
		return s.current, s.changed, nil
	case s.status.Phase == Broken:
		return nil, s.changed, s.brokenError(s.status)
	default:
		return nil, s.changed, nil
	}
}

func (s *supervisor) brokenError(st Running) error {
	e := driver.Errorf(driver.ReasonDriverGone, "driver %s failed too often and is left alone until %s: %w",
		s.key.driver, st.RetryAt.Format(time.TimeOnly), st.Err)
	e.Retryable = true
	hint := driver.AsError(st.Err).Hint
	if hint == "" {
		hint = "mend the driver"
	}
	return e.WithHint("%s; reload it to try at once", hint)
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
	return s.status.Err
}

// running is what Running tells. Host.mu is held.
func (s *supervisor) running() Running {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.status
	r.Users = s.users
	return r
}

// add registers a connection, so that a swap moves it; remove forgets it.
func (s *supervisor) add(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = struct{}{}
}

func (s *supervisor) remove(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}
