// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

func TestServerTarget(t *testing.T) {
	r := newRig(t, nil)
	for _, target := range []Target{{}, {Topic: "t"}, {Server: "s"}, {Topic: "t", Server: "s", Version: "1.0"}} {
		if err := NewRPCServer(r.Transport, target, nil).Serve(t.Context()); !errors.Is(err, ErrInvalidTarget) {
			t.Errorf("%v: %v", target, err)
		}
	}
	r.faults.onListen = func(driver.Source) error {
		return driver.Errorf(driver.ReasonAccessRefused, "not allowed").WithHint("ask for it")
	}
	s := NewRPCServer(r.Transport, computeTarget, nil)
	err := s.Serve(t.Context())
	if !errors.Is(err, ErrRefused) || err.Error() != "serve <topic=compute server=host1>: not allowed; ask for it" || isClosed(s.Ready()) {
		t.Errorf("listening refused: %v", err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown after Serve failed: %v", err)
	}
}

// counting counts what Poll is asked for and returns.
type counting struct {
	driver.Listener
	mu  sync.Mutex // guards max
	max int
}

func (c *counting) Poll(ctx context.Context, max int) ([]*driver.Delivery, error) {
	c.mu.Lock()
	c.max = max
	c.mu.Unlock()
	return c.Listener.Poll(ctx, max)
}

func (c *counting) last() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.max
}

func TestConcurrencyIsTheCredit(t *testing.T) {
	for _, limit := range []int{1, 3, 16} {
		t.Run(strconv.Itoa(limit), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var listener *counting
				r := newRig(t, nil, func(f *faults) {
					f.wrap = func(src driver.Source, l driver.Listener) driver.Listener {
						if src.Kind != driver.SourceServer {
							return l
						}
						listener = &counting{Listener: l}
						return listener
					}
				})
				var running, most atomic.Int64
				ep := NewEndpoint(nil)
				ep.HandleFunc("work", func(context.Context, map[string]any) (any, error) {
					n := running.Add(1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					time.Sleep(time.Second) // of the bubble's time
					running.Add(-1)
					return nil, nil
				})
				serve(t, r.Transport, computeTarget, &RPCServerOptions{Concurrency: limit}, ep)
				c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)
				var wg sync.WaitGroup
				const calls = 40
				began := time.Now()
				for range calls {
					wg.Go(func() {
						if err := c.Call(t.Context(), "work", nil, nil); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				synctest.Wait()
				if got := most.Load(); got != int64(limit) {
					t.Errorf("%d handlers ran at once", got)
				}
				if got, want := time.Since(began), time.Duration((calls+limit-1)/limit)*time.Second; got != want {
					t.Errorf("took %s, want %s", got, want)
				}
				if listener.last() > limit {
					t.Errorf("polled for %d", listener.last())
				}
			})
		})
	}
}

func TestBrokenServerListener(t *testing.T) {
	broken := make(chan struct{})
	r := newRig(t, nil, func(f *faults) {
		f.wrap = func(src driver.Source, l driver.Listener) driver.Listener { return &breakable{l, broken} }
	})
	s := NewRPCServer(r.Transport, computeTarget, nil)
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.Background()) }()
	wait(t, s.Ready(), "the server")
	close(broken)
	if err := wait(t, served, "Serve"); !errors.Is(err, ErrInternal) || !strings.Contains(err.Error(), "the listener broke") {
		t.Errorf("Serve: %v", err)
	}
}

// scripted is a listener that returns given batches and then waits.
type scripted struct{ batches chan []*driver.Delivery }

func (s *scripted) Poll(ctx context.Context, _ int) ([]*driver.Delivery, error) {
	select {
	case b := <-s.batches:
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (*scripted) Done(context.Context, []driver.Outcome) error { return nil }

func (*scripted) Close(context.Context) error { return nil }

func TestAdmission(t *testing.T) {
	script := &scripted{make(chan []*driver.Delivery, 1)}
	r := newRig(t, nil, func(f *faults) {
		f.wrap = func(src driver.Source, l driver.Listener) driver.Listener {
			if src.Kind != driver.SourceServer {
				return l
			}
			if err := l.Close(context.Background()); err != nil {
				t.Error(err)
			}
			return script
		}
	})
	ran := make(chan string, 16)
	ep := NewEndpoint(nil)
	ep.HandleFunc("m", func(_ context.Context, args map[string]any) (any, error) {
		ran <- fmt.Sprint(args["n"])
		return nil, nil
	})
	request := func(kind driver.Kind, id, n string, left time.Duration) *driver.Delivery {
		return &driver.Delivery{Message: driver.Message{
			Kind: kind, UniqueID: id, TimeLeft: left, Body: []byte(`{"method":"m","args":{"n":"` + n + `"}}`),
		}}
	}
	serve(t, r.Transport, computeTarget, &RPCServerOptions{Concurrency: 1}, ep)
	script.batches <- []*driver.Delivery{request(driver.Cast, "a", "first", 0)}
	script.batches <- []*driver.Delivery{
		request(driver.Cast, "a", "repeated", 0),
		request(driver.Call, "b", "expired", -1),
		request(driver.Reply, "c", "a reply", 0),
		request(driver.Notification, "d", "a notification", 0),
	}
	script.batches <- []*driver.Delivery{request(driver.Cast, "", "no id", 0)}
	script.batches <- []*driver.Delivery{request(driver.Cast, "", "no id again", 0)}
	script.batches <- []*driver.Delivery{request(driver.Call, "e", "nowhere to reply", 0)}
	for _, want := range []string{"first", "no id", "no id again", "nowhere to reply"} {
		if got := wait(t, ran, want); got != want {
			t.Errorf("ran %q, want %q", got, want)
		}
	}
	log := strings.Join(r.log.all(), "")
	for _, want := range []string{"received before", "time is over", "kind=reply", "kind=notification"} {
		if !strings.Contains(log, want) {
			t.Errorf("%q is not in the log: %s", want, log)
		}
	}
}

// Nothing that was planted as a secret is found in any log record, at any level.
func TestNoSecretsInLogs(t *testing.T) {
	const secret = "hunter2"
	r := newRig(t, nil)
	serve(t, r.Transport, computeTarget, nil, computeEndpoint())
	ctx := WithRequestContext(t.Context(), RequestContext{"auth_token": secret})
	c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)
	for _, method := range []string{"echo", "nope", "panic", "fails", "unencodable"} {
		_ = c.Call(ctx, method, map[string]any{"password": secret, "note": secret}, nil)
		_ = c.Cast(ctx, method, map[string]any{"password": secret})
	}
	if err := c.Call(ctx, "echo", nil, nil); err != nil {
		t.Error(err)
	}
	if log := strings.Join(r.log.all(), ""); strings.Contains(log, secret) {
		t.Errorf("a secret was logged:\n%s", log)
	}
}

func TestHandlerContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		work, stopWork := context.WithCancelCause(context.WithValue(t.Context(), key{}, "value"))
		defer stopWork(nil)
		in := func(d time.Duration) *handlerContext {
			c := &handlerContext{endingContext: endingContext{Context: work}}
			if d != 0 {
				c.deadline = time.Now().Add(d)
			}
			return c
		}
		ends := func(name string, c context.Context, want error) {
			t.Helper()
			<-c.Done()
			if c.Err() != want {
				t.Errorf("%s: %v, want %v", name, c.Err(), want)
			}
		}

		armed, lazy := in(time.Second), in(time.Second)
		child, cancel := context.WithTimeout(armed, time.Hour)
		defer cancel()
		after := make(chan struct{})
		defer context.AfterFunc(armed, func() { close(after) })()
		if armed.Err() != nil || lazy.Err() != nil || isClosed(armed.Done()) {
			t.Error("ended too early")
		}
		time.Sleep(time.Second)
		if lazy.Err() != context.DeadlineExceeded {
			t.Errorf("without a timer: %v", lazy.Err())
		}
		ends("armed", armed, context.DeadlineExceeded)
		ends("armed late", lazy, context.DeadlineExceeded)
		ends("child", child, context.DeadlineExceeded)
		<-after

		for _, d := range []time.Duration{0, time.Minute} {
			before, later := in(d), in(d)
			done := before.Done()
			before.end()
			later.end()
			<-done
			ends("returned", before, context.Canceled)
			ends("returned, looked at later", later, context.Canceled)
			time.Sleep(2 * time.Minute)
			ends("a second time", later, context.Canceled)
		}
		if d, ok := in(0).Deadline(); ok {
			t.Errorf("deadline %s", d)
		}

		c, c2 := in(time.Minute), in(0)
		if c.Value(key{}) != "value" || c.Value(requestContextKey{}) != nil {
			t.Error("values")
		}
		_ = c.Done()
		if c.Value(key{}) != "value" {
			t.Error("values once armed")
		}
		stopWork(ErrServerClosed)
		for _, c := range []*handlerContext{c, c2} {
			if context.Cause(c) != ErrServerClosed {
				t.Errorf("cause %v", context.Cause(c))
			}
			ends("server closed", c, context.Canceled)
		}
	})
}
