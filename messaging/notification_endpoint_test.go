// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/parleymq/parley/plugin/driver"
)

// ran returns a handler that notes that it ran.
func ran(seq *sequence, name string, err error) NotificationHandler {
	return func(_ context.Context, n *Notification) error {
		seq.add("%s %s", name, n.EventType)
		return err
	}
}

func TestHandlersOfAPriority(t *testing.T) {
	for _, p := range Priorities() {
		t.Run(string(p), func(t *testing.T) {
			seq := &sequence{}
			first, second := NewNotificationEndpoint(nil), NewNotificationEndpoint(nil)
			for _, each := range Priorities() {
				first.Handle(each, ran(seq, "first "+string(each), nil))
			}
			second.Handle(p, ran(seq, "second", nil))
			first.Handle(p, ran(seq, "third", nil))
			r := newRig(t, nil)
			l := listen(t, r.Transport, nil, first, second)
			if err := NewNotifier(r.Transport, nil).Notify(t.Context(), p, "e", nil); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it is handled", func() bool { return l.Stats().Handled == 1 })
			want := []string{"first " + string(p) + " e", "third e", "second e"}
			if got := seq.all(); !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

// listen runs a listener until the test ends, and returns it once it listens.
func listen(t testing.TB, tr *Transport, opts *NotificationListenerOptions, eps ...*NotificationEndpoint) *NotificationListener {
	t.Helper()
	l := NewNotificationListener(tr, noticeTargets, opts, eps...)
	served := make(chan error, 1)
	go func() { served <- l.Serve(context.Background()) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := l.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		<-served //nolint:errcheck // how Serve ends is another test
	})
	select {
	case <-l.Ready():
	case err := <-served:
		served <- err
		t.Fatalf("Serve: %v", err)
	}
	return l
}

// Only the priorities that somebody handles are listened to.
func TestListensToWhatIsHandled(t *testing.T) {
	ep := NewNotificationEndpoint(nil)
	ep.Handle(PriorityError, ran(&sequence{}, "", nil))
	ep.HandleBatch(PriorityAudit, func(context.Context, []*Notification) error { return nil })
	s := newNoticeStage(t, &NotificationListenerOptions{Pool: "billing"}, ep)
	var got []string
	for _, n := range s.source.Notifications {
		got = append(got, n.Exchange+"/"+n.Topic+"."+n.Priority)
	}
	if fmt.Sprint(got) != "[openstack/notifications.audit openstack/notifications.error]" || s.source.Pool != "billing" || s.source.Settle != driver.SettleOnDone {
		t.Errorf("%v, %+v", got, s.source)
	}
}

// As upstream: the first handler that fails keeps the notification from the later ones.
func TestFirstFailureEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want NotificationStats
	}{
		{"error", errors.New("no"), NotificationStats{Received: 1, Failed: 1, Dropped: 1}},
		{"requeue", ErrRequeue, NotificationStats{Received: 1, Failed: 1, Running: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seq := &sequence{}
				ep := on(ran(seq, "first", nil))
				ep.Handle(PriorityInfo, ran(seq, "second", tt.err))
				ep.Handle(PriorityInfo, ran(seq, "third", nil))
				s := newNoticeStage(t, nil, ep)
				s.deliver(event(1, "e"))
				synctest.Wait()
				s.stats(t, tt.want)
				if got := strings.Join(seq.all(), ", "); got != "first e, second e" {
					t.Error(got)
				}
			})
		})
	}
}

type instance struct {
	N int `json:"n"`
}

func TestTypedHandlers(t *testing.T) {
	created := Event[instance]{Type: "created"}
	deleted := Event[instance]{Type: "deleted", Priority: PriorityInfo}
	broken := Event[[]string]{Type: "broken"}
	synctest.Test(t, func(t *testing.T) {
		seq := &sequence{}
		ep := NewNotificationEndpoint(nil)
		created.Handle(ep, func(ctx context.Context, n *Notification, p instance) error {
			seq.add("created %d of %s", p.N, n.PublisherID)
			return nil
		})
		deleted.Handle(ep, func(_ context.Context, _ *Notification, p instance) error {
			seq.add("deleted %d", p.N)
			return nil
		})
		broken.Handle(ep, func(context.Context, *Notification, []string) error {
			t.Error("a payload that does not fit was handed over")
			return nil
		})
		s := newNoticeStage(t, &NotificationListenerOptions{Failure: failing(3)}, ep)
		for i, e := range []string{"created", "deleted", "broken", "other", "created.not"} {
			s.deliver(event(uint64(i+1), e))
			synctest.Wait()
		}
		if got := strings.Join(seq.all(), ", "); got != "created 1 of compute.host1, deleted 2" {
			t.Error(got)
		}
		// A payload that does not fit never will: it does not come again.
		s.settledIs(t, "1 accepted, 2 accepted, 3 rejected, 4 accepted, 5 accepted")
		s.stats(t, NotificationStats{Received: 5, Handled: 2, Failed: 1, Dropped: 1, Unwanted: 2})
	})
}

// What a handler gets.
func TestNotificationFields(t *testing.T) {
	got := make(chan *Notification, 1)
	s := newNoticeStage(t, nil, on(func(_ context.Context, n *Notification) error { got <- n; return nil }))
	d := event(1, "e")
	d.Redelivered, d.Headers, d.Context = true, map[string]string{"h": "v"}, []byte(`{"request_id":"r","n":12345678901234567890}`)
	s.deliver(d)
	n := wait(t, got, "the notification")
	if n.MessageID != "m1" || n.PublisherID != "compute.host1" || n.EventType != "e" || n.Priority != PriorityInfo || string(n.Payload) != `{"n":1}` ||
		n.Timestamp.String() != "2026-01-02 03:04:05.000006 +0000 UTC" || n.Context["request_id"] != "r" || n.Headers["h"] != "v" ||
		n.Format != NotificationV2 || !n.Redelivered || n.Attempt != 1 {
		t.Errorf("%+v", n)
	}
}
