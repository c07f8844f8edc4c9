// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// noting returns a handler of batches that notes their sizes, or what is in small ones.
func noting(seq *sequence, err error) NotificationBatchHandler {
	return func(_ context.Context, batch []*Notification) error {
		if len(batch) > 5 {
			seq.add("%s %d", batch[0].Priority, len(batch))
			return err
		}
		var names []string
		for _, n := range batch {
			names = append(names, n.EventType)
		}
		seq.add("%s", strings.Join(names, ""))
		return err
	}
}

// The case of upstream's functional tests: 205 messages in batches of 100.
func TestBatchSizes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seq := &sequence{}
		s := newNoticeStage(t, &NotificationListenerOptions{Batch: &BatchOptions{Size: 100, Timeout: 2 * time.Second}}, onBatch(noting(seq, nil)))
		at := time.Now()
		for i := range 200 {
			s.deliver(event(uint64(i+1), "e"))
		}
		synctest.Wait()
		if got := strings.Join(seq.all(), ", "); got != "info 100, info 100" || time.Since(at) != 0 {
			t.Errorf("%s after %s", got, time.Since(at))
		}
		for i, e := range []string{"a", "b", "c", "d", "e"} {
			time.Sleep(100 * time.Millisecond)
			s.deliver(event(uint64(i+201), e))
		}
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		if len(seq.all()) != 2 {
			t.Errorf("too early: %v", seq.all())
		}
		time.Sleep(100 * time.Millisecond) // 2 s after the first of them
		synctest.Wait()
		if got := strings.Join(seq.all(), ", "); got != "info 100, info 100, abcde" {
			t.Error(got)
		}
		s.stats(t, NotificationStats{Received: 205, Handled: 205})
	})
}

// Each priority has batches of its own.
func TestBatchesOfPriorities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seq := &sequence{}
		ep := onBatch(noting(seq, nil))
		ep.HandleBatch(PriorityError, noting(seq, nil))
		s := newNoticeStage(t, &NotificationListenerOptions{Batch: &BatchOptions{Size: 2}}, ep)
		of := func(token uint64, p, e string) *driver.Delivery {
			return rawEvent(token, fmt.Sprintf(`{"priority":%q,"event_type":%q}`, p, e))
		}
		s.inbox <- []*driver.Delivery{of(1, "INFO", "a"), of(2, "ERROR", "x"), of(3, "INFO", "b"), of(4, "INFO", "c")}
		synctest.Wait()
		if got := seq.all(); !slices.Equal(got, []string{"ab"}) {
			t.Error(got)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := slices.Sorted(slices.Values(seq.all())); !slices.Equal(got, []string{"ab", "c", "x"}) {
			t.Error(got)
		}
		s.settledIs(t, "1 accepted, 2 accepted, 3 accepted, 4 accepted")
	})
}

// What became of each notification of a batch.
func TestBatchFailures(t *testing.T) {
	no := errors.New("no")
	for _, tt := range []struct {
		name    string
		handler NotificationBatchHandler
		want    string // after the delay
	}{
		{"all are done", func(context.Context, []*Notification) error { return nil }, "1 accepted, 2 accepted, 3 accepted"},
		{"one comes again", func(context.Context, []*Notification) error { return FailedNotifications{1: ErrRequeue} }, "1 accepted, 2 requeued, 3 accepted"},
		{"one of each", func(context.Context, []*Notification) error {
			return fmt.Errorf("some: %w", FailedNotifications{0: no, 1: fmt.Errorf("later: %w", ErrRequeue), 2: nil})
		}, "1 rejected, 2 requeued, 3 accepted"},
		{"none", func(context.Context, []*Notification) error { return FailedNotifications{} }, "1 accepted, 2 accepted, 3 accepted"},
		{"a place that is none", func(context.Context, []*Notification) error { return FailedNotifications{0: no, 3: no} }, "1 rejected, 2 rejected, 3 rejected"},
		{"all come again", func(context.Context, []*Notification) error { return ErrRequeue }, "1 requeued, 2 requeued, 3 requeued"},
		{"all fail", func(context.Context, []*Notification) error { return no }, "1 rejected, 2 rejected, 3 rejected"},
		{"panic", func(context.Context, []*Notification) error { panic(no) }, "1 rejected, 2 rejected, 3 rejected"},
		{"goexit", func(context.Context, []*Notification) error { runtime.Goexit(); return nil }, "1 rejected, 2 rejected, 3 rejected"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newNoticeStage(t, &NotificationListenerOptions{Concurrency: 1, Batch: &BatchOptions{Size: 3}}, onBatch(tt.handler))
				for round := range uint64(2) { // the second shows that the first did no harm
					s.inbox <- []*driver.Delivery{event(10*round+1, "a"), event(10*round+2, "b"), event(10*round+3, "c")}
					synctest.Wait()
				}
				time.Sleep(time.Second)
				synctest.Wait()
				second := strings.NewReplacer("1 ", "11 ", "2 ", "12 ", "3 ", "13 ").Replace(tt.want)
				want := slices.Sorted(slices.Values(strings.Split(tt.want+", "+second, ", ")))
				s.settledIs(t, strings.Join(want, ", "))
				if s.listener.Stats().Running != 0 {
					t.Errorf("%+v", s.listener.Stats())
				}
				if log := s.logged(); strings.Count(log, "stack=") != map[bool]int{true: 2}[tt.name == "panic"] {
					t.Error(log)
				}
			})
		})
	}
}

// Handlers of batches and of single notifications together: in the order they were registered, the
// first failure keeps a notification, and no other, from the later ones.
func TestMixedHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seq := &sequence{}
		ep := on(func(_ context.Context, n *Notification) error {
			seq.add("single %s", n.EventType)
			switch n.EventType {
			case "b":
				return errors.New("no")
			case "c":
				runtime.Goexit()
			}
			return nil
		})
		ep.HandleBatch(PriorityInfo, noting(seq, nil))
		Event[any]{Type: "d"}.Handle(ep, func(context.Context, *Notification, any) error { seq.add("typed d"); return nil })
		ep.Handle(PriorityAudit, ran(seq, "audit", nil))
		s := newNoticeStage(t, &NotificationListenerOptions{Concurrency: 1, Batch: &BatchOptions{Size: 4}}, ep)
		s.inbox <- []*driver.Delivery{event(1, "a"), event(2, "b"), rawEvent(9, `{"priority":"audit","event_type":"x"}`), event(3, "c"), event(4, "d")}
		synctest.Wait()
		want := "audit x, single a, single b, single c, single d, ad, typed d"
		if got := strings.Join(seq.all(), ", "); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		s.settledIs(t, "1 accepted, 2 rejected, 3 rejected, 4 accepted, 9 accepted")
		s.stats(t, NotificationStats{Received: 5, Handled: 3, Failed: 2, Dropped: 2})
	})
}

// What a filter keeps from the handlers of batches does not wait for one, or make it smaller.
func TestBatchesAreFiltered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seq := &sequence{}
		ep := NewNotificationEndpoint(&NotificationEndpointOptions{Filter: &NotificationFilter{EventType: "[a-c]"}})
		ep.HandleBatch(PriorityInfo, noting(seq, nil))
		r := newRig(t, nil)
		l := listen(t, r.Transport, &NotificationListenerOptions{Batch: &BatchOptions{Size: 3}}, ep, on(ran(seq, "single", nil)))
		n := NewNotifier(r.Transport, nil)
		for _, e := range []string{"a", "x", "b", "y", "c"} {
			if err := n.Info(t.Context(), e, nil); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		want := "single x, single y, abc, single a, single b, single c"
		if got := strings.Join(seq.all(), ", "); got != want || l.Stats().Handled != 5 {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

// With Concurrency 1 batches come one after another, in order; a batch whose time is over goes on
// to fill while nobody is free.
func TestBatchOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seq := &sequence{}
		ep := onBatch(func(ctx context.Context, batch []*Notification) error {
			defer time.Sleep(10 * time.Second)
			return noting(seq, nil)(ctx, batch)
		})
		s := newNoticeStage(t, &NotificationListenerOptions{Concurrency: 1, Batch: &BatchOptions{Size: 3}}, ep)
		var want []string
		token := uint64(0)
		deliver := func(names string) {
			for _, r := range names {
				token++
				s.deliver(event(token, string(r)))
				want = append(want, string(r))
			}
		}
		deliver("abcd")
		time.Sleep(2 * time.Second) // the time of d is over
		deliver("e")
		time.Sleep(2 * time.Second)
		deliver("fgh")
		time.Sleep(40 * time.Second)
		synctest.Wait()
		if got := seq.all(); !slices.Equal(got, []string{"abc", "def", "gh"}) || strings.Join(got, "") != strings.Join(want, "") {
			t.Error(got)
		}
		if s.listener.Stats().Handled != 8 {
			t.Errorf("%+v", s.listener.Stats())
		}
	})
}

// Concurrency bounds the batches and single notifications that are handled at once.
func TestBatchConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var began sequence
		ep := onBatch(func(context.Context, []*Notification) error { began.add("batch"); <-release; return nil })
		ep.Handle(PriorityAudit, func(context.Context, *Notification) error { began.add("single"); <-release; return nil })
		s := newNoticeStage(t, &NotificationListenerOptions{Concurrency: 2, Batch: &BatchOptions{Size: 2}}, ep)
		for i := range uint64(6) {
			s.deliver(rawEvent(i+1, `{"priority":"audit"}`))
		}
		synctest.Wait()
		if got := len(began.all()); got != 2 {
			t.Errorf("%d single ones at once", got)
		}
		if s.listener.Stats().Received != 6 { // 2 for each batch handled, and one that fills
			t.Errorf("%+v", s.listener.Stats())
		}
		close(release)
		synctest.Wait()
		if s.listener.Stats().Handled != 6 {
			t.Errorf("%+v", s.listener.Stats())
		}
	})
}

// A handler of batches sees no request context but those of its notifications.
func TestBatchContext(t *testing.T) {
	type key struct{}
	got := make(chan bool, 1)
	r := newRig(t, nil)
	l := NewNotificationListener(r.Transport, noticeTargets, &NotificationListenerOptions{Batch: &BatchOptions{Size: 1}}, onBatch(func(ctx context.Context, batch []*Notification) error {
		_, has := RequestContextFrom(ctx)
		_, one := NotificationFrom(ctx)
		got <- !has && !one && ctx.Value(key{}) == "value" && batch[0].Context["user"] == "u"
		return nil
	}))
	served := make(chan error, 1)
	ctx := WithRequestContext(context.WithValue(context.Background(), key{}, "value"), RequestContext{"user": "server's"})
	go func() { served <- l.Serve(ctx) }()
	wait(t, l.Ready(), "the listener")
	if err := NewNotifier(r.Transport, nil).Info(WithRequestContext(t.Context(), RequestContext{"user": "u"}), "e", nil); err != nil {
		t.Fatal(err)
	}
	if !wait(t, got, "the batch") {
		t.Error("the wrong context")
	}
	if err := l.Shutdown(t.Context()); err != nil || !errors.Is(<-served, ErrServerClosed) {
		t.Error(err)
	}
}
