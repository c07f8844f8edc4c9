// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// What the context of a handler carries, and when it ends.
func TestNotificationContext(t *testing.T) {
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		kept := make(chan context.Context, 2)
		ep := on(func(ctx context.Context, n *Notification) error {
			from, ok := NotificationFrom(ctx)
			rc, has := RequestContextFrom(ctx)
			_, request := RequestInfoFrom(ctx)
			if !ok || from != n || request || ctx.Value(key{}) != "value" || ctx.Err() != nil || has != (n.EventType == "with") || has && rc["user"] != "u" {
				t.Errorf("%s: %v, %v, %v", n.EventType, ok, rc, request)
			}
			kept <- ctx
			return nil
		})
		r := newRig(t, nil)
		l := NewNotificationListener(r.Transport, noticeTargets, nil, ep)
		served := make(chan error, 1)
		ctx := WithRequestContext(context.WithValue(t.Context(), key{}, "value"), RequestContext{"user": "of Serve"})
		go func() { served <- l.Serve(ctx) }()
		<-l.Ready()
		n := NewNotifier(r.Transport, nil)
		if err := n.Info(t.Context(), "without", nil); err != nil {
			t.Fatal(err)
		}
		if err := n.Info(WithRequestContext(t.Context(), RequestContext{"user": "u"}), "with", nil); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			synctest.Wait()
			ended := <-kept
			<-ended.Done()
			if ended.Err() != context.Canceled {
				t.Error(ended.Err())
			}
		}
		if err := l.Shutdown(t.Context()); err != nil || !errors.Is(<-served, ErrServerClosed) {
			t.Error(err)
		}
		if _, ok := NotificationFrom(t.Context()); ok {
			t.Error("a notification from nowhere")
		}
	})
}

// upper is a serializer that reads texts in upper case.
type upper struct{ requestUsers }

func (upper) Unmarshal(ctx context.Context, data []byte, v any) error {
	if ctx.Value(requestUserKey{}) == nil {
		return errors.New("no user in the context")
	}
	return decodeInto([]byte(strings.ToUpper(string(data))), v)
}

// The application's serializer makes the contexts of handlers, and decodes typed payloads.
func TestNotificationSerializer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep := NewNotificationEndpoint(nil)
		seq := &sequence{}
		Event[string]{Type: "e"}.Handle(ep, func(ctx context.Context, n *Notification, p string) error {
			user, _ := ctx.Value(requestUserKey{}).(requestUser)
			from, _ := NotificationFrom(ctx)
			seq.add("%s %s %v", user.Name, p, from == n)
			return nil
		})
		s := newNoticeStage(t, &NotificationListenerOptions{Serializer: upper{}, Failure: failing(-1)}, ep)
		d := rawEvent(1, `{"priority":"info","event_type":"e","payload":"text"}`)
		d.Context = []byte(`{"user":"alice"}`)
		s.deliver(d)
		s.deliver(rawEvent(2, `{"priority":"info","event_type":"e","payload":"text"}`)) // nobody's
		synctest.Wait()
		time.Sleep(time.Minute)
		// What has no context that the serializer understands never will: it does not come again.
		s.settledIs(t, "1 accepted, 2 rejected")
		if got := strings.Join(seq.all(), ", "); got != "alice TEXT true" || !strings.Contains(s.logged(), "no user") {
			t.Errorf("%s; %s", got, s.logged())
		}
	})
}

// Every record about a notification says which: the listener's own and the handlers'.
func TestListenerLogsWithTheNotification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &recorder{}
		logger := slog.New(NewLogHandler(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}), nil))
		ep := on(func(ctx context.Context, n *Notification) error {
			logger.InfoContext(ctx, "from the handler")
			switch n.EventType {
			case "panic":
				panic("oops")
			case "requeue":
				return ErrRequeue
			case "dropped":
				return errors.New("no")
			}
			return nil
		})
		s := newNoticeStage(t, &NotificationListenerOptions{Logger: logger}, ep)
		for i, e := range []string{"fine", "panic", "requeue", "dropped"} {
			d := event(uint64(i+1), e)
			d.Context = []byte(`{"request_id":"req-7","auth_token":"hunter2"}`)
			s.deliver(d)
		}
		d := rawEvent(9, `{"message_id":"m9","publisher_id":"p","event_type":"e","priority":"none"}`)
		d.Context = []byte(`{"request_id":"req-7"}`)
		s.deliver(d)
		synctest.Wait()
		found := make(map[string]bool)
		for _, line := range log.all() {
			for _, text := range []string{"from the handler", "handler panicked", "notification requeued", "its handler failed", "it cannot be understood"} {
				if !strings.Contains(line, text) {
					continue
				}
				found[text] = true
				for _, one := range []string{"request_id=req-7", " event_type=", " publisher_id=", " message_id=m"} {
					if strings.Count(line, one) != 1 {
						t.Errorf("%s: %s", one, line)
					}
				}
			}
			if strings.Contains(line, "hunter2") {
				t.Error("a secret was logged")
			}
		}
		if len(found) != 5 {
			t.Errorf("%v", found)
		}
	})
}

// Pools: each gets all, the listeners of one share them.
func TestPoolsOfListeners(t *testing.T) {
	r := newRig(t, nil)
	const count = 100
	pools := map[string][]*NotificationListener{}
	for _, pool := range []string{"", "a", "a", "b", "b", "b"} {
		pools[pool] = append(pools[pool], listen(t, r.Transport, &NotificationListenerOptions{Pool: pool, Concurrency: 4}, on(ran(&sequence{}, "", nil))))
	}
	n := NewNotifier(r.Transport, nil)
	for range count {
		if err := n.Info(t.Context(), "e", nil); err != nil {
			t.Fatal(err)
		}
	}
	for pool, listeners := range pools {
		eventually(t, "pool "+pool+" has all", func() bool {
			var sum uint64
			for _, l := range listeners {
				sum += l.Stats().Handled
			}
			return sum == count
		})
	}
}

// Two targets, also of two exchanges, are one stream.
func TestTargetsOfAListener(t *testing.T) {
	r := newRig(t, nil)
	got := make(chan string, 4)
	l := NewNotificationListener(r.Transport, []Target{{Topic: "a"}, {Topic: "b", Exchange: "other"}}, nil, on(func(_ context.Context, n *Notification) error {
		got <- n.EventType
		return nil
	}))
	served := make(chan error, 1)
	go func() { served <- l.Serve(context.Background()) }()
	wait(t, l.Ready(), "the listener")
	for _, target := range []driver.Target{{Exchange: "openstack", Topic: "a"}, {Exchange: "other", Topic: "b"}, {Exchange: "openstack", Topic: "b"}} {
		m := &driver.Message{Kind: driver.Notification, Target: target, Priority: "info", UniqueID: newID(), Body: []byte(`{"priority":"INFO","event_type":"` + target.Exchange + `"}`)}
		if err := r.faults.Send(t.Context(), []*driver.Message{m}); err != nil {
			t.Fatal(err)
		}
	}
	first, second := wait(t, got, "one"), wait(t, got, "the other")
	if first == second || len(got) != 0 {
		t.Error(first, second, len(got))
	}
	if err := l.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-served //nolint:errcheck // it was shut down
}
