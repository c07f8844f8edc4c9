// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// TestNotificationDispatcher are the seven scenarios of TestDispatcher in
// oslo_messaging/tests/notify/test_dispatcher.py. A listener without endpoints is a mistake here.
func TestNotificationDispatcher(t *testing.T) {
	for _, tc := range []struct {
		name      string
		endpoints []string // the levels of each
		want      []string // the endpoint and its level
		priority  messaging.Priority
		err       error
	}{
		{"no_endpoints", nil, nil, messaging.PriorityInfo, nil},
		{"one_endpoints", []string{"warn"}, []string{"0 warn"}, messaging.PriorityWarn, nil},
		{"two_endpoints_only_one_match", []string{"warn", "info"}, []string{"1 info"}, messaging.PriorityInfo, nil},
		{"two_endpoints_both_match", []string{"debug info", "info debug"}, []string{"0 debug", "1 debug"}, messaging.PriorityDebug, nil},
		{"no_return_value", []string{"warn"}, []string{"0 warn"}, messaging.PriorityWarn, nil},
		{"requeue", []string{"debug warn", "debug"}, []string{"0 debug"}, messaging.PriorityDebug, messaging.ErrRequeue},
		{"exception", []string{"debug warn", "debug"}, []string{"0 debug"}, messaging.PriorityDebug, errors.New("boom")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			onNotifyWires(t, func(t *testing.T, w *world) {
				var mu sync.Mutex
				var got []string
				var endpoints []*messaging.NotificationEndpoint
				for i, levels := range tc.endpoints {
					ep := messaging.NewNotificationEndpoint(nil)
					for level := range strings.FieldsSeq(levels) {
						ep.Handle(messaging.Priority(level), func(context.Context, *messaging.Notification) error {
							mu.Lock()
							defer mu.Unlock()
							got = append(got, fmt.Sprint(i, " ", level))
							return tc.err
						})
					}
					endpoints = append(endpoints, ep)
				}
				tr := w.open(t, messaging.Options{})
				o := &messaging.NotificationListenerOptions{Failure: messaging.FailurePolicy{RequeueErrors: true, Delay: patience}}
				if len(endpoints) == 0 {
					err := messaging.NewNotificationListener(tr, topics("t"), o).Serve(soon(t))
					if !errors.Is(err, messaging.ErrConfig) {
						t.Errorf("a listener without endpoints: %v", err)
					}
					return
				}
				l := listen(t, tr, topics("t"), o, endpoints...)
				mustNotify(t, notifier(tr, "publisher_id", "t"), tc.priority, "compute.start", map[string]any{"info": "fuu"})
				testbed.Eventually(t, patience, "it is dispatched", func() bool { s := l.Stats(); return s.Handled+s.Failed == 1 })
				mu.Lock()
				defer mu.Unlock()
				// The second endpoint is kept from what the first one failed with.
				if !slices.Equal(got, tc.want) {
					t.Errorf("called %v, want %v", got, tc.want)
				}
				if s := l.Stats(); (s.Failed == 1) != (tc.err != nil) {
					t.Errorf("the counters are %+v", s)
				}
			}, needRequeue)
		})
	}
}

// oddNotifications are bodies that no notifier of ours sends, and whether there is a handler for
// them.
func oddNotifications() map[string]bool {
	return map[string]bool{
		`{"message_id": "m1", "publisher_id": "p", "event_type": "e", "priority": "what???", "payload": {}, "timestamp": "t"}`: false,
		`{"message_id": "m2", "publisher_id": "p", "event_type": "e", "priority": null, "payload": {}, "timestamp": "t"}`:      false,
		`{"message_id": "m3", "event_type": "e", "payload": {}}`:                                                               false,
		`{"priority": 7}`: false,
		`{"event_type": ["a", "b"], "priority": "INFO"}`: false,
		`{"priority": "INFO", "timestamp": 5}`:           false,
		`{"priority": "INFO"}`:                           true,
		`{"priority": "info", "payload": null, "timestamp": null, "message_id": null, "publisher_id": null, "event_type": null, "other": [1]}`: true,
		`[]`:   false,
		`nope`: false,
		``:     false,
	}
}

// TestOddNotifications: what cannot be dispatched is settled and logged, and stays with nobody; so is
// one that comes twice.
func TestOddNotifications(t *testing.T) {
	w := worldWith(t, testbed.NeedAMQP, testbed.NeedManagement)
	tr := w.open(t, messaging.Options{})
	var b inbox
	l := listen(t, tr, topics("odd"), nil, b.endpoint())
	peer := newRawPeer(t, w)
	handled := 0
	for body, good := range oddNotifications() {
		peer.PublishRaw("openstack", "odd.info", jsonMessage(body))
		if good {
			handled++
		}
	}
	twice := jsonMessage(envelope(`{"message_id": "m", "priority": "INFO", "payload": "twice", "_unique_id": "0123456789abcdef0123456789abcdef"}`))
	peer.PublishRaw("openstack", "odd.info", twice)
	peer.PublishRaw("openstack", "odd.info", twice)
	handled++
	if !testbed.Wait(patience, func() bool {
		s := l.Stats()
		return int(s.Handled) >= handled && s.Duplicates >= 1 && s.Running == 0
	}) {
		t.Errorf("not all are there: %+v, %q", l.Stats(), b.texts())
	}
	// Those that are no JSON objects the driver has refused itself.
	if s := l.Stats(); s.Duplicates != 1 || b.count() != handled || s.Malformed != 6 {
		t.Errorf("the counters are %+v, handled %d, want %d: %q", s, b.count(), handled, b.texts())
	}
	testbed.Eventually(t, patience, "nothing is left at the broker", func() bool {
		out, err := bed.Broker(t).Ctl(soon(t), "list_queues", "-p", w.vhost, "name", "messages", "messages_unacknowledged", "--no-table-headers")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "odd.info" {
				return f[1] == "0" && f[2] == "0"
			}
		}
		t.Fatalf("no queue in %q", out)
		return false
	})
	if lines := w.logs.Lines("what???"); len(lines) == 0 {
		t.Error("the unknown priority is not logged")
	}
}
