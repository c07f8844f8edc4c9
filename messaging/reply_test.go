// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

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
