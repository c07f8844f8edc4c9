// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

func TestEndpointSelection(t *testing.T) {
	answer := func(s string) func(context.Context, map[string]any) (any, error) {
		return func(context.Context, map[string]any) (any, error) { return s, nil }
	}
	v1 := NewEndpoint(&EndpointOptions{Version: "1.2", LegacyNamespaces: []string{"old"}})
	v1.HandleFunc("both", answer("v1"))
	v2 := NewEndpoint(&EndpointOptions{Version: "2.0"})
	v2.HandleFunc("both", answer("v2"))
	second := NewEndpoint(&EndpointOptions{Version: "1.5"})
	second.HandleFunc("both", answer("second"))
	second.HandleFunc("only", answer("second"))
	named := NewEndpoint(&EndpointOptions{Namespace: "named", LegacyNamespaces: []string{""}})
	named.HandleFunc("named", answer("named"))
	named.HandleOthers(func(_ context.Context, method string, args json.RawMessage) (any, error) {
		return method + string(args), nil
	})
	d := dispatcher{endpoints: []*Endpoint{v1, v2, second, named}}
	tests := []struct {
		r    request
		want string
	}{
		{request{method: "both"}, "v1"},
		{request{method: "both", version: "1.2"}, "v1"},
		{request{method: "both", version: "1.3"}, "second"},
		{request{method: "both", version: "2.0"}, "v2"},
		{request{method: "only", version: "1.0"}, "second"},
		{request{method: "both", namespace: "old"}, "v1"},
		{request{method: "named", namespace: "named"}, "named"},
		{request{method: "named"}, "named"},
		{request{method: "other", args: []byte("{}")}, "other{}"},
		{request{method: "_other"}, "!NoSuchMethod"},
		{request{method: "only", version: "2.0"}, "!NoSuchMethod"},
		{request{method: "both", version: "1.6"}, "!UnsupportedVersion"},
		{request{method: "both", version: "3.0"}, "!UnsupportedVersion"},
		{request{method: "both", version: "x"}, "!UnsupportedVersion"},
		{request{method: "both", namespace: "other"}, "!UnsupportedVersion"},
	}
	for _, tt := range tests {
		h, err := d.find(tt.r)
		if err != nil {
			if got := "!" + err.(*RemoteError).Class; got != tt.want {
				t.Errorf("%+v: %s, want %s", tt.r, got, tt.want)
			}
			continue
		}
		if len(tt.r.args) == 0 {
			tt.r.args = []byte("{}")
		}
		if got, err := d.run(t.Context(), h, tt.r.args); err != nil || got != tt.want {
			t.Errorf("%+v: %v %v, want %s", tt.r, got, err, tt.want)
		}
	}
	if h, err := (&dispatcher{}).find(request{method: "m"}); h != nil || !errors.Is(err, ErrUnsupportedVersion) {
		t.Errorf("no endpoints: %v", err)
	}
}

func TestRegistration(t *testing.T) {
	fn := func(context.Context, map[string]any) (any, error) { return nil, nil }
	typed := func(context.Context, startArgs) (startReply, error) { return startReply{}, nil }
	ep := NewEndpoint(&EndpointOptions{Version: "1.3"})
	ep.HandleFunc("taken", fn)
	bad := map[string]func() error{
		"no name":         func() error { return ep.TryHandleFunc("", fn) },
		"underscore":      func() error { return ep.TryHandleFunc("_private", fn) },
		"control":         func() error { return ep.TryHandleFunc("a\nb", fn) },
		"UTF-8":           func() error { return ep.TryHandleFunc("a\xffb", fn) },
		"already":         func() error { return ep.TryHandleFunc("taken", fn) },
		"is nil":          func() error { return ep.TryHandleFunc("nil", nil) },
		"does not inc":    func() error { return Method[startArgs, startReply]{Name: "a", Since: "1.4"}.TryHandle(ep, typed) },
		"since 2.0":       func() error { return Method[startArgs, startReply]{Name: "a", Since: "2.0"}.TryHandle(ep, typed) },
		"not a version":   func() error { return Method[startArgs, startReply]{Name: "a", Since: "x"}.TryHandle(ep, typed) },
		"handler is nil":  func() error { return Method[startArgs, startReply]{Name: "a"}.TryHandle(ep, nil) },
		"has this method": func() error { return Method[startArgs, startReply]{Name: "taken"}.TryHandle(ep, typed) },
	}
	for want, register := range bad {
		if err := register(); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	panics := map[string]func(){
		"HandleFunc":   func() { ep.HandleFunc("_x", fn) },
		"Handle":       func() { start.Handle(NewEndpoint(nil), nil) },
		"HandleRaw":    func() { ep.HandleRaw("taken", nil) },
		"HandleOthers": func() { ep.HandleOthers(nil) },
		"version":      func() { NewEndpoint(&EndpointOptions{Version: "x"}) },
		"namespace":    func() { NewEndpoint(&EndpointOptions{Namespace: "a\x00"}) },
	}
	for name, f := range panics {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s did not panic", name)
				}
			}()
			f()
		}()
	}
}

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
func (*scripted) Close(context.Context) error                  { return nil }

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
	for _, want := range []string{"received before", "time ran out", "kind=reply", "kind=notification"} {
		if !strings.Contains(log, want) {
			t.Errorf("%q is not in the log: %s", want, log)
		}
	}
}

func TestReplyIsSentAgain(t *testing.T) {
	doubt := driver.Errorf(driver.ReasonExpired, "no confirmation in time")
	doubt.InDoubt = true
	tests := []struct {
		name  string
		err   error
		tries int // until it works; 0: it never does
		want  int // tries seen
	}{
		{"in doubt", doubt, 2, 2},
		{"no route yet", driver.Errorf(driver.ReasonNoRoute, "x"), 4, 4},
		{"driver gone", driver.Errorf(driver.ReasonDriverGone, "x"), 3, 3},
		{"too large", driver.Errorf(driver.ReasonMessageTooLarge, "x"), 0, 1},
		{"caller gone", driver.Errorf(driver.ReasonNoRoute, "x"), 0, 0},
	}
	for _, tt := range tests {
		for _, mode := range []string{"async", "sync"} {
			t.Run(tt.name+"/"+mode, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var mu sync.Mutex // guards ids
					ids := make(map[string]int)
					tries := 0
					r := newRig(t, nil, func(f *faults) {
						f.onSend = func(_ context.Context, m *driver.Message) (bool, error) {
							if m.Kind != driver.Reply {
								return false, nil
							}
							mu.Lock()
							defer mu.Unlock()
							ids[m.UniqueID]++
							tries++
							if m.TimeLeft <= 0 || m.TimeLeft > 30*time.Second {
								t.Errorf("time left %s", m.TimeLeft)
							}
							return tries != tt.tries, tt.err
						}
					})
					if mode == "sync" {
						r.async = nil
					}
					serve(t, r.Transport, computeTarget, nil, echoEndpoint())
					c := NewRPCClient(r.Transport, Target{Topic: "compute"}, &RPCClientOptions{Timeout: 30 * time.Second})
					err := c.Call(t.Context(), "echo", nil, nil)
					time.Sleep(10 * time.Minute) // of the bubble's time
					mu.Lock()
					defer mu.Unlock()
					if (err == nil) != (tt.tries > 0) || len(ids) != 1 {
						t.Errorf("call: %v; ids %v", err, ids)
					}
					if tt.want > 0 && tries != tt.want || tries > 20 {
						t.Errorf("%d tries, want %d", tries, tt.want)
					}
					lost := strings.Count(strings.Join(r.log.all(), ""), "reply not sent")
					if (lost == 1) != (tt.tries == 0) {
						t.Errorf("logged %d times", lost)
					}
				})
			})
		}
	}
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

func TestResendingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, func(f *faults) {
			f.onSend = func(_ context.Context, m *driver.Message) (bool, error) {
				return m.Kind == driver.Reply, driver.Errorf(driver.ReasonNoRoute, "the caller is gone")
			}
		})
		serve(t, r.Transport, computeTarget, nil, echoEndpoint())
		c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range maxResending + 100 {
			wg.Go(func() {
				if err := c.Call(ctx, "echo", nil, nil); err != context.Canceled {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if lost := strings.Count(strings.Join(r.log.all(), ""), "reply not sent"); lost != 100 {
			t.Errorf("%d replies given up at once", lost)
		}
		cancel()
		wg.Wait()
	})
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
			c := &handlerContext{Context: work}
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

type panickyResult struct{}

func (panickyResult) MarshalJSON() ([]byte, error) { panic("no JSON of me") }

type panickyError struct{ text string }

func (e *panickyError) Error() string { return e.text }

func TestHandlersThatMisbehave(t *testing.T) {
	r := newRig(t, nil)
	ep := echoEndpoint()
	ep.HandleFunc("goexit", func(context.Context, map[string]any) (any, error) { runtime.Goexit(); return nil, nil })
	ep.HandleFunc("panicky_result", func(context.Context, map[string]any) (any, error) { return panickyResult{}, nil })
	ep.HandleFunc("panicky_error", func(context.Context, map[string]any) (any, error) { return nil, (*panickyError)(nil) })
	serve(t, r.Transport, computeTarget, &RPCServerOptions{Concurrency: 1}, ep)
	c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)
	for range 3 {
		for method, want := range map[string]string{
			"goexit":         "the handler ended its goroutine",
			"panicky_result": "no JSON of me",
			"panicky_error":  "the failure cannot be encoded",
		} {
			err := c.Call(t.Context(), method, nil, nil)
			if _, ok := errors.AsType[*RemoteError](err); !ok || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", method, err)
			}
		}
		if err := c.Cast(t.Context(), "goexit", nil); err != nil {
			t.Error(err)
		}
	}
	if err := c.Call(t.Context(), "echo", nil, nil); err != nil {
		t.Errorf("after all that: %v", err)
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
	if r.waitingCalls() != 0 {
		t.Error("the call still waits")
	}
}
