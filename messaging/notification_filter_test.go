// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/parleymq/parley/plugin/driver"
)

// The cases of upstream's oslo_messaging/tests/notify/test_dispatcher.py (TestDispatcherFilter),
// under their names, and then ours.
func TestNotificationFilter(t *testing.T) {
	type filterOf = NotificationFilter
	type m = map[string]string
	const body = `{"payload":{"state":"active","virtual_size":null,"n":7,"list":["active"],"deep":{"state":"active"},"twice":"a","twice":"b","esc":"\u0061ctive"},` +
		`"priority":"info","publisher_id":"compute01.manager","event_type":"instance.create.start",` +
		`"timestamp":"2014-03-03 18:21:04.369234","message_id":"99863dda-97f0-443a-a0c1-6ed317b7fd45"}`
	tests := []struct {
		name    string
		filter  filterOf
		context string
		body    string // instead of the above
		want    bool
	}{
		{name: "publisher_id_match", filter: filterOf{PublisherID: "^compute.*"}, want: true},
		{name: "publisher_id_nomatch", filter: filterOf{PublisherID: "^compute.*"}, body: `{"priority":"info","publisher_id":"network01.manager","event_type":"instance.create.start"}`},
		{name: "event_type_match", filter: filterOf{EventType: `^instance\.create`}, want: true},
		{name: "event_type_nomatch", filter: filterOf{EventType: `^instance\.delete`}},
		{name: "event_type_not_string", filter: filterOf{EventType: `^instance\.delete`}, body: `{"priority":"info","event_type":["instance.swim","instance.fly"]}`},
		{name: "context_match", filter: filterOf{Context: m{"user": "^adm"}}, context: `{"user":"admin"}`, want: true},
		{name: "context_key_missing", filter: filterOf{Context: m{"user": "^adm"}}, context: `{"project":"admin"}`},
		{name: "metadata_match", filter: filterOf{Metadata: m{"message_id": "^99"}}, want: true},
		{name: "metadata_key_missing", filter: filterOf{Metadata: m{"user": "^adm"}}},
		{name: "payload_match", filter: filterOf{Payload: m{"state": "^active$"}}, want: true},
		{name: "payload_no_match", filter: filterOf{Payload: m{"state": "^deleted$"}}},
		{name: "payload_key_missing", filter: filterOf{Payload: m{"user": "^adm"}}},
		{name: "payload_value_none", filter: filterOf{Payload: m{"virtual_size": "2048"}}},
		{name: "mix_match", filter: filterOf{EventType: `^instance\.create`, PublisherID: "^compute", Context: m{"user": "^adm"}}, context: `{"user":"admin"}`, want: true},

		{name: "no rules", want: true},
		{name: "mix, one does not", filter: filterOf{EventType: `^instance\.create`, PublisherID: "^compute", Context: m{"user": "^adm"}}, context: `{"user":"guest"}`},
		{name: "two keys, one does not", filter: filterOf{Payload: m{"state": "active", "esc": "deleted"}}},
		{name: "from the start", filter: filterOf{EventType: "create"}},
		{name: "not to the end", filter: filterOf{EventType: "instance"}, want: true},
		{name: "alternatives are anchored", filter: filterOf{EventType: "foo|create"}},
		{name: "alternatives", filter: filterOf{EventType: "foo|instance"}, want: true},
		{name: "flags", filter: filterOf{EventType: "(?i)INSTANCE"}, want: true},
		{name: "lines are no starts", filter: filterOf{EventType: "(?m)^b"}, body: `{"priority":"info","event_type":"a\nb"}`},
		{name: "no context", filter: filterOf{Context: m{"user": ".*"}}},
		{name: "null in the context", filter: filterOf{Context: m{"user": ".*"}}, context: `{"user":null}`},
		{name: "a number in the context", filter: filterOf{Context: m{"user": ".*"}}, context: `{"user":7}`},
		{name: "an empty expression takes any text", filter: filterOf{Context: m{"user": ""}}, context: `{"user":"x"}`, want: true},
		{name: "and wants one", filter: filterOf{Context: m{"user": ""}}, context: `{"user":null}`},
		{name: "timestamp", filter: filterOf{Metadata: m{"timestamp": `2014-03-03 18:21:04\.369234$`}}, want: true},
		{name: "null publisher", filter: filterOf{PublisherID: ".*"}, body: `{"priority":"info","publisher_id":null}`},
		{name: "missing event type", filter: filterOf{EventType: ".*"}, body: `{"priority":"info"}`},
		{name: "missing message id", filter: filterOf{Metadata: m{"message_id": ".*"}}, body: `{"priority":"info"}`},
		{name: "null in the payload", filter: filterOf{Payload: m{"virtual_size": ".*"}}},
		{name: "a number in the payload", filter: filterOf{Payload: m{"n": ".*"}}},
		{name: "a list in the payload", filter: filterOf{Payload: m{"list": ".*"}}},
		{name: "the top level only", filter: filterOf{Payload: m{"deep": ".*"}}},
		{name: "the last of two keys", filter: filterOf{Payload: m{"twice": "b"}}, want: true},
		{name: "not the first of two keys", filter: filterOf{Payload: m{"twice": "a"}}},
		{name: "escapes", filter: filterOf{Payload: m{"esc": "active"}}, want: true},
		{name: "a payload that is no object", filter: filterOf{Payload: m{"a": ".*"}}, body: `{"priority":"info","payload":["a"]}`},
		{name: "no payload", filter: filterOf{Payload: m{"a": ".*"}}, body: `{"priority":"info"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seq := &sequence{}
				ep := NewNotificationEndpoint(&NotificationEndpointOptions{Filter: &tt.filter})
				ep.Handle(PriorityInfo, ran(seq, "ran", nil))
				s := newNoticeStage(t, nil, ep)
				d := rawEvent(1, body)
				if tt.body != "" {
					d.Body = []byte(tt.body)
				}
				d.Context = []byte(tt.context)
				s.deliver(d)
				synctest.Wait()
				if got := len(seq.all()) == 1; got != tt.want {
					t.Errorf("taken: %v", got)
				}
				if s.settled() == "" {
					t.Error("it is not settled")
				}
			})
		})
	}
}

// A filter is its endpoint's: another takes what this one does not.
func TestFilterOfOneEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seq := &sequence{}
		narrow := NewNotificationEndpoint(&NotificationEndpointOptions{Filter: &NotificationFilter{EventType: "a"}})
		narrow.Handle(PriorityInfo, ran(seq, "narrow", nil))
		r := newRig(t, nil)
		l := listen(t, r.Transport, nil, narrow, on(ran(seq, "wide", nil)))
		n := NewNotifier(r.Transport, nil)
		for _, e := range []string{"a", "b"} {
			if err := n.Info(t.Context(), e, nil); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if got := seq.all(); len(got) != 3 || got[0] != "narrow a" || got[1] != "wide a" || got[2] != "wide b" || l.Stats().Unwanted != 0 {
			t.Errorf("%v, %+v", got, l.Stats())
		}
	})
}

func TestFilterMistakes(t *testing.T) {
	for _, f := range []NotificationFilter{
		{PublisherID: "("}, {EventType: "a(?=b)"}, {Context: map[string]string{"k": `\1`}}, {Metadata: map[string]string{"k": "*"}},
		{Payload: map[string]string{"k": "a)(b"}},
	} {
		r := newRig(t, nil)
		ep := NewNotificationEndpoint(&NotificationEndpointOptions{Filter: &f})
		ep.Handle(PriorityInfo, func(context.Context, *Notification) error { return nil })
		err := NewNotificationListener(r.Transport, noticeTargets, nil, ep).Serve(t.Context())
		if e, ok := errors.AsType[*Error](err); !ok || !errors.Is(err, ErrConfig) || e.Hint == "" || r.faults.listens.Load() != 0 {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

// FuzzParseNotification: whatever comes is understood or refused with a reason, and a dead letter
// can be made of it that is understood.
func FuzzParseNotification(f *testing.F) {
	f.Add([]byte(`{"message_id":"m","publisher_id":"p","event_type":"e","priority":"INFO","payload":{"a":1},"timestamp":"2026-01-02 03:04:05.000006"}`), []byte(`{"user":"u"}`))
	f.Add([]byte(`{"priority":null}`), []byte(`[]`))
	f.Add([]byte(`{"priority":"nope","payload":NaN}`), []byte(``))
	f.Add([]byte(`["priority"]`), []byte(`{"a":"\ud800"}`))
	f.Add([]byte("{\"priority\":\"info\",\"event_type\":\"\xff\"}"), []byte(`{`))
	f.Fuzz(func(t *testing.T, body, rc []byte) {
		d := &driver.Delivery{Message: driver.Message{Kind: driver.Notification, Body: body, Context: rc}}
		n, err := parseNotification(d)
		if n == nil || err == nil && n.Priority == "" {
			t.Fatalf("%+v, %v", n, err)
		}
		notice := newNotice(d)
		if id := notice.id(); id == "" || len(id) > maxNoticeID {
			t.Errorf("id %q", id)
		}
		filter, ferr := (&NotificationFilter{EventType: ".", Context: map[string]string{"user": "."}, Payload: map[string]string{"a": "."}}).compile()
		if ferr != nil {
			t.Fatal(ferr)
		}
		filter.takes(n) // does not panic
		letter := &driver.Delivery{Message: driver.Message{Body: notice.wrapped("p")}}
		if m, err := parseNotification(letter); err != nil || m.EventType != MalformedEventType {
			t.Errorf("%s: %v", letter.Body, err)
		}
	})
}
