// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// The cases of oslo_messaging/tests/notify/test_notifier.py, on real drivers.

// notifierCase is one of upstream's 1008.
type notifierCase struct {
	formats  []messaging.NotificationFormat
	ctor     string
	prepare  string
	topics   []string
	priority messaging.Priority
	retry    []messaging.NotifierOption
}

func notifierCases() []notifierCase {
	type format = messaging.NotificationFormat
	var all []notifierCase
	for _, formats := range [][]format{nil, {messaging.NotificationV1}, {messaging.NotificationV2}, {messaging.NotificationV1, messaging.NotificationV2}} {
		for _, id := range [][2]string{{"test", ""}, {"", "test.localhost"}, {"test", "test.localhost"}} {
			for _, topics := range [][]string{nil, {"notifications"}, {"foo", "bar"}} {
				for _, priority := range messaging.Priorities() {
					for _, retry := range [][]messaging.NotifierOption{nil, {messaging.NotifyRetry(-1)}, {messaging.NotifyRetry(0)}, {messaging.NotifyRetry(5)}} {
						all = append(all, notifierCase{formats, id[0], id[1], topics, priority, retry})
					}
				}
			}
		}
	}
	return all
}

// notifier is that of the case. Upstream's without drivers sends nothing, and ours has an outlet that
// does nothing: without any it would have the default one.
func (c notifierCase) notifier(tr *messaging.Transport) *messaging.Notifier {
	o := &messaging.NotifierOptions{PublisherID: c.ctor, Timeout: patience}
	for _, f := range c.formats {
		o.Outlets = append(o.Outlets, messaging.BrokerOutlet(f))
	}
	if len(c.formats) == 0 {
		o.Outlets = []messaging.Outlet{messaging.OutletFunc(func(context.Context, *messaging.Notification) error { return nil })}
	}
	opts := append([]messaging.NotifierOption{messaging.Topics(c.topics...)}, c.retry...)
	if c.prepare != "" {
		opts = append(opts, messaging.PublisherID(c.prepare))
	}
	return messaging.NewNotifier(tr, o).With(opts...)
}

// want are the notifications of the case, in the words of arrived.
func (c notifierCase) want(event string) (all []string) {
	publisher := c.ctor
	if c.prepare != "" {
		publisher = c.prepare
	}
	for range c.formats {
		for range max(len(c.topics), 1) {
			all = append(all, fmt.Sprintf(`%s %s {"foo": "bar"} %s`, c.priority, event, publisher))
		}
	}
	return all
}

// TestNotifierCombinations are upstream's 1008: what is sent arrives, once for each format and topic.
// Without topics, with which upstream sends nothing, there is the default one.
func TestNotifierCombinations(t *testing.T) {
	onNotifyWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		var b inbox
		listen(t, tr, topics("notifications", "foo", "bar"), nil, b.endpoint())
		cases := notifierCases()
		if len(cases) != 1008 {
			t.Fatalf("%d cases", len(cases))
		}
		ctx := messaging.WithRequestContext(t.Context(), messaging.RequestContext{"user_name": "bob"})
		var want []string
		for i, c := range cases {
			n := c.notifier(tr)
			event := fmt.Sprint("test.notify.", i)
			if err := n.Notify(ctx, c.priority, event, map[string]any{"foo": "bar"}); err != nil || !n.Enabled() {
				t.Fatalf("%+v: %v, enabled %t", c, err, n.Enabled())
			}
			want = append(want, c.want(event)...)
		}
		wantSet(t, "the listener", b.wait(t, len(want)), want)
		ids := make(map[string]string) // of the events
		for _, n := range b.notifications() {
			if id := ids[n.EventType]; id != "" && id != n.MessageID {
				t.Errorf("%s has the message ids %s and %s", n.EventType, id, n.MessageID)
			}
			ids[n.EventType] = n.MessageID
			if n.Context["user_name"] != "bob" || time.Since(n.Timestamp).Abs() > time.Minute*5 {
				t.Errorf("got %+v", n)
			}
		}
	})
}

// TestNotifierRetryConnectionFails: to a broker that is not there N retries are N + 1 tries, and the
// notifier says so, which upstream's does not.
func TestNotifierRetryConnectionFails(t *testing.T) {
	w := worldWith(t, testbed.NeedRestart)
	w.url = "rabbit://guest:guest@127.0.0.1:1/"
	for _, retries := range []int{0, 2} {
		tr := w.open(t, messaging.Options{})
		n := messaging.NewNotifier(tr, &messaging.NotifierOptions{Topics: []string{"test-retry"}, Timeout: patience}).With(messaging.NotifyRetry(retries))
		if err := n.Info(soon(t), "test", nil); !errors.Is(err, messaging.ErrUnavailable) {
			t.Errorf("%d retries: %v", retries, err)
		}
		if s := tr.Stats(); s.Retries != uint64(retries) || s.NotificationsFailed != 1 {
			t.Errorf("%d retries: %+v", retries, s)
		}
	}
}

// hooks is a serializer that puts words of its own in place of everything.
type hooks struct{ messaging.Serializer }

func (hooks) Marshal(_ context.Context, v any) ([]byte, error) {
	return fmt.Appendf(nil, "%q", fmt.Sprint("s", v)), nil
}

func (hooks) MarshalContext(context.Context) (messaging.RequestContext, error) {
	return messaging.RequestContext{"user_name": "alice"}, nil
}

// TestNotifierSerializer is TestSerializer.
func TestNotifierSerializer(t *testing.T) {
	onNotifyWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		var b inbox
		listen(t, tr, topics("test"), nil, b.endpoint())
		n := messaging.NewNotifier(tr, &messaging.NotifierOptions{
			PublisherID: "test.localhost", Topics: []string{"test"}, Serializer: hooks{messaging.JSON{}}, Timeout: patience,
		})
		ctx := messaging.WithRequestContext(soon(t), messaging.RequestContext{"user_name": "bob"})
		if err := n.Info(ctx, "test.notify", "bar"); err != nil {
			t.Fatal(err)
		}
		if got := b.wait(t, 1)[0]; got != `info test.notify "sbar" test.localhost` {
			t.Errorf("got %s", got)
		}
		if rc := b.notifications()[0].Context; len(rc) != 1 || rc["user_name"] != "alice" {
			t.Errorf("the context is %v", rc)
		}
	})
}
