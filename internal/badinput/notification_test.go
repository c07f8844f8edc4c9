// SPDX-License-Identifier: Apache-2.0

package badinput

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

// TestMalformedNotifications puts what no notifier sends into a listener's queue: it is dropped with
// a record that says why, or handled with what is missing left empty. What comes after it is handled,
// and nothing is left, acknowledged or not. What is wrong is inside the envelope, which is the core's
// to read: the wire of RabbitMQ is enough, and the one that can be written by hand.
func TestMalformedNotifications(t *testing.T) {
	broker := bed.Broker(t)
	vhost := broker.NewVhost(t)
	tr, logs := bed.Open(t, broker.URL(vhost))
	handled := listenTo(t, tr, "n")
	notifier := messaging.NewNotifier(tr, &messaging.NotifierOptions{Topics: []string{"n"}})
	ch := testbed.NewRawPeer(t, broker, vhost)
	next := func(t *testing.T) *messaging.Notification {
		t.Helper()
		select {
		case n := <-handled:
			return n
		case <-within(t, patience).Done():
			t.Fatal("nothing is handled")
			return nil
		}
	}
	const rest = `"message_id": "m", "publisher_id": "p", "event_type": "bad", "payload": {}, "timestamp": "2024-01-01 00:00:00"`
	for _, tc := range []struct {
		name, inner string
		reason      string // of the record; empty when it is handled
	}{
		{"priority null", `{"priority": null, ` + rest + `}`, "it has no priority"},
		{"no priority", `{` + rest + `}`, "it has no priority"},
		{"unknown priority", `{"priority": "FATAL", ` + rest + `}`, `there is no priority`},
		{"priority is no text", `{"priority": 7, ` + rest + `}`, "priority is not a"},
		{"event type is no text", `{"priority": "INFO", "event_type": {"a": 1}}`, "event_type is not a"},
		{"publisher id is no text", `{"priority": "INFO", "publisher_id": [1]}`, "publisher_id is not a"},
		{"message id is no text", `{"priority": "INFO", "message_id": 7}`, "message_id is not a"},
		{"timestamp is no text", `{"priority": "INFO", "timestamp": 7}`, "timestamp is not a"},
		{"nothing but a priority", `{"priority": "INFO"}`, ""},
		{"all null", `{"priority": "INFO", "message_id": null, "publisher_id": null, "event_type": null, "payload": null, "timestamp": null}`, ""},
		{"priority in small letters", `{"priority": "info", ` + rest + `}`, ""},
		{"payload is a list", `{"priority": "INFO", "event_type": "bad", "payload": [NaN]}`, ""},
		{"timestamp is no time", `{"priority": "INFO", "event_type": "bad", "timestamp": "yesterday"}`, ""},
		{"unknown keys", `{"priority": "INFO", "event_type": "bad", "a": 1, "b": {}}`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			publish(ch, "openstack", "n.info", jsonType, envelope("2.0", tc.inner))
			if tc.reason != "" {
				testbed.Eventually(t, patience, "a record of it", func() bool { return strings.Contains(logs.String(), tc.reason) })
			} else if n := next(t); n.Priority != messaging.PriorityInfo || len(n.Payload) == 0 {
				t.Errorf("handled as %+v", n)
			}
			if err := notifier.Info(t.Context(), "good", tc.name); err != nil {
				t.Fatal(err)
			}
			if n := next(t); n.EventType != "good" || string(n.Payload) != `"`+tc.name+`"` {
				t.Errorf("the next good one: %+v", n)
			}
		})
	}
	testbed.Eventually(t, patience, "nothing is left", func() bool { return waiting(t, broker, vhost) == 0 })
}

// waiting is how many messages are in all queues, those included that are not acknowledged.
func waiting(t *testing.T, broker *peertest.RabbitMQ, vhost string) int {
	t.Helper()
	out, err := broker.Ctl(within(t, patience), "list_queues", "-p", vhost, "name", "messages", "--formatter", "json")
	if err != nil {
		t.Fatal(err)
	}
	var queues []struct {
		Name     string
		Messages int
	}
	if err := json.Unmarshal([]byte(out), &queues); err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, q := range queues {
		sum += q.Messages
	}
	return sum
}

// TestWrongNotifier are notifications that cannot be sent: the error says what to do, and nothing
// was sent.
func TestWrongNotifier(t *testing.T) {
	bed.EachWire(t, testWrongNotifier, testbed.Need(driver.CapNotifications))
}

func testWrongNotifier(t *testing.T, w *testbed.Wire) {
	place := w.New(t)
	tr, _ := bed.Open(t, place.URL)
	dir := t.TempDir()
	heard := listenTo(t, tr, "notifications")
	for _, tc := range []struct {
		name     string
		opts     messaging.NotifierOptions
		priority messaging.Priority
		event    string
		payload  any
		want     error
		texts    []string
	}{
		{"unknown priority", messaging.NotifierOptions{}, "fatal", "e", nil, messaging.ErrConfig, []string{"notify e", `no priority "fatal"`, "audit, debug, info"}},
		{"payload", messaging.NotifierOptions{}, messaging.PriorityInfo, "e", make(chan int), messaging.ErrEncoding, []string{"notify e", "the payload cannot be encoded", "chan int"}},
		{"event type", messaging.NotifierOptions{}, messaging.PriorityInfo, "a\nb", nil, messaging.ErrConfig, []string{`"a\nb" has a control character`}},
		{"publisher id", messaging.NotifierOptions{PublisherID: "a\x00b"}, messaging.PriorityInfo, "e", nil, messaging.ErrConfig, []string{"the publisher id has a control character"}},
		{"topic", messaging.NotifierOptions{Topics: []string{"a.#"}}, messaging.PriorityInfo, "e", nil, messaging.ErrInvalidTarget, []string{"the topic of a notifier has a wildcard"}},
		{"filter", messaging.NotifierOptions{Context: func(messaging.RequestContext) messaging.RequestContext { panic("no") }}, messaging.PriorityInfo, "e", nil,
			messaging.ErrEncoding, []string{"the request context cannot be encoded", "panic: no"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx := messaging.WithRequestContext(t.Context(), messaging.RequestContext{"a": "b"})
			mustSay(t, messaging.NewNotifier(tr, &tc.opts).Notify(ctx, tc.priority, tc.event, tc.payload), tc.want, tc.texts...)
		})
	}
	t.Run("outlet", func(t *testing.T) {
		_, err := messaging.NamedOutlet("messagingv3", nil)
		mustSay(t, err, messaging.ErrConfig, `no outlet "messagingv3"`, "use messaging, messagingv2, log or noop")
	})
	t.Run("spool in use", func(t *testing.T) {
		s, err := messaging.OpenSpool(tr, &messaging.SpoolOptions{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		_, err = messaging.OpenSpool(tr, &messaging.SpoolOptions{Dir: dir})
		mustSay(t, err, messaging.ErrConfig, "is used by another process", "give each its own directory")
		if err := s.Close(within(t, patience)); err != nil {
			t.Error(err)
		}
	})
	// What was sent before it would come before it.
	if err := messaging.NewNotifier(tr, nil).Info(within(t, patience), "good", "all"); err != nil {
		t.Fatal(err)
	}
	select {
	case n := <-heard:
		if n.EventType != "good" {
			t.Errorf("it was sent: %+v", n)
		}
	case <-within(t, patience).Done():
		t.Fatal("nothing is handled")
	}
	if place.Broker != nil { // whose other queues can be looked at
		testbed.Eventually(t, patience, "nothing is left", func() bool { return waiting(t, place.Broker, place.Vhost) == 0 })
	}
}

// listenTo listens to the notifications of a topic with the priority info until the test ends.
func listenTo(t *testing.T, tr *messaging.Transport, topic string) <-chan *messaging.Notification {
	t.Helper()
	handled := make(chan *messaging.Notification, 100)
	ep := messaging.NewNotificationEndpoint(nil)
	ep.Handle(messaging.PriorityInfo, func(_ context.Context, n *messaging.Notification) error {
		handled <- n
		return nil
	})
	testbed.Serve(t, messaging.NewNotificationListener(tr, []messaging.Target{{Topic: topic}}, nil, ep))
	return handled
}

// TestWrongListener are listeners that cannot listen as they were told.
func TestWrongListener(t *testing.T) {
	bed.EachWire(t, testWrongListener, testbed.Need(driver.CapNotifications))
}

func testWrongListener(t *testing.T, w *testbed.Wire) {
	tr, _ := bed.Open(t, w.New(t).URL)
	topic := []messaging.Target{{Topic: "n"}}
	good := messaging.NewNotificationEndpoint(nil)
	good.Handle(messaging.PriorityInfo, func(context.Context, *messaging.Notification) error { return nil })
	for _, tc := range []struct {
		name    string
		targets []messaging.Target
		opts    messaging.NotificationListenerOptions
		ep      *messaging.NotificationEndpoint
		want    error
		texts   []string
	}{
		{"pool named like a queue", topic, messaging.NotificationListenerOptions{Pool: "n.info"}, good, messaging.ErrConfig,
			[]string{`the pool n.info is the name of a queue of topic n`, "name it after the application"}},
		{"pool named like the topic", topic, messaging.NotificationListenerOptions{Pool: "n"}, good, messaging.ErrConfig, []string{"is the name of a queue of topic n"}},
		{"no target", nil, messaging.NotificationListenerOptions{}, good, messaging.ErrInvalidTarget, []string{"target"}},
		{"no handler", topic, messaging.NotificationListenerOptions{}, messaging.NewNotificationEndpoint(nil), messaging.ErrConfig, []string{"handler"}},
	} {
		if tc.opts.Pool != "" && !w.Has(driver.CapPools) {
			tc.want, tc.texts = messaging.ErrUnsupported, []string{"cannot do pools of notification listeners", "use another driver, or do without"}
		}
		t.Run(tc.name, func(t *testing.T) {
			err := messaging.NewNotificationListener(tr, tc.targets, &tc.opts, tc.ep).Serve(within(t, patience))
			mustSay(t, err, tc.want, tc.texts...)
		})
	}
}
