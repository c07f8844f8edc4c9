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

func TestCallTimesOut(t *testing.T) {
	tests := []struct {
		name            string
		transport, mine time.Duration // zero for the default
		ctx             time.Duration
		want            time.Duration
	}{
		{"default", 0, 0, 0, 60 * time.Second},
		{"transport", 5 * time.Second, 0, 0, 5 * time.Second},
		{"client", 5 * time.Second, 9 * time.Second, 0, 9 * time.Second},
		{"nearer context", 0, 9 * time.Second, 2 * time.Second, 2 * time.Second},
		{"later context", 0, 3 * time.Second, 20 * time.Second, 3 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var timeLeft time.Duration
				r := newRig(t, &Options{ReplyTimeout: tt.transport}, func(f *faults) {
					f.onSend = func(_ context.Context, m *driver.Message) (bool, error) {
						timeLeft = m.TimeLeft
						return false, nil
					}
				})
				c := NewRPCClient(r.Transport, Target{Topic: "nobody"}, &RPCClientOptions{Timeout: tt.mine})
				ctx := t.Context()
				if tt.ctx > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.ctx)
					defer cancel()
				}
				began := time.Now()
				err := c.Call(ctx, "m", nil, nil)
				if took := time.Since(began); took != tt.want || timeLeft != tt.want {
					t.Errorf("took %s with time left %s, want %s", took, timeLeft, tt.want)
				}
				if !errors.Is(err, ErrNoReply) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), tt.want.String()) {
					t.Errorf("error %v", err)
				}
				if r.replies.waitingNow() != 0 {
					t.Error("the call still waits")
				}
			})
		})
	}
}

func TestLateReplyIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		release := make(chan struct{})
		ep := NewEndpoint(nil)
		ep.HandleFunc("slow", func(context.Context, map[string]any) (any, error) { <-release; return nil, nil })
		ep.HandleFunc("quick", func(context.Context, map[string]any) (any, error) { return nil, nil })
		serve(t, r.Transport, computeTarget, nil, ep)
		c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- c.Call(ctx, "slow", nil, nil) }()
		synctest.Wait()
		cancel()
		if err := <-result; err != context.Canceled {
			t.Errorf("a cancelled call: %v", err)
		}
		if r.replies.waitingNow() != 0 {
			t.Error("the call still waits")
		}
		close(release)
		synctest.Wait()
		if n := r.counters.lateReplies.Load(); n != 1 {
			t.Errorf("%d late replies", n)
		}
		if err := c.Call(t.Context(), "quick", nil, nil); err != nil {
			t.Errorf("the next call: %v", err)
		}
	})
}

func TestSendFailures(t *testing.T) {
	doubt := driver.Errorf(driver.ReasonExpired, "no confirmation in time")
	doubt.InDoubt = true
	tests := []struct {
		name       string
		err        error
		handled    bool // false: the request arrives all the same
		call, cast error
		after      time.Duration
	}{
		{"no route", driver.Errorf(driver.ReasonNoRoute, "x"), true, ErrUndeliverable, ErrUndeliverable, 0},
		{"away", driver.Errorf(driver.ReasonNotConnected, "x"), true, ErrUnavailable, ErrUnavailable, 0},
		{"too large", driver.Errorf(driver.ReasonMessageTooLarge, "x"), true, ErrTooLarge, ErrTooLarge, 0},
		{"expired", driver.Errorf(driver.ReasonExpired, "x"), true, ErrExpired, ErrExpired, 0},
		{"in doubt", doubt, true, ErrNoReply, ErrInDoubt, DefaultReplyTimeout},
		{"in doubt, but it arrived", doubt, false, nil, ErrInDoubt, 0},
	}
	for _, tt := range tests {
		for _, mode := range []string{"async", "sync"} {
			t.Run(tt.name+"/"+mode, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var r *rig
					r = newRig(t, nil, func(f *faults) {
						f.onSend = func(ctx context.Context, m *driver.Message) (bool, error) {
							if m.Kind != driver.Call && m.Kind != driver.Cast {
								return false, nil
							}
							if !tt.handled {
								if err := r.faults.Conn.Send(ctx, []*driver.Message{m}); err != nil {
									t.Error(err)
								}
							}
							return true, tt.err
						}
					})
					if mode == "sync" {
						r.async = nil
					}
					serve(t, r.Transport, computeTarget, nil, echoEndpoint())
					c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)
					began := time.Now()
					err := c.Call(t.Context(), "echo", nil, nil)
					if !errors.Is(err, tt.call) || (tt.call == nil) != (err == nil) || time.Since(began) != tt.after {
						t.Errorf("call: %v after %s", err, time.Since(began))
					}
					if tt.after > 0 && !strings.Contains(err.Error(), "may or may not have reached the broker") {
						t.Errorf("call: %v", err)
					}
					if err := c.Cast(t.Context(), "echo", nil); !errors.Is(err, tt.cast) {
						t.Errorf("cast: %v", err)
					}
				})
			})
		}
	}
}

// A driver that waits for its broker until the deadline, and then says why, gets its word in.
func TestBrokerAwayUntilDeadline(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("late=%v", late), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil, func(f *faults) {
					f.onSend = func(ctx context.Context, m *driver.Message) (bool, error) {
						<-ctx.Done()
						if late {
							time.Sleep(reportGrace / 2) // of the bubble's time
						}
						return true, driver.Errorf(driver.ReasonNotConnected, "broker h:5672 refuses connections")
					}
				})
				r.async = nil
				c := NewRPCClient(r.Transport, Target{Topic: "t"}, &RPCClientOptions{Timeout: time.Second})
				err := c.Call(t.Context(), "m", nil, nil)
				if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "refuses connections") {
					t.Errorf("call: %v", err)
				}
				if err := c.Cast(t.Context(), "m", nil); !errors.Is(err, ErrUnavailable) {
					t.Errorf("cast: %v", err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Millisecond, cancel)
				if err := c.Cast(ctx, "m", nil); err != context.Canceled {
					t.Errorf("a cancelled cast: %v", err)
				}
			})
		})
	}
}

// A driver that never reports does not hold a call beyond its deadline and the grace.
func TestDriverNeverReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r := newRig(t, nil, func(f *faults) {
			f.onSend = func(context.Context, *driver.Message) (bool, error) { <-release; return true, nil }
		})
		r.async = nil
		c := NewRPCClient(r.Transport, Target{Topic: "t"}, &RPCClientOptions{Timeout: time.Second})
		began := time.Now()
		err := c.Call(t.Context(), "m", nil, nil)
		if !errors.Is(err, ErrNoReply) || !strings.Contains(err.Error(), "has not confirmed") {
			t.Errorf("%v", err)
		}
		if took := time.Since(began); took != time.Second+reportGrace {
			t.Errorf("took %s", took)
		}
		close(release)
	})
}

func TestMonitor(t *testing.T) {
	run := func(t *testing.T, method string, drop bool) (time.Duration, int, error) {
		var beats atomic.Int64
		r := newRig(t, nil, func(f *faults) {
			f.onSend = func(_ context.Context, m *driver.Message) (bool, error) {
				if m.Kind == driver.Heartbeat {
					beats.Add(1)
					return drop, nil
				}
				return false, nil
			}
		})
		ep := NewEndpoint(nil)
		ep.HandleFunc("slow", func(ctx context.Context, _ map[string]any) (any, error) {
			select {
			case <-time.After(10 * time.Second):
			case <-ctx.Done():
			}
			return nil, nil
		})
		ep.HandleFunc("for_ever", func(context.Context, map[string]any) (any, error) {
			time.Sleep(30 * time.Second) // of the bubble's time
			return nil, nil
		})
		serve(t, r.Transport, computeTarget, nil, ep)
		c := NewRPCClient(r.Transport, Target{Topic: "compute"}, &RPCClientOptions{Monitor: 2 * time.Second, Timeout: 20 * time.Second})
		began := time.Now()
		err := c.Call(t.Context(), method, nil, nil)
		took, n := time.Since(began), int(beats.Load())
		time.Sleep(time.Minute) // of the bubble's time: heartbeats that go on would be seen
		if extra := int(beats.Load()) - n; extra > 11 || method != "for_ever" && !drop && extra > 0 {
			t.Errorf("%d heartbeats after the call", extra)
		}
		return took, n, err
	}
	synctest.Test(t, func(t *testing.T) {
		if took, n, err := run(t, "slow", false); err != nil || took != 10*time.Second || n < 8 || n > 10 {
			t.Errorf("slow with heartbeats: %v after %s and %d heartbeats", err, took, n)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		took, _, err := run(t, "slow", true)
		if !errors.Is(err, ErrNoReply) || took != 2*time.Second || !strings.Contains(err.Error(), "no sign of life") {
			t.Errorf("a silent server: %v after %s", err, took)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		if took, _, err := run(t, "for_ever", false); !errors.Is(err, ErrNoReply) || took != 20*time.Second {
			t.Errorf("heartbeats do not extend the timeout: %v after %s", err, took)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		if _, n, err := run(t, "unknown", false); !errors.Is(err, ErrNoSuchMethod) || n != 0 {
			t.Errorf("not found: %v and %d heartbeats", err, n)
		}
	})
}

func TestHandlerDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		ep := NewEndpoint(nil)
		left := make(chan time.Duration, 2)
		ep.HandleFunc("left", func(ctx context.Context, _ map[string]any) (any, error) {
			d, ok := ctx.Deadline()
			if !ok {
				left <- -1
				return nil, nil
			}
			left <- time.Until(d)
			return nil, nil
		})
		serve(t, r.Transport, computeTarget, nil, ep)
		c := NewRPCClient(r.Transport, Target{Topic: "compute"}, &RPCClientOptions{Timeout: 7 * time.Second})
		if err := c.Call(t.Context(), "left", nil, nil); err != nil {
			t.Fatal(err)
		}
		if d := <-left; d != 7*time.Second {
			t.Errorf("a call's handler has %s", d)
		}
		if err := c.Cast(t.Context(), "left", nil); err != nil {
			t.Fatal(err)
		}
		if d := <-left; d != -1 {
			t.Errorf("a cast's handler has %s", d)
		}
	})
}
