// SPDX-License-Identifier: Apache-2.0

package messagingcloudevents_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingcloudevents"
)

// whole is a notification with everything that an event has a place for.
func whole() *messaging.Notification {
	return &messaging.Notification{
		MessageID: "6f1c8a0e-0001-4000-8000-000000000001", PublisherID: "compute.host1", EventType: "compute.instance.create.end",
		Priority: messaging.PriorityError, Payload: json.RawMessage(`{"b": 1.0, "a": [12345678901234567890, "é<>"]}`),
		Timestamp: time.Date(2026, 11, 23, 1, 2, 3, 456789000, time.UTC),
		Context:   messaging.RequestContext{"request_id": "req-1", "project_id": "p"},
		Headers:   map[string]string{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "a=b"},
	}
}

func options() *messagingcloudevents.Options {
	return &messagingcloudevents.Options{ContextKeys: []string{"request_id", "project_id"}}
}

func TestToEvent(t *testing.T) {
	e, err := messagingcloudevents.ToEvent(whole(), options())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	must(t, json.Unmarshal(text, &got))
	must(t, json.Unmarshal([]byte(`{"specversion": "1.0", "id": "6f1c8a0e-0001-4000-8000-000000000001", "source": "compute.host1", "type": "compute.instance.create.end",
		"time": "2026-11-23T01:02:03.456789Z", "datacontenttype": "application/json", "priority": "error", "publisherid": "compute.host1",
		"requestid": "req-1", "projectid": "p", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "a=b",
		"data": {"b": 1.0, "a": [12345678901234567890, "é<>"]}}`), &want))
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRoundTrip(t *testing.T) {
	for name, change := range map[string]func(n *messaging.Notification, o *messagingcloudevents.Options){
		"everything":       func(*messaging.Notification, *messagingcloudevents.Options) {},
		"no time":          func(n *messaging.Notification, _ *messagingcloudevents.Options) { n.Timestamp = time.Time{} },
		"null":             func(n *messaging.Notification, _ *messagingcloudevents.Options) { n.Payload = json.RawMessage("null") },
		"text":             func(n *messaging.Notification, _ *messagingcloudevents.Options) { n.Payload = json.RawMessage(`"x"`) },
		"no context":       func(n *messaging.Notification, _ *messagingcloudevents.Options) { n.Context = nil },
		"no headers":       func(n *messaging.Notification, _ *messagingcloudevents.Options) { n.Headers = nil },
		"a colon":          func(n *messaging.Notification, _ *messagingcloudevents.Options) { n.PublisherID = "compute:host1" },
		"a hard publisher": func(n *messaging.Notification, _ *messagingcloudevents.Options) { n.PublisherID = "a b//c?d#é%41" },
		"a source": func(n *messaging.Notification, o *messagingcloudevents.Options) {
			o.Source = "https://cloud.example/compute?x=1"
		},
		"neither publisher nor time": func(n *messaging.Notification, o *messagingcloudevents.Options) {
			o.Source, n.Timestamp = "urn:x:y", time.Time{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, opts := whole(), options()
			change(n, opts)
			e, err := messagingcloudevents.ToEvent(n, opts)
			must(t, err)
			text, err := e.MarshalJSON() // json.Marshal would write the payload anew
			must(t, err)
			var read event.Event
			must(t, json.Unmarshal(text, &read))
			for _, e := range []event.Event{e, read} {
				back, err := messagingcloudevents.FromEvent(e, opts)
				must(t, err)
				if !reflect.DeepEqual(back, n) {
					t.Errorf("got  %+v\nwant %+v", back, n)
				}
			}
			without := e.Clone()
			without.SetExtension("publisherid", nil)
			if back, err := messagingcloudevents.FromEvent(without, opts); err != nil || opts.Source == "" && back.PublisherID != n.PublisherID || opts.Source != "" && back.PublisherID != opts.Source {
				t.Errorf("by the source alone: %+v, %v", back, err)
			}
		})
	}
}

func TestAllPriorities(t *testing.T) {
	for _, p := range messaging.Priorities() {
		n := whole()
		n.Priority = p
		e, err := messagingcloudevents.ToEvent(n, options())
		must(t, err)
		if back, err := messagingcloudevents.FromEvent(e, options()); err != nil || back.Priority != p {
			t.Errorf("%s became %+v, %v", p, back, err)
		}
	}
}

func TestToEventRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(n *messaging.Notification, o *messagingcloudevents.Options)
		want   string
	}{
		"no id":          {func(n *messaging.Notification, _ *messagingcloudevents.Options) { n.MessageID = "" }, "no message id"},
		"no type":        {func(n *messaging.Notification, _ *messagingcloudevents.Options) { n.EventType = "" }, "no event type"},
		"no publisher":   {func(n *messaging.Notification, _ *messagingcloudevents.Options) { n.PublisherID = "" }, "set Options.Source"},
		"NaN":            {func(n *messaging.Notification, _ *messagingcloudevents.Options) { n.Payload = []byte("[NaN]") }, "not JSON"},
		"a list":         {func(n *messaging.Notification, _ *messagingcloudevents.Options) { n.Context["request_id"] = []any{"a"} }, "context's request_id is a []interface {}"},
		"a control":      {func(n *messaging.Notification, _ *messagingcloudevents.Options) { n.EventType = "a\nb" }, "type has a control character"},
		"not UTF-8":      {func(n *messaging.Notification, _ *messagingcloudevents.Options) { n.MessageID = "\xff" }, "id is not UTF-8"},
		"blank":          {func(n *messaging.Notification, _ *messagingcloudevents.Options) { n.MessageID = "  " }, "MUST be a non-empty string"},
		"a wrong source": {func(_ *messaging.Notification, o *messagingcloudevents.Options) { o.Source = "%zz" }, "not a URI reference"},
		"a reserved key": {func(_ *messaging.Notification, o *messagingcloudevents.Options) {
			o.ContextKeys = []string{"Publisher_ID"}
		}, "publisherid is another"},
		"a wrong key":  {func(_ *messaging.Notification, o *messagingcloudevents.Options) { o.ContextKeys = []string{"ü"} }, "letters, digits"},
		"an empty key": {func(_ *messaging.Notification, o *messagingcloudevents.Options) { o.ContextKeys = []string{"_"} }, "letters, digits"},
		"two keys as one": {func(_ *messaging.Notification, o *messagingcloudevents.Options) {
			o.ContextKeys = []string{"user_id", "userid"}
		}, "same attribute"},
		"a key of the SDK": {func(_ *messaging.Notification, o *messagingcloudevents.Options) {
			o.ContextKeys = []string{"data_schema"}
		}, "dataschema is another"},
	} {
		n, opts := whole(), options()
		tc.change(n, opts)
		if _, err := messagingcloudevents.ToEvent(n, opts); err == nil || !strings.Contains(err.Error(), tc.want) || !errors.Is(err, messaging.ErrEncoding) && !errors.Is(err, messaging.ErrConfig) {
			t.Errorf("%s: got %v, want %s", name, err, tc.want)
		}
	}
}

func TestFromEventRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(e *event.Event)
		want   string
	}{
		"none":               {func(e *event.Event) { *e = event.Event{} }, "not of the version 1.0"},
		"an old version":     {func(e *event.Event) { e.SetSpecVersion("0.3") }, "not of the version 1.0"},
		"no id":              {func(e *event.Event) { e.SetID("") }, "id is required"},
		"a subject":          {func(e *event.Event) { e.SetSubject("s") }, "subject or dataschema; send it by Notify"},
		"a schema":           {func(e *event.Event) { e.SetDataSchema("https://x/y") }, "subject or dataschema"},
		"text":               {func(e *event.Event) { e.SetDataContentType("text/plain") }, `data of the type "text/plain"`},
		"a JSON of its own":  {func(e *event.Event) { e.SetDataContentType("application/x+json") }, "data of the type"},
		"data that is none":  {func(e *event.Event) { e.DataEncoded = []byte("{") }, "data is not JSON"},
		"an unknown one":     {func(e *event.Event) { e.SetExtension("color", "red") }, "no place for the event's color"},
		"a number":           {func(e *event.Event) { e.SetExtension("priority", 7) }, "priority is a int32, not text"},
		"a priority":         {func(e *event.Event) { e.SetExtension("priority", "loud") }, `no priority "loud"`},
		"a priority's alias": {func(e *event.Event) { e.SetExtension("priority", "WARNING") }, `no priority "WARNING"`},
	} {
		e, err := messagingcloudevents.ToEvent(whole(), options())
		must(t, err)
		tc.change(&e)
		if n, err := messagingcloudevents.FromEvent(e, options()); n != nil || !errors.Is(err, messaging.ErrEncoding) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, %v, want %s", name, n, err, tc.want)
		}
	}
	e := event.New()
	e.SetID("1")
	e.SetSource("https://x/y")
	e.SetType("t")
	n, err := messagingcloudevents.FromEvent(e, nil)
	must(t, err)
	if want := (&messaging.Notification{MessageID: "1", PublisherID: "https://x/y", EventType: "t", Priority: messaging.PriorityInfo, Payload: json.RawMessage("null")}); !reflect.DeepEqual(n, want) {
		t.Errorf("the least event became %+v", n)
	}
}
