// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"sync"
)

// lifecycle is what servers and listeners have in common: they serve once, until they are told to
// stop.
type lifecycle struct {
	t    *Transport
	noun string // what it is, for errors: "server"

	ready    chan struct{} // closed once messages are received
	stopping chan struct{} // closed by the first Shutdown
	done     chan struct{} // closed when Serve ended, or never will begin
	cancel   chan struct{} // closed when a Shutdown gives up waiting for handlers

	mu    sync.Mutex // guards the rest
	state serverState
	// shut and cancelled say that stopping and cancel are closed.
	shut, cancelled bool
}

type serverState uint8

const (
	serverNew serverState = iota
	serverServing
	serverStopped
)

func newLifecycle(t *Transport, noun string) *lifecycle {
	return &lifecycle{
		t: t, noun: noun, ready: make(chan struct{}), stopping: make(chan struct{}), done: make(chan struct{}), cancel: make(chan struct{}),
	}
}

// serve runs check and then receive, whose ctx ends when it is time to stop.
func (s *lifecycle) serve(ctx context.Context, op operation, check func(operation) error, receive func(polling context.Context) error) error {
	if err := s.begin(op); err != nil {
		return err
	}
	defer s.end()
	if err := check(op); err != nil {
		return err
	}
	if err := s.t.enter(op); err != nil {
		return err
	}
	defer s.t.leave()

	polling, stopPolling := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		s.watch(polling, stopPolling)
	}()
	defer func() { stopPolling(); <-watched }()
	return s.whyStopped(ctx, op, receive(polling))
}

// begin makes sure that it serves once.
func (s *lifecycle) begin(op operation) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state == serverServing:
		return op.errorf(CodeConfig, nil, "the %s serves already; make another", s.noun)
	case s.state == serverStopped || s.shut:
		return op.errorf(CodeServerClosed, nil, "the %s was shut down", s.noun)
	}
	s.state = serverServing
	return nil
}

func (s *lifecycle) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = serverStopped
	close(s.done)
}

// watch ends polling when it or its transport is told to stop.
func (s *lifecycle) watch(polling context.Context, stop context.CancelFunc) {
	select {
	case <-s.stopping:
	case <-s.t.closing:
	case <-polling.Done():
	}
	stop()
}

// whyStopped returns the error of Serve. err is what listening or polling failed with.
func (s *lifecycle) whyStopped(ctx context.Context, op operation, err error) error {
	switch {
	case isClosed(s.stopping):
		return op.errorf(CodeServerClosed, nil, "the %s was shut down", s.noun)
	case isClosed(s.t.closing):
		return errClosed(op)
	case err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded):
		return op.wrap(err)
	case ctx.Err() != nil:
		return op.errorf(CodeServerClosed, ctx.Err(), "the context of Serve ended")
	default:
		return op.errorf(CodeInternal, err, "the listener ended: %v", err)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// shutdown is Shutdown.
func (s *lifecycle) shutdown(ctx context.Context) error {
	s.startShutdown()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		s.cancelHandlers()
		return ctx.Err()
	}
}

// startShutdown starts the shutdown, once.
func (s *lifecycle) startShutdown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut {
		return
	}
	s.shut = true
	close(s.stopping)
	if s.state == serverNew {
		s.state = serverStopped
		close(s.done)
	}
}

func (s *lifecycle) cancelHandlers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.cancelled {
		s.cancelled = true
		close(s.cancel)
	}
}
