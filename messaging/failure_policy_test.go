// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// A notification is acknowledged when its handlers are done with it, and then at once.
func TestAckAfterTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, release := make(chan string, 4), make(chan struct{})
		s := newNoticeStage(t, nil, on(func(context.Context, *Notification) error {
			began <- ""
			<-release
			return nil
		}))
		s.deliver(event(1, "e"))
		<-began
		synctest.Wait()
		s.settledIs(t, "")
		s.stats(t, NotificationStats{Received: 1, Running: 1})
		at := time.Now()
		close(release)
		synctest.Wait()
		s.settledIs(t, "1 accepted")
		if time.Since(at) != 0 {
			t.Errorf("after %s", time.Since(at))
		}
		s.stats(t, NotificationStats{Received: 1, Handled: 1})
	})
}

// What becomes of a notification whose handler fails, by policy.
func TestNotificationFailures(t *testing.T) {
	boom := errors.New("boom")
	handlers := map[string]NotificationHandler{
		"error":     func(context.Context, *Notification) error { return boom },
		"requeue":   func(context.Context, *Notification) error { return ErrRequeue },
		"wrapped":   func(context.Context, *Notification) error { return fmt.Errorf("not yet: %w", ErrRequeue) },
		"panic":     func(context.Context, *Notification) error { panic(boom) },
		"goexit":    func(context.Context, *Notification) error { runtime.Goexit(); return nil },
		"encoding":  func(_ context.Context, n *Notification) error { return n.Decode(&[]string{}) },
		"both":      func(context.Context, *Notification) error { return errors.Join(ErrRequeue, ErrEncoding) },
		"expected":  func(context.Context, *Notification) error { return Expected(boom) },
		"bad error": func(context.Context, *Notification) error { return (*panickyError)(nil) },
	}
	again, dropped := NotificationStats{Received: 1, Failed: 1, Requeued: 1}, NotificationStats{Received: 1, Failed: 1, Dropped: 1}
	for _, tt := range []struct {
		handler string
		policy  FailurePolicy
		want    NotificationStats
		log     string
	}{
		{"error", FailurePolicy{}, dropped, "its handler failed"},
		{"requeue", FailurePolicy{}, again, ""},
		{"wrapped", FailurePolicy{}, again, "not yet"},
		{"panic", FailurePolicy{}, dropped, "goroutine "},
		{"goexit", FailurePolicy{}, dropped, "ended its goroutine"},
		{"encoding", FailurePolicy{}, dropped, "does not fit"},
		{"both", FailurePolicy{}, again, ""},
		{"expected", FailurePolicy{}, dropped, "level=DEBUG msg=\"notification dropped"},
		{"bad error", FailurePolicy{}, dropped, "text cannot be had"},
		{"error", failing(1), again, "boom"},
		{"panic", failing(1), again, "goroutine "},
		{"goexit", failing(1), again, ""},
		{"encoding", failing(1), dropped, ""},
		{"expected", failing(1), again, ""},
	} {
		t.Run(fmt.Sprintf("%s %v", tt.handler, tt.policy.RequeueErrors), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newNoticeStage(t, &NotificationListenerOptions{Failure: tt.policy}, on(handlers[tt.handler]))
				s.deliver(event(1, "e"))
				synctest.Wait()
				if tt.want.Requeued > 0 { // a delay first
					s.settledIs(t, "")
					s.stats(t, NotificationStats{Received: 1, Failed: 1, Running: 1})
				}
				time.Sleep(time.Second)
				synctest.Wait()
				s.stats(t, tt.want)
				s.settledIs(t, map[bool]string{true: "1 requeued", false: "1 rejected"}[tt.want.Requeued > 0])
				log := s.logged()
				if !strings.Contains(log, tt.log) || strings.Count(log, "stack=") > 1 {
					t.Error(log)
				}
				if strings.Contains(log, `"n":1`) {
					t.Errorf("the payload was logged: %s", log)
				}
			})
		})
	}
}

// It comes again after a delay that doubles, as often as the policy says.
func TestRequeueDelays(t *testing.T) {
	for _, tt := range []struct {
		name   string
		policy FailurePolicy
		want   string // seconds of each delay
		end    string // how the last delivery is settled; empty when it goes on
	}{
		{"three times", failing(3), "1 2 4", "rejected"},
		{"bounded", FailurePolicy{RequeueErrors: true, MaxRequeues: 5, Delay: 3 * time.Second, MaxDelay: 7 * time.Second}, "3 6 7 7 7", "rejected"},
		{"defaults", FailurePolicy{RequeueErrors: true}, "1 2 4 8 16 32 60 60 60 60", "rejected"},
		{"for ever", FailurePolicy{RequeueErrors: true, MaxRequeues: -1, Delay: time.Second, MaxDelay: time.Second}, strings.TrimSpace(strings.Repeat("1 ", 30)), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				attempts := make(chan int, 64)
				s := newNoticeStage(t, &NotificationListenerOptions{Failure: tt.policy}, on(func(_ context.Context, n *Notification) error {
					attempts <- n.Attempt
					return errors.New("no")
				}))
				d := event(1, "e")
				var delays []string
				for token := uint64(1); ; token++ {
					s.deliver(again(d, token))
					if got := <-attempts; got != int(token) {
						t.Fatalf("attempt %d is called %d", token, got)
					}
					at := time.Now()
					synctest.Wait()
					if s.listener.Stats().Dropped > 0 || len(delays) == 30 {
						break
					}
					for s.listener.Stats().Requeued < token && time.Since(at) < time.Hour {
						time.Sleep(time.Second)
						synctest.Wait()
					}
					delays = append(delays, strconv.Itoa(int(time.Since(at).Round(time.Second).Seconds())))
				}
				if got := strings.Join(delays, " "); got != tt.want {
					t.Errorf("delays %s, want %s", got, tt.want)
				}
				if last := fmt.Sprintf("%d %s", len(delays)+1, tt.end); tt.end != "" && !strings.Contains(s.settled(), last) {
					t.Error(s.settled())
				}
			})
		})
	}
}

// A notification that waits to come again holds its slot: a listener that always fails asks for
// little.
func TestRequeueHoldsItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		l := listen(t, r.Transport, &NotificationListenerOptions{Concurrency: 3, Failure: failing(-1)}, on(ran(&sequence{}, "", errors.New("no"))))
		n := NewNotifier(r.Transport, nil)
		for range 10 {
			if err := n.Info(t.Context(), "e", nil); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got := l.Stats(); got.Received != 3 || got.Running != 3 || got.Failed != 3 {
			t.Errorf("%+v", got)
		}
	})
}

// A driver that cannot give back: what asks to come again is given up, what a shutdown leaves is
// left to the end of the listener.
func TestDriverWithoutRequeue(t *testing.T) {
	cannot := func(_ *noticeStage, f *faults, _ *Options) {
		f.info.Capabilities = []driver.Capability{driver.CapNotifications, driver.CapHeaders}
	}
	synctest.Test(t, func(t *testing.T) {
		began := make(chan struct{}, 4)
		ep := on(func(ctx context.Context, n *Notification) error {
			if n.EventType == "requeue" {
				return ErrRequeue
			}
			began <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		})
		s := newNoticeStage(t, &NotificationListenerOptions{Failure: FailurePolicy{DeadLetterTopic: "dead"}}, ep, cannot)
		s.deliver(event(1, "requeue"))
		synctest.Wait()
		s.settledIs(t, "1 accepted")
		if got := s.buried(); len(got) != 1 || got[0].Headers[DeadLetterReason] != reasonNoRequeue {
			t.Errorf("%+v", got)
		}
		s.deliver(event(2, "wait"))
		<-began
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.listener.Shutdown(ctx); err != context.Canceled {
			t.Error(err)
		}
		if err := s.listener.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		s.settledIs(t, "1 accepted") // and Close gives back the other
	})
}

func TestAttemptsAreBounded(t *testing.T) {
	a := newAttempts()
	of := func(id string) *notice { return newNotice(rawEvent(1, `{"message_id":"`+id+`"}`)) }
	anonymous := func(id string) *notice {
		n := of(id)
		n.delivery.UniqueID = ""
		return n
	}
	for i := range 3 * maxAttempts {
		a.add(anonymous(fmt.Sprint("n", i)))
	}
	if len(a.count) != maxAttempts || len(a.order) > 2*maxAttempts+64 {
		t.Errorf("%d counted, %d in order", len(a.count), len(a.order))
	}
	if a.of(anonymous("n0")) != 0 || a.of(anonymous(fmt.Sprint("n", 3*maxAttempts-1))) != 1 {
		t.Error("not the oldest were forgotten")
	}
	// One that comes and goes for ever leaves nothing behind, and does not push out others.
	a = newAttempts()
	keep := anonymous("keep")
	a.add(keep)
	for range 10 * maxAttempts {
		n := anonymous("x")
		a.add(n)
		n.attempt = 2
		a.forget(n)
	}
	if len(a.count) != 1 || len(a.order) > 100 || a.of(keep) != 1 {
		t.Errorf("%d counted, %d in order", len(a.count), len(a.order))
	}
	// A count that was forgotten and began again is as old as its beginning.
	n := anonymous("x")
	n.attempt = 2
	a.add(n)
	a.forget(n)
	for i := range maxAttempts - 2 {
		a.add(anonymous(fmt.Sprint("o", i)))
	}
	a.add(n)
	a.add(anonymous("p"))
	if a.of(n) != 1 || a.of(keep) != 0 {
		t.Errorf("%d, %d", a.of(n), a.of(keep))
	}
}

// The id of a notification over deliveries, bounded.
func TestNoticeIDs(t *testing.T) {
	id := func(unique, message string) string {
		d := rawEvent(1, `{"message_id":"`+message+`","priority":"info"}`)
		d.UniqueID = unique
		return newNotice(d).id()
	}
	long := strings.Repeat("l", 1<<16)
	if id("u", "m") != "u" || id("", "m") != "m" || id("", "") == "" || id("", "") == id("", "x") ||
		len(id(long, "m")) > maxNoticeID || id(long, "") == id(long+"l", "") {
		t.Error("ids")
	}
}
