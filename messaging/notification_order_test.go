// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// A notification that comes again to the same listener is dropped, and settled.
func TestNotificationDuplicates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, release := make(chan string, 4), make(chan struct{})
		s := newNoticeStage(t, &NotificationListenerOptions{Failure: failing(-1)}, on(func(_ context.Context, n *Notification) error {
			began <- n.EventType
			<-release
			if n.EventType == "fails" && n.Attempt == 1 {
				return errors.New("no")
			}
			return nil
		}))
		d, f := event(1, "e"), event(11, "fails")
		for _, each := range []*driver.Delivery{d, f, again(d, 2), again(f, 12), again(d, 3)} {
			s.deliver(each)
		}
		synctest.Wait()
		s.settledIs(t, "") // with the first, when that is done
		if len(began) != 2 {
			t.Errorf("%d began", len(began))
		}
		close(release)
		synctest.Wait()
		s.settledIs(t, "1 accepted, 2 accepted, 3 accepted")
		s.deliver(again(d, 4))
		synctest.Wait()
		s.settledIs(t, "1 accepted, 2 accepted, 3 accepted, 4 accepted")
		s.deliver(again(f, 13)) // while it waits to come again
		time.Sleep(time.Second)
		synctest.Wait()
		const all = "1 accepted, 11 requeued, 12 requeued, 13 requeued, 2 accepted, 3 accepted, 4 accepted"
		s.settledIs(t, all)
		s.deliver(again(f, 14))
		s.deliver(again(f, 15))
		synctest.Wait()
		s.settledIs(t, strings.Replace(all, ", 2 ", ", 14 accepted, 15 accepted, 2 ", 1))
		s.stats(t, NotificationStats{Received: 9, Handled: 2, Failed: 1, Requeued: 1, Duplicates: 6})
	})
}

// Without a unique id nothing is known to be the same: two events may well say the same.
func TestNoIDNoDuplicate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newNoticeStage(t, nil, on(ran(&sequence{}, "", nil)))
		for token := uint64(1); token < 4; token++ {
			d := event(7, "e")
			d.Token, d.UniqueID = token, ""
			s.deliver(d)
		}
		synctest.Wait()
		s.settledIs(t, "1 accepted, 2 accepted, 3 accepted")
		s.stats(t, NotificationStats{Received: 3, Handled: 3})
	})
}

// The window is bounded by count and by age.
func TestNotificationWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newNoticeStage(t, &NotificationListenerOptions{DedupeSize: 2, DedupeAge: time.Minute}, on(ran(&sequence{}, "", nil)))
		first := event(1, "e")
		for _, d := range []*driver.Delivery{first, event(2, "e"), event(3, "e"), again(first, 4), again(first, 5)} {
			s.deliver(d)
			synctest.Wait()
		}
		s.stats(t, NotificationStats{Received: 5, Handled: 4, Duplicates: 1})
		time.Sleep(2 * time.Minute)
		s.deliver(again(first, 6))
		synctest.Wait()
		s.stats(t, NotificationStats{Received: 6, Handled: 5, Duplicates: 1})
	})
}

// Concurrency bounds what is handled, and what is taken from the broker.
func TestNotificationConcurrency(t *testing.T) {
	for _, concurrency := range []int{1, 3, 64} {
		t.Run(strconv.Itoa(concurrency), func(t *testing.T) {
			var running, most atomic.Int64
			seq := &sequence{}
			r := newRig(t, nil)
			l := listen(t, r.Transport, &NotificationListenerOptions{Concurrency: concurrency}, on(func(_ context.Context, n *Notification) error {
				now := running.Add(1)
				for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
				}
				seq.add("%s", n.EventType)
				runtime.Gosched()
				running.Add(-1)
				return nil
			}))
			const count = 300
			n := NewNotifier(r.Transport, nil)
			var sent []string
			for i := range count {
				sent = append(sent, strconv.Itoa(i))
				if err := n.Info(t.Context(), sent[i], nil); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "all are handled", func() bool { return l.Stats().Handled == count })
			if most.Load() > int64(concurrency) || concurrency == 1 && !slices.Equal(seq.all(), sent) {
				t.Errorf("%d at once; %v", most.Load(), seq.all())
			}
		})
	}
}

// slowly is a handler that takes a second.
func slowly(seq *sequence) NotificationHandler {
	return func(ctx context.Context, n *Notification) error {
		seq.add("%s begins", n.EventType)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
		seq.add("%s ends", n.EventType)
		return nil
	}
}

// byLetter orders by the first letter of the event type; "?" panics.
func byLetter(n *Notification) string {
	if n.EventType[0] == '?' {
		panic("no key")
	}
	return strings.TrimSpace(n.EventType[:1])
}

func TestNotificationOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seq := &sequence{}
		s := newNoticeStage(t, &NotificationListenerOptions{OrderBy: byLetter}, on(slowly(seq)))
		at := time.Now()
		for i := range 5 {
			for j, key := range []string{"a", "b", " "} {
				s.deliver(event(uint64(3*i+j+1), fmt.Sprint(key, i)))
			}
		}
		synctest.Wait()
		if got := s.listener.Stats().Running; got != 15 {
			t.Errorf("%d run or wait", got)
		}
		eventually(t, "all are handled", func() bool { return s.listener.Stats().Handled == 15 })
		if took := time.Since(at).Round(time.Second); took != 5*time.Second {
			t.Errorf("took %s", took)
		}
		for _, key := range []string{"a", "b"} {
			var want []string
			for i := range 5 {
				want = append(want, fmt.Sprint(key, i, " begins"), fmt.Sprint(key, i, " ends"))
			}
			if got := slices.DeleteFunc(seq.all(), func(n string) bool { return n[:1] != key }); !slices.Equal(got, want) {
				t.Error(got)
			}
		}
	})
}

// Whatever a handler does, the next of its key begins; a key that cannot be had is a failure.
func TestNotificationOrderSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep := on(func(_ context.Context, n *Notification) error {
			switch n.EventType {
			case "a panics":
				panic("oops")
			case "a goexit":
				runtime.Goexit()
			case "a fails":
				return errors.New("no")
			case "? no key":
				t.Error("it was handled")
			}
			return nil
		})
		s := newNoticeStage(t, &NotificationListenerOptions{OrderBy: byLetter, Failure: failing(-1)}, ep)
		s.inbox <- []*driver.Delivery{
			event(1, "a panics"), event(2, "a"), event(3, "a goexit"), event(4, "a"), event(5, "a goexit"), event(6, "? no key"), event(7, "a fails"), event(8, "a"),
		}
		synctest.Wait()
		s.settledIs(t, "2 accepted, 4 accepted, 8 accepted")
		time.Sleep(time.Second)
		synctest.Wait()
		s.settledIs(t, "1 requeued, 2 accepted, 3 requeued, 4 accepted, 5 requeued, 6 requeued, 7 requeued, 8 accepted")
		s.stats(t, NotificationStats{Received: 8, Handled: 3, Failed: 5, Requeued: 5})
		if log := s.logged(); strings.Count(log, "stack=") != 2 || strings.Count(log, "ended its goroutine") < 2 {
			t.Error(log)
		}
	})
}

// A listener whose driver calls it: every slot is given back, whatever became of the notification.
func TestNotificationSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep := on(func(_ context.Context, n *Notification) error {
			switch n.EventType {
			case "fails":
				return errors.New("no")
			case "goexit":
				runtime.Goexit()
			case "requeue":
				return ErrRequeue
			}
			return nil
		})
		s := newNoticeStage(t, nil, ep, func(s *noticeStage, _ *faults, _ *Options) { s.receives = true })
		d := event(1, "e")
		for _, each := range []*driver.Delivery{
			d, again(d, 2), event(3, "fails"), event(4, "goexit"), event(5, "requeue"), rawEvent(6, "{}"), rawEvent(7, `{"priority":"error"}`), withToken(castOf("c", "m", "{}"), 8),
		} {
			s.deliver(each)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := s.released.Load(); got != 8 || s.listener.Stats().Running != 0 {
			t.Errorf("%d slots released, %+v", got, s.listener.Stats())
		}
		s.settledIs(t, "1 accepted, 2 accepted, 3 rejected, 4 rejected, 5 requeued, 6 rejected, 7 accepted, 8 rejected")
	})
}

// A handler that always fails, for many notifications: all end in the dead-letter topic, with
// bounded concurrency, and each after as many tries as the policy says.
func TestRequeueStorm(t *testing.T) {
	const count, concurrency, times = 1000, 16, 3
	var running, most, calls atomic.Int64
	r := newRig(t, &Options{Logger: (&recorder{}).logger()})
	buried := make(map[string]string)
	dead := make(chan *Notification, count)
	l2 := NewNotificationListener(r.Transport, []Target{{Topic: "dead"}}, nil, on(func(_ context.Context, n *Notification) error { dead <- n; return nil }))
	served := make(chan error, 1)
	go func() { served <- l2.Serve(context.Background()) }()
	wait(t, l2.Ready(), "the listener of dead letters")
	l := listen(t, r.Transport, &NotificationListenerOptions{Concurrency: concurrency, Failure: FailurePolicy{
		RequeueErrors: true, MaxRequeues: times - 1, Delay: time.Millisecond, MaxDelay: 2 * time.Millisecond, DeadLetterTopic: "dead",
	}}, on(func(context.Context, *Notification) error {
		now := running.Add(1)
		for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
		}
		calls.Add(1)
		defer running.Add(-1)
		return errors.New("always")
	}))
	n := NewNotifier(r.Transport, nil)
	for i := range count {
		if err := n.Info(t.Context(), fmt.Sprint("e", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	for range count {
		letter := wait(t, dead, "a dead letter")
		buried[letter.EventType] = letter.Headers[DeadLetterReason] + " " + letter.Headers[DeadLetterAttempts] + " " + letter.Headers[DeadLetterError]
	}
	eventually(t, "all are settled", func() bool { return l.Stats().Running == 0 })
	for e, why := range buried {
		if why != "requeued too often 3 always" {
			t.Errorf("%s: %s", e, why)
		}
	}
	s := l.Stats()
	if len(buried) != count || s.DeadLettered != count || s.Requeued != count*(times-1) || s.Failed != count*times || calls.Load() != count*times || most.Load() > concurrency || s.Dropped != 0 {
		t.Errorf("%d buried, %d calls, %d at once, %+v", len(buried), calls.Load(), most.Load(), s)
	}
	t.Logf("%d notifications, %d calls, at most %d at once", count, calls.Load(), most.Load())
	if err := l2.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-served //nolint:errcheck // it was shut down
}
