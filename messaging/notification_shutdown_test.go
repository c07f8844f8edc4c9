// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// waiting is a handler that waits for the end of its context, or for release.
func waiting(began chan<- string, release <-chan struct{}) NotificationHandler {
	return func(ctx context.Context, n *Notification) error {
		began <- n.EventType
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("cut off: %w", context.Cause(ctx))
		}
	}
}

// What waits goes back to the broker at once; what runs is waited for.
func TestNotificationShutdown(t *testing.T) {
	for _, tt := range []struct {
		name     string
		opts     NotificationListenerOptions
		endpoint func(began chan<- string, release <-chan struct{}) *NotificationEndpoint
		events   []string
		running  int // of them
		back     string
		rest     string // settled when the handlers are done
	}{
		{"running", NotificationListenerOptions{}, func(b chan<- string, r <-chan struct{}) *NotificationEndpoint { return on(waiting(b, r)) },
			[]string{"a", "b"}, 2, "", "1 accepted, 2 accepted"},
		{"ordered", NotificationListenerOptions{OrderBy: byLetter}, func(b chan<- string, r <-chan struct{}) *NotificationEndpoint { return on(waiting(b, r)) },
			[]string{"a", "a", "b", "a"}, 2, "2 requeued, 4 requeued", "1 accepted, 2 requeued, 3 accepted, 4 requeued"},
		{"delayed", NotificationListenerOptions{Failure: failing(-1)}, func(b chan<- string, _ <-chan struct{}) *NotificationEndpoint {
			return on(func(_ context.Context, n *Notification) error { b <- n.EventType; return errors.New("no") })
		}, []string{"a", "b"}, 2, "1 requeued, 2 requeued", "1 requeued, 2 requeued"},
		{"half a batch", NotificationListenerOptions{Batch: &BatchOptions{Size: 3}}, func(chan<- string, <-chan struct{}) *NotificationEndpoint {
			return onBatch(func(context.Context, []*Notification) error { return errors.New("never") })
		}, []string{"a", "b"}, 0, "1 requeued, 2 requeued", "1 requeued, 2 requeued"},
		{"batches behind another", NotificationListenerOptions{Concurrency: 1, Batch: &BatchOptions{Size: 2}}, func(b chan<- string, r <-chan struct{}) *NotificationEndpoint {
			return onBatch(func(ctx context.Context, all []*Notification) error { return waiting(b, r)(ctx, all[0]) })
		}, []string{"a", "b", "c", "d"}, 1, "3 requeued, 4 requeued", "1 accepted, 2 accepted, 3 requeued, 4 requeued"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, release := make(chan string, 8), make(chan struct{})
				s := newNoticeStage(t, &tt.opts, tt.endpoint(began, release))
				for i, e := range tt.events {
					s.deliver(event(uint64(i+1), e))
				}
				for range tt.running {
					<-began
				}
				synctest.Wait()
				s.mu.Lock()
				s.rest = []*driver.Delivery{event(8, "x"), event(9, "y")} // what the driver has taken ahead
				s.mu.Unlock()
				done := make(chan error, 1)
				go func() { done <- s.listener.Shutdown(t.Context()) }()
				synctest.Wait()
				join := func(texts ...string) string {
					return strings.TrimPrefix(strings.Join(texts, ", "), ", ")
				}
				s.settledIs(t, join(tt.back, "8 requeued, 9 requeued"))
				close(release)
				if err := <-done; err != nil {
					t.Error(err)
				}
				s.settledIs(t, join(tt.rest, "8 requeued, 9 requeued"))
				got := s.listener.Stats()
				if back := strings.Count(s.settled(), "requeued"); got.Running != 0 || got.Returned != uint64(back) || got.Requeued != 0 || got.Received != uint64(len(tt.events)+2) || !s.closed {
					t.Errorf("%+v, closed %v", got, s.closed)
				}
			})
		})
	}
}

// A shutdown that loses patience cuts handlers off: what they did not end goes back, also what
// other handlers of the same notification have done.
func TestNotificationShutdownLosesPatience(t *testing.T) {
	for _, way := range []string{"Shutdown", "context", "transport"} {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := make(chan string, 8)
				ep := NewNotificationEndpoint(nil)
				ep.Handle(PriorityInfo, func(ctx context.Context, n *Notification) error {
					began <- n.EventType
					<-ctx.Done()
					switch n.EventType {
					case "done":
						return nil
					case "other error":
						return errors.New("the database said: interrupted")
					default:
						return ctx.Err()
					}
				})
				seq := &sequence{}
				ep.Handle(PriorityInfo, ran(seq, "second", nil))
				r := newRig(t, nil)
				l := NewNotificationListener(r.Transport, noticeTargets, &NotificationListenerOptions{ShutdownTimeout: 3 * time.Second, Failure: deadly}, ep)
				serving, stop := context.WithCancel(context.Background())
				defer stop()
				served := make(chan error, 1)
				go func() { served <- l.Serve(serving) }()
				<-l.Ready()
				n := NewNotifier(r.Transport, nil)
				for _, e := range []string{"done", "other error", "cut"} {
					if err := n.Info(t.Context(), e, nil); err != nil {
						t.Fatal(err)
					}
					<-began
				}
				at := time.Now()
				want := ErrServerClosed
				switch way {
				case "Shutdown":
					ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
					defer cancel()
					if err := l.Shutdown(ctx); err != context.DeadlineExceeded {
						t.Error(err)
					}
				case "context":
					stop()
				case "transport":
					want = ErrClosed
					go closeTransport(t, r.Transport)
				}
				if err := <-served; !errors.Is(err, want) || time.Since(at) != 3*time.Second {
					t.Errorf("Serve: %v after %s", err, time.Since(at))
				}
				if got := l.Stats(); got.Returned != 3 || got.Handled != 0 || got.Running != 0 || len(seq.all()) != 0 {
					t.Errorf("%+v, %v", got, seq.all())
				}
				if way == "transport" {
					return
				}
				// All of them come to the next listener.
				listen(t, r.Transport, nil, on(ran(seq, "again", nil)))
				eventually(t, "they come again", func() bool { return len(seq.all()) == 3 })
			})
		})
	}
}

// A handler that ignores the end of its context is left behind. What it does then has no effect,
// and its notification is with the broker again.
func TestNotificationHandlerLeftBehind(t *testing.T) {
	for _, result := range []error{nil, errors.New("no"), ErrRequeue} {
		t.Run(fmt.Sprint(result), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, release := make(chan string, 8), make(chan struct{})
				s := newNoticeStage(t, &NotificationListenerOptions{Failure: failing(-1), OrderBy: byLetter}, on(func(_ context.Context, n *Notification) error {
					began <- n.EventType
					<-release
					return result
				}), func(s *noticeStage, _ *faults, _ *Options) { s.receives = true })
				s.deliver(event(1, "a"))
				s.deliver(event(2, "a"))
				<-began
				synctest.Wait()
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if err := s.listener.Shutdown(ctx); err != context.Canceled {
					t.Error(err)
				}
				if err := s.listener.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				s.settledIs(t, "1 requeued, 2 requeued")
				released := s.released.Load()
				close(release)
				synctest.Wait()
				time.Sleep(time.Minute)
				s.settledIs(t, "1 requeued, 2 requeued")
				if s.released.Load() != released || !strings.Contains(s.logged(), "left behind") || len(began) != 0 {
					t.Error(s.logged())
				}
			})
		})
	}
}

func TestNotificationLifecycle(t *testing.T) {
	ctx := context.Background()
	ep := on(func(context.Context, *Notification) error { return nil })
	t.Run("before Serve", func(t *testing.T) {
		r := newRig(t, nil)
		l := NewNotificationListener(r.Transport, noticeTargets, nil, ep)
		for range 2 {
			if err := l.Shutdown(ctx); err != nil {
				t.Error(err)
			}
		}
		if err := l.Serve(ctx); !errors.Is(err, ErrServerClosed) || !strings.Contains(err.Error(), "the notification listener was shut down") || r.faults.listens.Load() != 0 {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Run("Serve twice", func(t *testing.T) {
		r := newRig(t, nil)
		l := listen(t, r.Transport, nil, ep)
		if err := l.Serve(ctx); !errors.Is(err, ErrConfig) {
			t.Errorf("the second Serve: %v", err)
		}
		if err := l.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := l.Serve(ctx); !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve after Shutdown: %v", err)
		}
	})
	t.Run("while listening waits", func(t *testing.T) {
		r := newRig(t, nil)
		listening := make(chan struct{})
		r.conn = hangingListen{r.faults, listening}
		l := NewNotificationListener(r.Transport, noticeTargets, nil, ep)
		served := make(chan error, 1)
		go func() { served <- l.Serve(ctx) }()
		wait(t, listening, "Listen")
		if err := l.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := wait(t, served, "Serve"); !errors.Is(err, ErrServerClosed) || isClosed(l.Ready()) {
			t.Error(err)
		}
	})
	t.Run("listening fails", func(t *testing.T) {
		r := newRig(t, nil)
		r.faults.onListen = func(driver.Source) error { return driver.Errorf(driver.ReasonAccessRefused, "not allowed") }
		err := NewNotificationListener(r.Transport, noticeTargets, nil, ep).Serve(ctx)
		if !errors.Is(err, ErrRefused) || !strings.HasPrefix(err.Error(), "listen <topic=notifications>") {
			t.Error(err)
		}
	})
	t.Run("transport closed", func(t *testing.T) {
		r := newRig(t, nil)
		l := NewNotificationListener(r.Transport, noticeTargets, nil, ep)
		served := make(chan error, 1)
		go func() { served <- l.Serve(ctx) }()
		wait(t, l.Ready(), "the listener")
		closeTransport(t, r.Transport)
		if err := wait(t, served, "Serve"); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if err := NewNotificationListener(r.Transport, noticeTargets, nil, ep).Serve(ctx); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	t.Run("all at once", func(t *testing.T) {
		for range 100 {
			tr := NewTransport(openMemory(t, newRig(t, nil).broker), nil)
			l := NewNotificationListener(tr, noticeTargets, nil, ep)
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					if err := l.Shutdown(ctx); err != nil {
						t.Error(err)
					}
				})
				wg.Go(func() {
					if err := l.Serve(ctx); !errors.Is(err, ErrServerClosed) && !errors.Is(err, ErrConfig) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			closeTransport(t, tr)
		}
	})
}

// Timers that fire while the listener ends: each notice is given back once, and nothing happens
// after close.
func TestDelayedCloses(t *testing.T) {
	for range 200 {
		var d delayed
		var fired atomic.Int64
		const count = 50
		for range count {
			d.add(&notice{}, time.Duration(rand.IntN(100))*time.Microsecond, func() { fired.Add(1) })
		}
		left := int64(len(d.close()))
		if fired.Load()+left != count {
			t.Fatalf("%d fired, %d left", fired.Load(), left)
		}
		if d.add(&notice{}, 0, func() { t.Error("it fired") }) || len(d.close()) != 0 {
			t.Fatal("it was taken after close")
		}
	}
}

// Listeners of every kind come and go while notifications are sent and handlers fail: each is
// handled in the end, and none is lost.
func TestNothingIsLost(t *testing.T) {
	const count, rounds = 3000, 12
	r := newRig(t, &Options{Logger: (&recorder{}).logger()})
	var mu sync.Mutex // guards handled and failed
	handled, failed := make(map[string]int), make(map[string]int)
	handle := func(n *Notification) error {
		mu.Lock()
		defer mu.Unlock()
		if failed[n.EventType]++; failed[n.EventType] <= len(n.EventType)%3 {
			return fmt.Errorf("not yet: %w", ErrRequeue)
		}
		handled[n.EventType]++
		return nil
	}
	endpoint := func(kind int) *NotificationEndpoint {
		if kind == 0 {
			return onBatch(func(_ context.Context, batch []*Notification) error {
				f := FailedNotifications{}
				for i, n := range batch {
					if err := handle(n); err != nil {
						f[i] = err
					}
				}
				return f
			})
		}
		return on(func(_ context.Context, n *Notification) error { return handle(n) })
	}
	sent := make(chan error, 1)
	go func() {
		n := NewNotifier(r.Transport, nil)
		for i := range count {
			if err := n.Info(context.Background(), fmt.Sprint("e", i), nil); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	distinct := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(handled)
	}
	var returned uint64
	for round := range rounds {
		opts := &NotificationListenerOptions{
			Concurrency: 8, Batch: &BatchOptions{Size: 20, Timeout: 5 * time.Millisecond},
			Failure: FailurePolicy{MaxRequeues: -1, Delay: time.Millisecond, MaxDelay: 5 * time.Millisecond},
		}
		if round%3 == 2 {
			opts.OrderBy = byLetter
		}
		l := NewNotificationListener(r.Transport, noticeTargets, opts, endpoint(round%3))
		served := make(chan error, 1)
		go func() { served <- l.Serve(context.Background()) }()
		wait(t, l.Ready(), "the listener")
		enough := count * (round + 1) / rounds
		eventually(t, "some are handled", func() bool { return distinct() >= min(enough, count) })
		if err := l.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		<-served //nolint:errcheck // it was shut down
		s := l.Stats()
		returned += s.Returned
		if s.Running != 0 || s.Dropped != 0 || s.Malformed != 0 || s.Received != s.Handled+s.Requeued+s.Returned+s.Duplicates {
			t.Errorf("%+v", s)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	twice := 0
	for _, times := range handled {
		if times > 1 {
			twice++
		}
	}
	if distinct() != count || twice > 0 {
		t.Errorf("%d of %d handled, %d twice", distinct(), count, twice)
	}
	t.Logf("%d handled by %d listeners, %d given back by shutdowns", count, rounds, returned)
}
