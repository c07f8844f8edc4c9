// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// The cases of TestServerLocking in oslo_messaging/tests/rpc/test_server.py, as far as they make
// sense where Serve blocks and Shutdown is the one way to end it. The names are upstream's.

// served runs Serve and tells what it returns.
func served(s *messaging.RPCServer) <-chan error {
	result := make(chan error, 1)
	go func() { result <- s.Serve(context.Background()) }()
	return result
}

func wantServe(t *testing.T, result <-chan error, want error) {
	t.Helper()
	select {
	case err := <-result:
		if !errors.Is(err, want) {
			t.Errorf("Serve returned %v, want %v", err, want)
		}
	case <-soon(t).Done():
		t.Error("Serve does not return")
	}
}

func shutDown(t *testing.T, s *messaging.RPCServer) {
	t.Helper()
	if err := s.Shutdown(soon(t)); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestServerLifecycle(t *testing.T) {
	target := messaging.Target{Topic: "life", Server: "server"}
	for _, tc := range []struct {
		name string
		test func(t *testing.T, tr *messaging.Transport, s *messaging.RPCServer)
	}{
		{"test_start_stop_wait", func(t *testing.T, _ *messaging.Transport, s *messaging.RPCServer) {
			result := served(s)
			<-s.Ready()
			shutDown(t, s)
			wantServe(t, result, messaging.ErrServerClosed)
		}},
		{"test_reversed_order", func(t *testing.T, _ *messaging.Transport, s *messaging.RPCServer) {
			shutDown(t, s)
			wantServe(t, served(s), messaging.ErrServerClosed)
		}},
		{"test_wait_for_running_task", func(t *testing.T, _ *messaging.Transport, s *messaging.RPCServer) {
			first := served(s)
			<-s.Ready()
			wantServe(t, served(s), messaging.ErrConfig) // it serves already
			var both sync.WaitGroup
			both.Go(func() { shutDown(t, s) })
			both.Go(func() { shutDown(t, s) })
			both.Wait()
			wantServe(t, first, messaging.ErrServerClosed)
		}},
		{"test_start_stop_wait_stop_wait", func(t *testing.T, _ *messaging.Transport, s *messaging.RPCServer) {
			result := served(s)
			<-s.Ready()
			shutDown(t, s)
			shutDown(t, s)
			wantServe(t, result, messaging.ErrServerClosed)
		}},
		{"test_state_wrapping", func(t *testing.T, tr *messaging.Transport, s *messaging.RPCServer) {
			result := served(s)
			<-s.Ready()
			shutDown(t, s)
			wantServe(t, result, messaging.ErrServerClosed)
			wantServe(t, served(s), messaging.ErrServerClosed) // it serves once
			again := messaging.NewRPCServer(tr, target, nil, (&pings{}).endpoint())
			testbed.Serve(t, again)
			if err := client(tr, target).Call(soon(t), "alive", nil, nil); err != nil {
				t.Errorf("the next server of the target: %v", err)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			onWires(t, func(t *testing.T, w *world) {
				tr := w.open(t, messaging.Options{})
				tc.test(t, tr, messaging.NewRPCServer(tr, target, nil, (&pings{}).endpoint()))
			})
		})
	}
}

// TestShutdownTimesOut is test_timeout_wait and test_timeout_running: a Shutdown whose time runs
// out while a handler runs returns, and the handler is told.
func TestShutdownTimesOut(t *testing.T) {
	onWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		ep := messaging.NewEndpoint(nil)
		running := make(chan struct{})
		ep.HandleFunc("run", func(ctx context.Context, _ map[string]any) (any, error) {
			close(running)
			<-ctx.Done()
			return "told", nil
		})
		target := messaging.Target{Topic: "life", Server: "server"}
		s := messaging.NewRPCServer(tr, target, nil, ep)
		result := served(s)
		<-s.Ready()
		type answer struct {
			text string
			err  error
		}
		answered := make(chan answer, 1)
		go func() {
			var a answer
			a.err = client(tr, target).Call(soon(t), "run", nil, &a.text)
			answered <- a
		}()
		<-running
		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := s.Shutdown(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		if a := <-answered; a.err != nil || a.text != "told" {
			t.Errorf("the request that was running: %q, %v", a.text, a.err)
		}
		wantServe(t, result, messaging.ErrServerClosed)
	})
}
