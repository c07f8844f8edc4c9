// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"
)

// server is the process of a broker or another peer that tests stop, kill, restart and pause. A
// peer embeds it, sets what is below before the first start, and has its methods:
//
//	r := &Redis{}
//	r.server = server{name: "redis-server", startTimeout: ..., stopTimeout: ..., launch: r.launch, remove: r.remove}
//	if err := r.start(ctx); err != nil {
//		return nil, errors.Join(err, r.Close())
//	}
//
// What a peer keeps over restarts, its ports and its data, is its own. All methods may be called
// at the same time; one start or stop goes on at a time.
type server struct {
	name string // of the program
	// startTimeout bounds one start, stopTimeout a clean stop; it is killed after it.
	startTimeout, stopTimeout time.Duration
	// launch starts the process and returns when it takes connections. When it fails it leaves no
	// process.
	launch func(context.Context) (*process, error)
	// ended, when not nil, is called after each end of the process, and after a launch that
	// failed: it waits for the helpers of the process.
	ended func()
	// remove, when not nil, is called once at the end, when nothing runs any more.
	remove func() error
	// foreign, when not nil, says that the process belongs to somebody else: it is the error of
	// everything that would disturb them.
	foreign error

	mu      sync.Mutex // one start or stop at a time; guards what is below
	process *process   // nil when it is down
	closed  bool
}

// start starts it.
func (s *server) start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.startLocked(ctx)
}

// startLocked is start. The caller holds mu.
func (s *server) startLocked(ctx context.Context) error {
	if s.closed {
		return fmt.Errorf("start %s: it was closed", s.name)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.startTimeout, fmt.Errorf("no start within %v", s.startTimeout))
	defer cancel()
	p, err := s.launch(ctx)
	if err != nil {
		s.helpersEnd()
		return err
	}
	s.process = p
	return nil
}

func (s *server) helpersEnd() {
	if s.ended != nil {
		s.ended()
	}
}

// PID is the id of its process, 0 while it is down or when somebody else started it.
func (s *server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return 0
	}
	return s.process.pid()
}

// Stop ends it cleanly, in bounded time. It can be started again with Restart.
func (s *server) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.downLocked(func(p *process) error { return s.stop(ctx, p) })
}

func (s *server) stop(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.stopTimeout, fmt.Errorf("no stop within %v", s.stopTimeout))
	defer cancel()
	// A paused one could not handle the request.
	_ = p.signal(syscall.SIGCONT)
	return p.stop(ctx, syscall.SIGTERM)
}

// Kill ends it as a crash would.
func (s *server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.downLocked(killed)
}

func killed(p *process) error {
	p.kill()
	return nil
}

// downLocked ends the process with end and waits for its helpers. The caller holds mu.
func (s *server) downLocked(end func(*process) error) error {
	if s.foreign != nil {
		return s.foreign
	}
	if s.process == nil {
		return nil
	}
	err := end(s.process)
	s.process = nil
	s.helpersEnd()
	return err
}

// Restart starts one that is down, or stops and starts a running one.
func (s *server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.downLocked(func(p *process) error { return s.stop(ctx, p) }); err != nil {
		return err
	}
	return s.startLocked(ctx)
}

// Pause stops it from running without closing its connections, as a machine that hangs does.
func (s *server) Pause() error { return s.signal(syscall.SIGSTOP) }

// Resume lets a paused one go on.
func (s *server) Resume() error { return s.signal(syscall.SIGCONT) }

func (s *server) signal(sig syscall.Signal) error {
	if s.foreign != nil {
		return s.foreign
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return fmt.Errorf("send %v to %s: it is down", sig, s.name)
	}
	return s.process.signal(sig)
}

// Output is the end of what it printed since its last start.
func (s *server) Output() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return ""
	}
	return s.process.output.String()
}

// Close ends it and removes everything it left. Since nothing of it is kept, it does not wait for
// a clean stop. It does nothing to one that somebody else started.
func (s *server) Close() error {
	if s.foreign != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.downLocked(killed)
	if s.closed {
		return err
	}
	s.closed = true
	if s.remove != nil {
		err = errors.Join(err, s.remove())
	}
	return err
}

// closeAfter closes what was started for a test at the end of it.
func closeAfter[P interface{ Close() error }](tb testing.TB, peer P, err error) P {
	tb.Helper()
	require(tb, err)
	tb.Cleanup(func() {
		if err := peer.Close(); err != nil {
			tb.Error(err)
		}
	})
	return peer
}
