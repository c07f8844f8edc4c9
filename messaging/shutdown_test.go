// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// Every request that was received is answered, whenever the shutdown comes.
func TestShutdownWhileBusy(t *testing.T) {
	for _, way := range []string{"Shutdown", "context"} {
		t.Run(way, func(t *testing.T) {
			r := newRig(t, nil)
			var handled atomic.Int64
			ep := NewEndpoint(nil)
			enough := make(chan struct{})
			ep.HandleFunc("work", func(context.Context, map[string]any) (any, error) {
				if handled.Add(1) == 500 {
					close(enough)
				}
				return nil, nil
			})
			s := NewRPCServer(r.Transport, computeTarget, &RPCServerOptions{Concurrency: 8}, ep)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			served := make(chan error, 1)
			go func() { served <- s.Serve(ctx) }()
			wait(t, s.Ready(), "the server")
			c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)
			var answered, gaveUp atomic.Int64
			var wg sync.WaitGroup
			calling, stop := context.WithCancel(context.Background())
			for range 32 {
				wg.Go(func() {
					for calling.Err() == nil {
						switch err := c.Call(calling, "work", nil, nil); err {
						case nil:
							answered.Add(1)
						case context.Canceled:
							gaveUp.Add(1)
						default:
							t.Error(err)
						}
					}
				})
			}
			wait(t, enough, "enough calls")
			if way == "Shutdown" {
				if err := s.Shutdown(ctx); err != nil {
					t.Errorf("Shutdown: %v", err)
				}
			} else {
				cancel()
			}
			if err := wait(t, served, "Serve"); !errors.Is(err, ErrServerClosed) || way == "context" && !errors.Is(err, context.Canceled) {
				t.Errorf("Serve: %v", err)
			}
			// Replies are with the client's listener now; those calls return.
			eventually(t, "what was handled is answered", func() bool { return answered.Load() == handled.Load() })
			stop()
			wg.Wait()
			if handled.Load() != answered.Load() {
				t.Errorf("%d handled, %d answered, %d gave up", handled.Load(), answered.Load(), gaveUp.Load())
			}
		})
	}
}

func TestShutdownOrders(t *testing.T) {
	ctx := context.Background()
	t.Run("before Serve", func(t *testing.T) {
		r := newRig(t, nil)
		s := NewRPCServer(r.Transport, computeTarget, nil)
		for range 2 {
			if err := s.Shutdown(ctx); err != nil {
				t.Error(err)
			}
		}
		if err := s.Serve(ctx); !errors.Is(err, ErrServerClosed) || r.faults.listens.Load() != 0 {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Run("Serve twice", func(t *testing.T) {
		r := newRig(t, nil)
		s := serve(t, r.Transport, computeTarget, nil)
		if err := s.Serve(ctx); !errors.Is(err, ErrConfig) {
			t.Errorf("the second Serve: %v", err)
		}
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := s.Serve(ctx); !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve after Shutdown: %v", err)
		}
	})
	t.Run("all at once", func(t *testing.T) {
		for range 200 {
			conn := openMemory(t, newRig(t, nil).broker)
			tr := NewTransport(conn, nil)
			s := NewRPCServer(tr, computeTarget, nil, echoEndpoint())
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					if err := s.Shutdown(ctx); err != nil {
						t.Error(err)
					}
				})
				wg.Go(func() {
					if err := s.Serve(ctx); !errors.Is(err, ErrServerClosed) && !errors.Is(err, ErrConfig) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			closeTransport(t, tr)
		}
	})
	t.Run("while listening waits", func(t *testing.T) {
		r := newRig(t, nil)
		listening := make(chan struct{})
		s := NewRPCServer(r.Transport, computeTarget, nil)
		r.conn = hangingListen{r.faults, listening}
		served := make(chan error, 1)
		go func() { served <- s.Serve(ctx) }()
		wait(t, listening, "Listen")
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := wait(t, served, "Serve"); !errors.Is(err, ErrServerClosed) {
			t.Error(err)
		}
	})
}

// hangingListen is a conn whose Listen waits for a broker that never comes.
type hangingListen struct {
	*faults
	listening chan struct{}
}

func (h hangingListen) Listen(ctx context.Context, _ driver.Source) (driver.Listener, error) {
	close(h.listening)
	<-ctx.Done()
	return nil, driver.Errorf(driver.ReasonNotConnected, "the broker is away")
}

func TestShutdownLosesPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		ep := NewEndpoint(nil)
		began := make(chan struct{})
		ep.HandleFunc("wait", func(ctx context.Context, _ map[string]any) (any, error) {
			close(began)
			<-ctx.Done()
			return "stopped", context.Cause(ctx)
		})
		s := NewRPCServer(r.Transport, computeTarget, nil, ep)
		served := make(chan error, 1)
		go func() { served <- s.Serve(t.Context()) }()
		<-s.Ready()
		c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)
		called := make(chan error, 1)
		go func() { called <- c.Call(t.Context(), "wait", nil, nil) }()
		<-began
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		at := time.Now()
		if err := s.Shutdown(ctx); err != context.DeadlineExceeded || time.Since(at) != 3*time.Second {
			t.Errorf("Shutdown: %v after %s", err, time.Since(at))
		}
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
		// The handler was cancelled, and its caller is told.
		if err := <-called; err == nil || err.Error() != "github.com/parleymq/parley/messaging.sentinel: messaging: server closed" {
			t.Errorf("the call: %v", err)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown again: %v", err)
		}
	})
}

func TestHandlerThatIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		ep := NewEndpoint(nil)
		began, release := make(chan struct{}), make(chan struct{})
		ep.HandleFunc("stuck", func(context.Context, map[string]any) (any, error) { close(began); <-release; return nil, nil })
		s := NewRPCServer(r.Transport, computeTarget, &RPCServerOptions{ShutdownTimeout: time.Second}, ep)
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- s.Serve(ctx) }()
		<-s.Ready()
		c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)
		if err := c.Cast(t.Context(), "stuck", nil); err != nil {
			t.Fatal(err)
		}
		<-began
		at := time.Now()
		cancel()
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
		if took := time.Since(at); took > 10*time.Second {
			t.Errorf("Serve took %s to end", took)
		}
		if log := strings.Join(r.log.all(), ""); !strings.Contains(log, "left behind") || !strings.Contains(log, "running=1") {
			t.Errorf("not logged: %s", log)
		}
		close(release)
	})
}

// A shutdown waits for replies that are being sent again, and cuts them off in the end.
func TestShutdownFlushesReplies(t *testing.T) {
	for _, heals := range []bool{true, false} {
		t.Run(fmt.Sprintf("heals=%v", heals), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var away atomic.Bool
				away.Store(true)
				r := newRig(t, nil, func(f *faults) {
					f.onSend = func(_ context.Context, m *driver.Message) (bool, error) {
						return m.Kind == driver.Reply && away.Load(), driver.Errorf(driver.ReasonDriverGone, "x")
					}
				})
				s := serve(t, r.Transport, computeTarget, nil, echoEndpoint())
				c := NewRPCClient(r.Transport, Target{Topic: "compute"}, &RPCClientOptions{Timeout: 50 * time.Second})
				called := make(chan error, 1)
				go func() { called <- c.Call(t.Context(), "echo", nil, nil) }()
				synctest.Wait()
				if heals {
					time.AfterFunc(5*time.Second, func() { away.Store(false) })
				}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				err := s.Shutdown(ctx)
				callErr := <-called
				if heals && (err != nil || callErr != nil) {
					t.Errorf("Shutdown: %v, call: %v", err, callErr)
				}
				if !heals && (err != context.DeadlineExceeded || !errors.Is(callErr, ErrNoReply)) {
					t.Errorf("Shutdown: %v, call: %v", err, callErr)
				}
			})
		})
	}
}

// Close ends a call that waits for its first listener, at once.
func TestCloseWhileOpeningReplies(t *testing.T) {
	r := newRig(t, nil)
	listening := make(chan struct{})
	r.conn = hangingListen{r.faults, listening}
	c := NewRPCClient(r.Transport, Target{Topic: "t"}, nil)
	called := make(chan error, 1)
	go func() { called <- c.Call(context.Background(), "m", nil, nil) }()
	wait(t, listening, "Listen")
	closeTransport(t, r.Transport)
	if err := wait(t, called, "the call"); !errors.Is(err, ErrClosed) {
		t.Errorf("the call: %v", err)
	}
	if r.replies.waitingNow() != 0 {
		t.Error("the call still waits")
	}
}

// The life of a server in every order, after the locking suite of upstream's
// oslo_messaging/tests/rpc/test_server.py (TestServerLocking); the names in brackets are its
// tests. Serve is start, Shutdown is stop and wait.
func TestLifecycle(t *testing.T) {
	type server struct {
		*stage
		began   chan string
		release chan struct{}
	}
	newServer := func(t *testing.T) *server {
		s := &server{began: make(chan string, 8), release: make(chan struct{})}
		s.stage = newStage(t, nil, afterEndpoint(s.began, s.release))
		return s
	}
	shutdown := func(s *server) <-chan error {
		done := make(chan error, 1)
		go func() { done <- s.server.Shutdown(context.Background()) }()
		return done
	}
	tests := []struct {
		name string
		run  func(t *testing.T)
	}{
		{"start, stop, wait [test_start_stop_wait]", func(t *testing.T) {
			s := newServer(t)
			if err := <-shutdown(s); err != nil || !errors.Is(<-s.served, ErrServerClosed) || !s.closed {
				t.Errorf("Shutdown: %v, closed %v", err, s.closed)
			}
			s.served <- nil
		}},
		{"stop before start [test_reversed_order]", func(t *testing.T) {
			r := newRig(t, nil)
			s := NewRPCServer(r.Transport, computeTarget, nil)
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			if err := s.Serve(t.Context()); !errors.Is(err, ErrServerClosed) || r.faults.listens.Load() != 0 {
				t.Error(err)
			}
		}},
		{"many start at once, one runs [test_wait_for_running_task]", func(t *testing.T) {
			r := newRig(t, nil)
			s := NewRPCServer(r.Transport, computeTarget, nil)
			results := make(chan error, 8)
			for range cap(results) {
				go func() { results <- s.Serve(context.Background()) }()
			}
			for range cap(results) - 1 {
				if err := <-results; !errors.Is(err, ErrConfig) {
					t.Error(err)
				}
			}
			<-s.Ready()
			if err := s.Shutdown(t.Context()); err != nil || !errors.Is(<-results, ErrServerClosed) || r.faults.listens.Load() != 1 {
				t.Errorf("%v, %d listeners", err, r.faults.listens.Load())
			}
		}},
		{"start again while it runs", func(t *testing.T) {
			s := newServer(t)
			if err := s.server.Serve(t.Context()); !errors.Is(err, ErrConfig) || isClosed(s.server.done) {
				t.Error(err)
			}
		}},
		{"stop and wait twice [test_start_stop_wait_stop_wait]", func(t *testing.T) {
			s := newServer(t)
			for range 3 {
				if err := <-shutdown(s); err != nil {
					t.Error(err)
				}
			}
		}},
		{"many stop at once", func(t *testing.T) {
			s := newServer(t)
			s.deliver(callOf("a", "wait", "{}"))
			<-s.began
			all := []<-chan error{shutdown(s), shutdown(s), shutdown(s)}
			synctest.Wait()
			for _, done := range all {
				if len(done) != 0 {
					t.Error("Shutdown did not wait for the handler")
				}
			}
			close(s.release)
			for _, done := range all {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			if s.reply(t, "a") != `"done"` {
				t.Error(s.replies())
			}
		}},
		{"a second round takes a new server [test_state_wrapping]", func(t *testing.T) {
			r := newRig(t, nil)
			for range 3 {
				s := NewRPCServer(r.Transport, computeTarget, nil, echoEndpoint())
				served := make(chan error, 1)
				go func() { served <- s.Serve(context.Background()) }()
				<-s.Ready()
				if err := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil).Call(t.Context(), "echo", nil, nil); err != nil {
					t.Error(err)
				}
				if err := s.Shutdown(t.Context()); err != nil || !errors.Is(<-served, ErrServerClosed) || !errors.Is(s.Serve(t.Context()), ErrServerClosed) {
					t.Error(err)
				}
			}
		}},
		{"time runs out while waiting [test_timeout_wait]", func(t *testing.T) {
			s := newServer(t)
			s.deliver(callOf("a", "wait", "{}"))
			<-s.began
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := s.server.Shutdown(ctx); err != context.DeadlineExceeded {
				t.Error(err)
			}
			if got := s.reply(t, "a"); !strings.HasSuffix(got, "cut off: context canceled") {
				t.Errorf("replied %s", got)
			}
		}},
		{"time runs out for one of two who wait [test_timeout_running]", func(t *testing.T) {
			s := newServer(t)
			s.deliver(callOf("a", "wait", "{}"))
			<-s.began
			patient := shutdown(s)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := s.server.Shutdown(ctx); err != context.DeadlineExceeded {
				t.Error(err)
			}
			if err := <-patient; err != nil { // the handler was cancelled, so that it ended
				t.Error(err)
			}
		}},
		{"a context that has ended", func(t *testing.T) {
			s := newServer(t)
			s.deliver(callOf("a", "wait", "{}"))
			<-s.began
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := s.server.Shutdown(ctx); err != context.Canceled {
				t.Error(err)
			}
		}},
		{"from a handler, without waiting", func(t *testing.T) {
			r := newRig(t, nil)
			ep := NewEndpoint(nil)
			var s *RPCServer
			done := make(chan error, 1)
			ep.HandleFunc("quit", func(context.Context, map[string]any) (any, error) {
				go func() { done <- s.Shutdown(context.Background()) }()
				return "bye", nil
			})
			s = NewRPCServer(r.Transport, computeTarget, nil, ep)
			served := make(chan error, 1)
			go func() { served <- s.Serve(context.Background()) }()
			<-s.Ready()
			var reply string
			if err := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil).Call(t.Context(), "quit", nil, &reply); err != nil || reply != "bye" {
				t.Errorf("%q, %v", reply, err)
			}
			if err := <-done; err != nil || !errors.Is(<-served, ErrServerClosed) {
				t.Error(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { synctest.Test(t, tt.run) })
	}
}

// The steps of a shutdown: no more is taken, what was taken is handled, its replies are sent,
// and then the listener is closed.
func TestShutdownSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, release := make(chan string, 8), make(chan struct{})
		s := newStage(t, nil, afterEndpoint(began, release))
		s.deliver(callOf("a", "wait", "{}"))
		<-began
		s.mu.Lock()
		s.rest = []*driver.Delivery{callOf("b", "wait", "{}"), castOf("c", "wait", "{}")}
		s.mu.Unlock()
		done := make(chan error, 1)
		go func() { done <- s.server.Shutdown(t.Context()) }()
		synctest.Wait()
		s.mu.Lock()
		stopped, closed := s.stopped, s.closed
		s.mu.Unlock()
		if len(began) != 2 || !stopped || closed || s.server.Stats().Running != 3 {
			t.Errorf("%d began, stopped %v, closed %v", len(began), stopped, closed)
		}
		s.deliver(callOf("never", "wait", "{}"))
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := s.server.Stats(); got.Handled != 3 || got.Running != 0 || got.Received != 3 || len(s.replies()) != 2 || !s.closed {
			t.Errorf("%+v, %v", got, s.replies())
		}
	})
}
