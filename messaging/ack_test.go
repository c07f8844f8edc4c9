// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

func TestAckPolicyIsTheSource(t *testing.T) {
	for policy, want := range map[AckPolicy]driver.Settle{AckBeforeDispatch: driver.SettleOnPoll, AckAfterHandler: driver.SettleOnDone} {
		s := newStage(t, &RPCServerOptions{Ack: policy})
		if s.source.Settle != want {
			t.Errorf("%d: %d", policy, s.source.Settle)
		}
	}
	r := newRig(t, nil, func(f *faults) { f.info.Capabilities = []driver.Capability{driver.CapRPC} })
	err := NewRPCServer(r.Transport, computeTarget, &RPCServerOptions{Ack: AckAfterHandler}).Serve(t.Context())
	if !errors.Is(err, ErrUnsupported) || r.faults.listens.Load() != 0 {
		t.Errorf("a driver that cannot requeue: %v", err)
	}
}

func TestAckBeforeDispatchSettlesNothing(t *testing.T) {
	s := newStage(t, nil, echoEndpoint())
	s.deliver(withToken(callOf("a", "echo", "{}"), 1))
	s.reply(t, "a")
	if err := s.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if got := s.settled(); got != "" {
		t.Errorf("settled %s", got)
	}
}

// afterEndpoint has what the tests of AckAfterHandler need.
func afterEndpoint(began chan<- string, release <-chan struct{}) *Endpoint {
	ep := computeEndpoint()
	ep.HandleFunc("wait", func(ctx context.Context, args map[string]any) (any, error) {
		began <- fmt.Sprint(args["n"])
		select {
		case <-release:
			return "done", nil
		case <-ctx.Done():
			return nil, fmt.Errorf("cut off: %w", ctx.Err())
		}
	})
	ep.HandleFunc("stuck", func(context.Context, map[string]any) (any, error) {
		began <- "stuck"
		<-release
		return "done", nil
	})
	return ep
}

// What is settled, and how, when nothing is cut off.
func TestAckAfterHandler(t *testing.T) {
	var refuse atomic.Pointer[driver.Error]
	s := newStageOf(t, nil, func(*driver.Message) error {
		if err := refuse.Load(); err != nil {
			return err
		}
		return nil
	}, &RPCServerOptions{Ack: AckAfterHandler}, afterEndpoint(nil, nil))
	tests := []struct {
		name string
		d    *driver.Delivery
		want string
	}{
		{"a call", callOf("a", "echo", "{}"), "accepted"},
		{"a cast", castOf("b", "echo", "{}"), "accepted"},
		{"without an id", castOf("", "echo", "{}"), "accepted"},
		{"a failure is an answer", callOf("c", "fails", "{}"), "accepted"},
		{"so is a panic", callOf("d", "panic", "{}"), "accepted"},
		{"and a refusal", callOf("e", "nope", "{}"), "accepted"},
		{"a cast that fails", castOf("f", "fails", "{}"), "accepted"},
		{"not understood and answered", callOf("g", "echo", "[]"), "accepted"},
		{"not understood", castOf("h", "echo", "[]"), "rejected"},
		{"not a request", &driver.Delivery{Message: driver.Message{Kind: driver.Reply}}, "rejected"},
		{"too late", wanted(callOf("i", "echo", "{}"), -1), "accepted"},
		{"a duplicate that is answered again", callOf("a", "echo", "{}"), "accepted"},
		{"a duplicate of a cast", castOf("b", "echo", "{}"), "accepted"},
	}
	for i, tt := range tests {
		token := uint64(i + 1)
		s.deliver(withToken(tt.d, token))
		want := fmt.Sprintf("%d %s", token, tt.want)
		eventually(t, tt.name+": "+want, func() bool { return strings.Contains(", "+s.settled()+",", ", "+want+",") })
	}
	refuse.Store(driver.Errorf(driver.ReasonMessageTooLarge, "no"))
	s.deliver(withToken(callOf("j", "echo", "{}"), 100))
	eventually(t, "a reply that is given up", func() bool { return strings.Contains(s.settled(), "100 accepted") })
	if got := s.server.Stats(); got.RepliesLost != 1 || got.Received != 14 || got.Duplicates != 2 || got.Expired != 1 || got.Returned != 0 {
		t.Errorf("%+v", got)
	}
}

// The token is settled with the reply, and those of duplicates with the first.
func TestAckAfterReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, release := make(chan string, 4), make(chan struct{})
		var away atomic.Bool
		away.Store(true)
		s := newStageOf(t, nil, func(*driver.Message) error {
			if away.Load() {
				return driver.Errorf(driver.ReasonDriverGone, "away")
			}
			return nil
		}, &RPCServerOptions{Ack: AckAfterHandler}, afterEndpoint(began, release))
		s.deliver(withToken(callOf("a", "wait", "{}"), 1))
		<-began
		s.deliver(withToken(callOf("a", "wait", "{}"), 2))
		synctest.Wait()
		close(release)
		time.Sleep(time.Second)
		s.deliver(withToken(callOf("a", "wait", "{}"), 3)) // while its reply is on its way
		synctest.Wait()
		if got := s.settled(); got != "" {
			t.Errorf("settled %s too early", got)
		}
		away.Store(false)
		s.reply(t, "a")
		synctest.Wait()
		if got := s.settled(); got != "1 accepted, 2 accepted, 3 accepted" || len(s.replies()) != 1 {
			t.Errorf("settled %s, replied %v", got, s.replies())
		}
	})
}

func TestAckAfterShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, release := make(chan string, 4), make(chan struct{})
		s := newStage(t, &RPCServerOptions{Ack: AckAfterHandler, OrderBy: byKey}, afterEndpoint(began, release))
		s.deliver(withToken(callOf("a", "wait", `{"key":"k"}`), 1))
		<-began
		s.deliver(withToken(callOf("b", "wait", `{"key":"k"}`), 2))
		s.deliver(withToken(callOf("b", "wait", `{"key":"k"}`), 3)) // a duplicate of what waits
		s.mu.Lock()
		s.rest = []*driver.Delivery{withToken(callOf("c", "wait", "{}"), 4)}
		s.mu.Unlock()
		synctest.Wait()
		time.AfterFunc(time.Second, func() { close(release) })
		if err := s.server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if got := s.settled(); got != "1 accepted, 2 requeued, 3 requeued, 4 requeued" {
			t.Errorf("settled %s", got)
		}
		if got := s.server.Stats(); got.Returned != 2 || got.Handled != 1 || got.Received != 4 || got.Running != 0 {
			t.Errorf("%+v", got)
		}
	})
}

func TestAckAfterForcedShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, release := make(chan string, 4), make(chan struct{})
		s := newStageOf(t, nil, func(m *driver.Message) error {
			if m.CallID == "unsent" {
				return driver.Errorf(driver.ReasonDriverGone, "away")
			}
			return nil
		}, &RPCServerOptions{Ack: AckAfterHandler}, afterEndpoint(began, release))
		s.deliver(withToken(callOf("a", "wait", "{}"), 1))
		s.deliver(withToken(castOf("b", "wait", "{}"), 2))
		s.deliver(withToken(castOf("c", "stuck", "{}"), 3))
		s.deliver(withToken(callOf("unsent", "echo", "{}"), 4))
		for range 3 {
			<-began
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.server.Shutdown(ctx); err != context.DeadlineExceeded {
			t.Error(err)
		}
		s.served <- <-s.served
		if got := s.settled(); got != "1 requeued, 2 requeued, 3 requeued, 4 requeued" {
			t.Errorf("settled %s", got)
		}
		if len(s.replies()) != 0 {
			t.Errorf("replied %v", s.replies())
		}
		close(release) // what was left behind harms nobody
		synctest.Wait()
		if got := s.settled(); strings.Contains(got, "after Close") {
			t.Errorf("settled %s", got)
		}
	})
}

// With a broker: what a server gave back, another server handles.
func TestAckAfterHandsOver(t *testing.T) {
	r := newRig(t, nil)
	began, release := make(chan string, 4), make(chan struct{})
	first := NewRPCServer(r.Transport, computeTarget, &RPCServerOptions{Ack: AckAfterHandler}, afterEndpoint(began, nil))
	served := make(chan error, 1)
	go func() { served <- first.Serve(context.Background()) }()
	wait(t, first.Ready(), "the first server")
	called := make(chan error, 1)
	var reply string
	go func() {
		called <- NewRPCClient(r.Transport, Target{Topic: "compute"}, nil).Call(context.Background(), "wait", nil, &reply)
	}()
	wait(t, began, "the handler")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := first.Shutdown(ctx); err != context.Canceled {
		t.Error(err)
	}
	wait(t, served, "the first server's end") //nolint:errcheck // how Serve ends is another test
	close(release)
	redelivered := make(chan bool, 1)
	look := func(next ServerHandler) ServerHandler {
		return func(ctx context.Context, r *ServerRequest) (any, error) {
			redelivered <- r.Redelivered
			return next(ctx, r)
		}
	}
	serve(t, r.Transport, Target{Topic: "compute", Server: "host2"}, &RPCServerOptions{Middleware: []ServerMiddleware{look}}, afterEndpoint(began, release))
	if err := wait(t, called, "the call"); err != nil || reply != "done" || !<-redelivered {
		t.Errorf("%q, %v", reply, err)
	}
}
