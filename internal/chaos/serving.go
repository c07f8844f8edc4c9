// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/parleymq/parley/messaging"
)

// serveEnd is how much later than the end of Shutdown's context Serve may return: the handlers
// get 5 seconds after they were cancelled, and so does the listener.
const serveEnd = 12 * time.Second

type args struct {
	N int `json:"n"`
	// TimeoutMS is how long the caller waits. The wire tells it too, but the slow handlers are
	// to be too late whatever the wire says.
	TimeoutMS int64 `json:"timeout_ms"`
}

// do is a call that gives its number back, note a cast.
var (
	do   = messaging.Method[args, int]{Name: "do"}
	note = messaging.Method[args, struct{}]{Name: "note"}
)

// errSlow is what a slow handler fails with that heeds its context.
var errSlow = errors.New("slow, and its context ended")

// serving is an RPCServer that serves.
type serving struct {
	name   string
	server *messaging.RPCServer
	again  bool          // what it has may be run again
	served chan struct{} // closed when Serve returned
	err    error         // of Serve; read after served
}

// serve starts two servers of a name for the topics of an end, which may be the other one: one
// for calls, at most once, and one for casts, at least once.
func (e *end) serve(topics, name string) []*serving {
	calls, casts := messaging.NewEndpoint(nil), messaging.NewEndpoint(nil)
	do.Handle(calls, func(ctx context.Context, a args) (int, error) { return e.answer(ctx, a, name) })
	note.Handle(casts, func(ctx context.Context, a args) (struct{}, error) { return struct{}{}, e.take(ctx, a, name) })
	return []*serving{
		e.start(messaging.Target{Topic: callTopic(topics), Server: name}, messaging.AckBeforeDispatch, calls),
		e.start(messaging.Target{Topic: castTopic(topics), Server: name}, messaging.AckAfterHandler, casts),
	}
}

func (e *end) start(t messaging.Target, ack messaging.AckPolicy, ep *messaging.Endpoint) *serving {
	s := &serving{name: t.Topic + "." + t.Server + " at " + e.name, again: ack == messaging.AckAfterHandler, served: make(chan struct{})}
	s.server = messaging.NewRPCServer(e.servers, t, &messaging.RPCServerOptions{Concurrency: concurrency, Ack: ack}, ep)
	go func() {
		defer close(s.served)
		s.err = s.server.Serve(context.Background())
	}()
	return s
}

// answer is the handler of calls.
func (e *end) answer(ctx context.Context, a args, server string) (int, error) {
	id := e.ledger.run(ctx, a.N, e.name+"/"+server)
	if e.sabotage.twice.take() {
		e.ledger.run(ctx, a.N, "sabotage")
	}
	if err := e.slow.wait(ctx, a); err != nil {
		return 0, err
	}
	e.ledger.done(id)
	return a.N, nil
}

// take is the handler of casts.
func (e *end) take(ctx context.Context, a args, server string) error {
	if e.sabotage.drop.take() {
		return nil
	}
	id := e.ledger.run(ctx, a.N, e.name+"/"+server)
	if err := e.slow.wait(ctx, a); err != nil {
		return err
	}
	e.ledger.done(id)
	return nil
}

// ready waits until the server receives.
func (s *serving) ready(ctx context.Context) error {
	select {
	case <-s.server.Ready():
		return nil
	case <-s.served:
		return fmt.Errorf("server %s: %w", s.name, s.err)
	case <-ctx.Done():
		return fmt.Errorf("server %s is not ready: %w", s.name, context.Cause(ctx))
	}
}

// stop shuts the server down. An end of ctx cuts its handlers off and is no error; a server that
// does not end after it is one.
func (s *serving) stop(ctx context.Context) error {
	err := s.server.Shutdown(ctx)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("shut down server %s: %w", s.name, err)
	}
	late := time.NewTimer(serveEnd)
	defer late.Stop()
	select {
	case <-s.served:
	case <-late.C:
		return fmt.Errorf("server %s still serves %v after its shutdown: %w", s.name, serveEnd, errHung)
	}
	if !errors.Is(s.err, messaging.ErrServerClosed) {
		return fmt.Errorf("server %s ended with %w", s.name, s.err)
	}
	return nil
}

// slowness makes the next handlers of an end slow.
type slowness struct {
	mu   sync.Mutex
	left int           // guarded by mu
	more time.Duration // than the caller's time; guarded by mu
	deaf bool          // to the end of the context; guarded by mu
}

// set makes the next n handlers slow.
func (s *slowness) set(n int, more time.Duration, deaf bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left, s.more, s.deaf = n, more, deaf
}

// wait keeps a handler, when it is one of those.
func (s *slowness) wait(ctx context.Context, a args) error {
	s.mu.Lock()
	slow, more, deaf := s.left > 0, s.more, s.deaf
	if slow {
		s.left--
	}
	s.mu.Unlock()
	if !slow {
		return nil
	}
	timer := time.NewTimer(time.Duration(a.TimeoutMS)*time.Millisecond + more)
	defer timer.Stop()
	if deaf {
		<-timer.C
		return nil
	}
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errSlow, ctx.Err())
	}
}
