// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// retryRig is a transport whose driver fails the first tries of each request with err.
type retryRig struct {
	*rig
	tries    int
	failFast bool
	ids      map[string]int // unique ids of the requests, by how often they were sent
}

// newRetryRig makes one; arrives says that the failed tries reach the server all the same.
func newRetryRig(t *testing.T, mode string, failures int, err error, arrives bool) *retryRig {
	r := &retryRig{ids: make(map[string]int)}
	r.rig = newRig(t, nil, func(f *faults) {
		f.onSend = func(ctx context.Context, m *driver.Message) (bool, error) {
			if m.Kind != driver.Call && m.Kind != driver.Cast {
				return false, nil
			}
			r.tries++
			r.ids[m.UniqueID]++
			r.failFast = m.FailFast
			if r.tries > failures {
				return false, nil
			}
			if arrives {
				if err := f.Conn.Send(ctx, []*driver.Message{m}); err != nil {
					t.Error(err)
				}
			}
			return true, err
		}
	})
	if mode == "sync" {
		r.async = nil
	}
	return r
}

// send sends one request in the way of its name.
func send(ctx context.Context, how string, c *RPCClient) error {
	if how == "cast" {
		return c.Cast(ctx, "echo", nil)
	}
	return c.Call(ctx, "echo", nil, nil)
}

// sendDeclared is send by a Method.
func sendDeclared(ctx context.Context, how string, c *RPCClient, repeatable bool) error {
	m := Method[struct{}, struct{}]{Name: "echo", Repeatable: repeatable}
	if how == "cast" {
		return m.Cast(ctx, c, struct{}{})
	}
	_, err := m.Call(ctx, c, struct{}{})
	return err
}

// eachWay runs f for calls and casts, on drivers with and without SendAsync: retry means the
// same on every path.
func eachWay(t *testing.T, f func(t *testing.T, how, mode string)) {
	for _, how := range []string{"call", "cast"} {
		for _, mode := range []string{"async", "sync"} {
			t.Run(how+"/"+mode, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { f(t, how, mode) })
			})
		}
	}
}

func TestRetry(t *testing.T) {
	away := driver.Errorf(driver.ReasonNotConnected, "the broker is away")
	const always = 1 << 30
	for _, tt := range []struct {
		name     string
		retry    *int
		failures int
		err      *driver.Error
		timeout  time.Duration
		want     error
		tries    int
		after    time.Duration
	}{
		{"forever is the driver's", nil, always, away, time.Minute, ErrUnavailable, 1, 0},
		{"-1 is forever", new(-1), always, away, time.Minute, ErrUnavailable, 1, 0},
		{"0 is once", new(0), always, away, time.Minute, ErrUnavailable, 1, 0},
		{"1 is twice", new(1), always, away, time.Minute, ErrUnavailable, 2, time.Second},
		{"4 is five times", new(4), always, away, time.Minute, ErrUnavailable, 5, (1 + 3 + 5 + 7) * time.Second},
		{"until it works", new(4), 2, away, time.Minute, nil, 3, 4 * time.Second},
		{"until there is no time", new(100), always, away, 6 * time.Second, ErrUnavailable, 3, 4 * time.Second},
		{"the pause is bounded", new(17), always, away, time.Hour, ErrUnavailable, 18, (256 + 31) * time.Second},
		{"driver gone", new(1), 1, driver.Errorf(driver.ReasonDriverGone, "x"), time.Minute, nil, 2, time.Second},
		{"blocked", new(1), 1, driver.Errorf(driver.ReasonBrokerBlocked, "x"), time.Minute, nil, 2, time.Second},
		{"no route does not heal", new(3), always, driver.Errorf(driver.ReasonNoRoute, "x"), time.Minute, ErrUndeliverable, 1, 0},
		{"nor a wrong password", new(3), always, driver.Errorf(driver.ReasonAuthRefused, "x"), time.Minute, ErrUnavailable, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, how, mode string) {
				r := newRetryRig(t, mode, tt.failures, tt.err, false)
				serve(t, r.Transport, computeTarget, nil, echoEndpoint())
				c := NewRPCClient(r.Transport, Target{Topic: "compute"}, &RPCClientOptions{Timeout: tt.timeout, Retry: tt.retry})
				began := time.Now()
				err := send(t.Context(), how, c)
				if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
					t.Errorf("%v", err)
				}
				if r.tries != tt.tries || time.Since(began) != tt.after {
					t.Errorf("%d tries in %s, want %d in %s", r.tries, time.Since(began), tt.tries, tt.after)
				}
				if want := tt.retry != nil && *tt.retry >= 0; r.failFast != want {
					t.Errorf("the driver was asked to fail fast: %t", r.failFast)
				}
				if n := int(r.Stats().Retries); n != tt.tries-1 {
					t.Errorf("counted %d retries", n)
				}
				if len(r.ids) != 1 || r.replies.waitingNow() != 0 {
					t.Errorf("ids %v; %d calls wait", r.ids, r.replies.waitingNow())
				}
			})
		})
	}
}

// A request in doubt is sent again only where the method may be repeated.
func TestRepeatable(t *testing.T) {
	doubt := driver.Errorf(driver.ReasonNotConnected, "the connection broke")
	doubt.InDoubt = true
	for _, tt := range []struct {
		name       string
		repeatable bool
		retry      int
		failures   int
		arrives    bool
		call, cast error
		callTries  int
		castTries  int
		declared   bool               // the method is declared to be repeatable
		middleware []ClientMiddleware // which must carry that on
	}{
		{"not repeatable and lost", false, -1, 1, false, ErrInDoubt, ErrInDoubt, 1, 1, false, nil},
		{"not repeatable and arrived", false, -1, 1, true, nil, ErrInDoubt, 1, 1, false, nil},
		{"repeatable and lost", true, -1, 3, false, nil, nil, 4, 4, false, nil},
		{"repeatable and arrived", true, -1, 3, true, nil, nil, 1, 4, false, nil},
		{"repeatable, lost too often", true, 2, 9, false, ErrInDoubt, ErrInDoubt, 3, 3, false, nil},
		{"repeatable with retry 0", true, 0, 9, false, ErrInDoubt, ErrInDoubt, 1, 1, false, nil},
		{"declared repeatable and lost", false, -1, 3, false, nil, nil, 4, 4, true, nil},
		{"declared, through middleware", false, -1, 3, false, nil, nil, 4, 4, true, []ClientMiddleware{named("a", new([]string))}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, how, mode string) {
				r := newRetryRig(t, mode, tt.failures, doubt, tt.arrives)
				ran := 0
				ep := NewEndpoint(nil)
				ep.HandleFunc("echo", func(context.Context, map[string]any) (any, error) { ran++; return nil, nil })
				serve(t, r.Transport, computeTarget, nil, ep)
				c := NewRPCClient(r.Transport, Target{Topic: "compute"}, &RPCClientOptions{
					Retry: new(tt.retry), Repeatable: tt.repeatable, Middleware: tt.middleware,
				})
				want, tries := tt.call, tt.callTries
				if how == "cast" {
					want, tries = tt.cast, tt.castTries
				}
				err := sendDeclared(t.Context(), how, c, tt.declared)
				if !errors.Is(err, want) || (err == nil) != (want == nil) || r.tries != tries {
					t.Errorf("%v after %d tries", err, r.tries)
				}
				synctest.Wait()
				if ran > 1 {
					t.Errorf("ran %d times: the ids must be the same", ran)
				}
				if n := r.Stats().InDoubt; (want != nil) != (n == 1) {
					t.Errorf("counted %d in doubt", n)
				}
			})
		})
	}
}

// What an earlier try left in doubt stays so, whatever a later one fails with.
func TestDoubtStays(t *testing.T) {
	for _, second := range []driver.Reason{driver.ReasonNotConnected, driver.ReasonNoRoute} {
		t.Run(fmt.Sprint(second), func(t *testing.T) {
			eachWay(t, func(t *testing.T, how, mode string) {
				tries := 0
				r := newRig(t, nil, func(f *faults) {
					f.onSend = func(context.Context, *driver.Message) (bool, error) {
						tries++
						if tries > 1 {
							return true, driver.Errorf(second, "x")
						}
						err := driver.Errorf(driver.ReasonNotConnected, "broke")
						err.InDoubt = true
						return true, err
					}
				})
				if mode == "sync" {
					r.async = nil
				}
				c := NewRPCClient(r.Transport, Target{Topic: "t"}, &RPCClientOptions{Repeatable: true})
				began := time.Now()
				err := send(t.Context(), how, c)
				if !errors.Is(err, ErrInDoubt) || errors.Is(err, ErrNoReply) != (how == "call") || tries != 2 {
					t.Errorf("%v after %d tries", err, tries)
				}
				if took := time.Since(began); how == "call" && took != DefaultReplyTimeout {
					t.Errorf("waited %s for an answer", took)
				}
			})
		})
	}
}

func TestRetryEndsWithItsCaller(t *testing.T) {
	eachWay(t, func(t *testing.T, how, mode string) {
		r := newRetryRig(t, mode, 100, driver.Errorf(driver.ReasonNotConnected, "away"), false)
		c := NewRPCClient(r.Transport, Target{Topic: "t"}, nil).With(Retry(50))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Second, cancel)
		if err := send(ctx, how, c); !errors.Is(err, context.Canceled) {
			// A cast in its pause says what kept it from being sent.
			if how == "call" || !errors.Is(err, ErrUnavailable) {
				t.Errorf("%v", err)
			}
		}
		if r.tries != 3 {
			t.Errorf("%d tries", r.tries)
		}
	})
}

// A first call needs a listener for its answer before it can be sent. Retry counts there too: the
// driver's own waiting ends when it says that its broker is not to be had.
func TestRetryOfListening(t *testing.T) {
	refused := driver.Errorf(driver.ReasonNotConnected, "h:5672 refuses connections")
	for _, tt := range []struct {
		name  string
		retry *int
		said  time.Duration // when the driver says so
		back  time.Duration // when it listens after all; zero for never
		want  error
		after time.Duration
		tries uint64
	}{
		{"forever", nil, 0, 0, ErrUnavailable, time.Minute, 0},
		{"once, and it was known before", new(0), 0, 0, ErrUnavailable, 0, 0},
		{"once, after the first try under way", new(0), 3 * time.Second, 0, ErrUnavailable, 3 * time.Second, 0},
		{"three times", new(2), 0, 0, ErrUnavailable, 4 * time.Second, 2},
		{"until it is back", new(5), 0, 2 * time.Second, nil, 4 * time.Second, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				gate := &listenGate{back: tt.back, began: began}
				r := newRig(t, nil)
				serve(t, r.Transport, computeTarget, nil, echoEndpoint())
				gate.Conn, r.conn = r.conn, gate
				report := func() { r.states.report(driver.State{Phase: driver.Connecting, Err: refused}) }
				if tt.said == 0 {
					report()
				} else {
					time.AfterFunc(tt.said, report)
				}
				if tt.back > 0 {
					time.AfterFunc(tt.back, func() { r.states.report(driver.State{Phase: driver.Ready}) })
				}
				c := NewRPCClient(r.Transport, Target{Topic: "compute"}, &RPCClientOptions{Retry: tt.retry, Timeout: time.Minute})
				err := c.Call(t.Context(), "echo", nil, nil)
				if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) || time.Since(began) != tt.after || r.Stats().Retries != tt.tries {
					t.Errorf("%v after %s and %d retries", err, time.Since(began), r.Stats().Retries)
				}
			})
		})
	}
}

// listenGate waits for its broker as a driver does, until the end of its context.
type listenGate struct {
	driver.Conn
	back  time.Duration
	began time.Time
}

func (g *listenGate) Listen(ctx context.Context, src driver.Source) (driver.Listener, error) {
	if src.Kind != driver.SourceReplies || g.back > 0 && time.Since(g.began) >= g.back {
		return g.Conn.Listen(ctx, src)
	}
	<-ctx.Done()
	return nil, driver.Errorf(driver.ReasonNotConnected, "no broker")
}
