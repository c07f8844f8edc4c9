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
	"github.com/parleymq/parley/messaging/messagingtest"
)

// least is an event with what it must have.
func least() event.Event {
	e := event.New()
	e.SetID("1")
	e.SetSource("/s")
	e.SetType("t.created")
	return e
}

// TestNotifyAndDecode sends events of all kinds and reads them from what was sent.
func TestNotifyAndDecode(t *testing.T) {
	broker := messagingtest.NewBroker()
	n := messaging.NewNotifier(broker.Transport(t, nil), nil)
	for name, change := range map[string]func(e *event.Event){
		"least": func(*event.Event) {},
		"full": func(e *event.Event) {
			e.SetSubject("sub")
			e.SetDataSchema("https://x/schema")
			e.SetTime(time.Date(2026, 11, 23, 1, 2, 3, 456789123, time.UTC))
			e.SetDataContentType("application/x+json; charset=utf-8")
			e.DataEncoded = []byte(`{"a":1.0,"n":12345678901234567890,"s":"<é>"}`)
			e.SetExtension("number", -7)
			e.SetExtension("flag", true)
			e.SetExtension("text", `"quoted" \ <é>`)
			e.SetExtension("priority", "critical")
		},
		"null": func(e *event.Event) { e.DataEncoded = []byte("null") },
		"text": func(e *event.Event) { e.SetDataContentType("text/plain"); e.DataEncoded = []byte("line\n\"é\"") },
		"bytes": func(e *event.Event) {
			e.SetDataContentType("image/png")
			e.DataEncoded = []byte{0, 255, 1}
			e.DataBase64 = true
		},
		"JSON base64": func(e *event.Event) {
			e.SetDataContentType("application/json")
			e.DataEncoded = []byte("[1]")
			e.DataBase64 = true
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := least()
			change(&e)
			must(t, messagingcloudevents.Notify(t.Context(), n, e))
			sent := broker.Expect(t, messagingtest.Match{EventType: "t.created"})
			want := "info"
			if name == "full" {
				want = "critical"
			}
			if sent.Priority != want {
				t.Errorf("sent at %s", sent.Priority)
			}
			got, err := messagingcloudevents.Decode(&messaging.Notification{Payload: sent.Payload})
			must(t, err)
			if !reflect.DeepEqual(got, e) {
				t.Errorf("got  %+v %q\nwant %+v %q", got.Context, got.DataEncoded, e.Context, e.DataEncoded)
			}
			var sdks event.Event // the SDK understands what was sent, too
			must(t, json.Unmarshal(sent.Payload, &sdks))
			if string(sdks.DataEncoded) != string(e.DataEncoded) || sdks.ID() != "1" {
				t.Errorf("to the SDK it is %v", sdks)
			}
		})
	}
	t.Run("bytes that are not said to be", func(t *testing.T) {
		e := least()
		e.SetDataContentType("text/plain")
		e.DataEncoded = []byte{255}
		must(t, messagingcloudevents.Notify(t.Context(), n, e))
		sent := broker.Expect(t, messagingtest.Match{EventType: "t.created"})
		if got, err := messagingcloudevents.Decode(&messaging.Notification{Payload: sent.Payload}); err != nil || string(got.DataEncoded) != "\xff" {
			t.Errorf("got %v, %v", got, err)
		}
	})
	for name, change := range map[string]func(e *event.Event){
		"no id": func(e *event.Event) { e.SetID("") }, "no JSON": func(e *event.Event) { e.DataEncoded = []byte("{") }, "a priority": func(e *event.Event) { e.SetExtension("priority", "x") },
		"a priority that is a number": func(e *event.Event) { e.SetExtension("priority", 1) }, "a control": func(e *event.Event) { e.SetExtension("x", "\n") },
	} {
		e := least()
		change(&e)
		if err := messagingcloudevents.Notify(t.Context(), n, e); !errors.Is(err, messaging.ErrEncoding) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	broker.ExpectNone(t, messagingtest.Match{})
}

const begin = `{"specversion":"1.0","id":"1","source":"/s","type":"t"`

func TestDecodeRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"": "not a JSON object", "[]": "not a JSON object", "{}": "no specversion", `{"specversion":1}`: "specversion is not text",
		`{"specversion":"0.3"}`: `specversion is "0.3", not 1.0`, `{"specversion":"1.0"}`: "MUST be a non-empty string",
		begin + `,"id":"2"}`: `"id" twice`, begin + `,"time":"yesterday"}`: "time \"yesterday\" cannot be read; it is RFC 3339", begin + `,"subject":""}`: "subject is empty",
		begin + `,"subject":7}`: "subject is not text", begin + `,"dataschema":"%zz"}`: "dataschema", begin + `,"datacontenttype":"x y"}`: "datacontenttype",
		begin + `,"":"x"}`: "is wrong", begin + `,"a-b":"x"}`: "is wrong", begin + `,"Ab":"x"}`: "lower case", begin + `,"a":1.5}`: "none of an attribute's types",
		begin + `,"a":[]}`: "none of an attribute's types", begin + `,"a":2147483648}`: "none of an attribute's types", begin + `,"a":"\n"}`: "a has a control character",
		begin + `,"data":NaN}`: "data is not JSON", begin + `,"data":1,"data_base64":""}`: "both data and data_base64", begin + `,"data_base64":"?"}`: "data_base64 cannot be read",
		begin + `,"data_base64":1}`: "data_base64 is not text", begin + `,"datacontenttype":"text/plain","data":{}}`: "data is not text", begin: "not a JSON object",
		begin + strings.Repeat(`,"a":1`, 300) + `}`: "more than 256 attributes", begin + `,"source":"/s"}`: "twice",
		strings.Replace(begin, "/s", "%zz", 1) + `}`: "source", strings.Replace(begin, "/s", " ", 1) + `}`: "not written as a URI reference",
	} {
		_, err := messagingcloudevents.Decode(&messaging.Notification{Payload: json.RawMessage(text)})
		if !errors.Is(err, messaging.ErrEncoding) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	e, err := messagingcloudevents.Decode(&messaging.Notification{Payload: json.RawMessage(`{"data" : {"a" : 1} , "type":"t", "source":"/s","id":"1", "specversion":"1.0", "x":null, "time":null}`)})
	if err != nil || string(e.DataEncoded) != `{"a" : 1}` || len(e.Extensions()) != 0 || !e.Time().IsZero() {
		t.Errorf("in any order: %v, %v", e, err)
	}
}

// FuzzDecode looks that nothing panics, and that what is taken is the same after another turn.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{
		begin + `}`, begin + `,"data":{"a":1}}`, begin + `,"datacontenttype":"text/plain","data":"x"}`, begin + `,"data_base64":"AA=="}`, begin + `,"datacontenttype":"a/b+json","data":{}}`, begin + `,"datacontenttype":"a/b+json","data":"{}"}`, begin + `,"data_base64":1}`,
		begin + `,"a":true,"b":-1,"c":"\u00e9","time":"2026-11-23T01:02:03.5+01:00","subject":"s","dataschema":"https://x"}`, `{"":1}`, begin + `,"priority":"warn","publisherid":"p"}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := messagingcloudevents.Decode(&messaging.Notification{Payload: text})
		if err != nil {
			if !errors.Is(err, messaging.ErrEncoding) {
				t.Errorf("got %v", err)
			}
			return
		}
		again, err := e.MarshalJSON()
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		e2, err := messagingcloudevents.Decode(&messaging.Notification{Payload: again})
		if err != nil || !reflect.DeepEqual(e, e2) {
			t.Fatalf("%s\nbecame %s\n%v", text, again, err)
		}
		n, err := messagingcloudevents.FromEvent(e, nil)
		if err != nil {
			return
		}
		e3, err := messagingcloudevents.ToEvent(n, &messagingcloudevents.Options{Source: e.Source()})
		if err != nil {
			t.Fatalf("%s: taken, and cannot be given back: %v", text, err)
		}
		if n2, err := messagingcloudevents.FromEvent(e3, nil); err != nil || !reflect.DeepEqual(n, n2) {
			t.Fatalf("%s: %+v became %+v, %v", text, n, n2, err)
		}
	})
}
