// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"maps"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/plugin/driver"
)

// sameDelivery compares all that a delivery can hold after Decode.
func sameDelivery(t testing.TB, got, want *driver.Delivery) {
	t.Helper()
	g, w := got.Message, want.Message
	if g.Kind != w.Kind || g.CallID != w.CallID || g.ReplyTo != w.ReplyTo || g.UniqueID != w.UniqueID || g.MonitorTimeout != w.MonitorTimeout ||
		g.Format != w.Format || g.TimeLeft != w.TimeLeft || !g.Deadline.Equal(w.Deadline) || got.Redelivered != want.Redelivered ||
		string(g.Body) != string(w.Body) || string(g.Context) != string(w.Context) || string(g.Failure) != string(w.Failure) ||
		!maps.Equal(g.Headers, w.Headers) {
		t.Errorf("got  %s %+v\nwant %s %+v\nbody %s, want %s\ncontext %s, want %s\nfailure %s, want %s",
			g.Kind, got, w.Kind, want, g.Body, w.Body, g.Context, w.Context, g.Failure, w.Failure)
	}
}

func ptr[T any](v T) *T { return &v }

func decoded(m driver.Message) *driver.Delivery { return &driver.Delivery{Message: m} }

func TestDecodeRequests(t *testing.T) {
	const (
		m    = `{"method": "echo", "args": {"a": 1180591620717411303424}}`
		body = `{"request": ` + m + `, "context": {"user": "u1"}}`
	)
	uuid := amqp.UUID{0xde, 0xad, 0xbe, 0xef}
	long := strings.Repeat("x", maxID)
	call := func(id any) *amqp.MessageProperties {
		return &amqp.MessageProperties{MessageID: id, ReplyTo: ptr("back")}
	}
	cast := driver.Message{Kind: driver.Cast, Body: []byte(m), Context: []byte(`{"user": "u1"}`)}
	with := func(change func(*driver.Message)) *driver.Delivery {
		want := cast
		change(&want)
		return decoded(want)
	}
	called := func(id, unique string) *driver.Delivery {
		return with(func(m *driver.Message) { m.Kind, m.CallID, m.ReplyTo, m.UniqueID = driver.Call, id, "back", unique })
	}
	redelivered := decoded(cast)
	redelivered.Redelivered, redelivered.TimeLeft = true, time.Second
	for _, c := range []struct {
		name string
		m    amqp.Message
		want *driver.Delivery
	}{
		{"call", amqp.Message{Properties: call("id"), Value: body}, called("id", "id")},
		{"call with a unique id", amqp.Message{Properties: call("id"), Value: body, ApplicationProperties: map[string]any{"parley_unique_id": "u"}}, called("id", "u")},
		{"a unique id that is none", amqp.Message{Properties: call("id"), Value: body, ApplicationProperties: map[string]any{"parley_unique_id": int32(5)}}, called("id", "id")},
		{"call with a uuid", amqp.Message{Properties: call(uuid), Value: body}, called("AMQP_UUID:deadbeef-0000-0000-0000-000000000000", "deadbeef000000000000000000000000")},
		{"call with a number", amqp.Message{Properties: call(uint64(7)), Value: body}, called("AMQP_ULONG:7", "7")},
		{"call with bytes", amqp.Message{Properties: call([]byte("\xffid")), Value: body}, called("AMQP_BINARY:ff6964", "ff6964")},
		{"call with text like one of those", amqp.Message{Properties: call("AMQP_UUID:x"), Value: body}, called("AMQP_STRING:AMQP_UUID:x", "AMQP_UUID:x")},
		{"the longest id", amqp.Message{Properties: call(long), Value: body}, called(long, long)},
		{"monitored call", amqp.Message{Properties: call("id"), Value: `{"call_monitor_timeout": 2.5, "request": ` + m + `, "context": {"user": "u1"}}`},
			with(func(m *driver.Message) {
				m.Kind, m.CallID, m.ReplyTo, m.UniqueID, m.MonitorTimeout = driver.Call, "id", "back", "id", 2500*time.Millisecond
			})},
		{"nothing to answer with", amqp.Message{Properties: &amqp.MessageProperties{ReplyTo: ptr("back")}, Value: body}, decoded(cast)},
		{"nowhere to answer to", amqp.Message{Properties: &amqp.MessageProperties{MessageID: "id", ReplyTo: ptr("")}, Value: body},
			with(func(m *driver.Message) { m.UniqueID = "id" })},

		{"cast", amqp.Message{Value: body}, decoded(cast)},
		{"cast with an id", amqp.Message{Value: body, Properties: &amqp.MessageProperties{MessageID: "u"}}, with(func(m *driver.Message) { m.UniqueID = "u" })},
		{"monitored cast", amqp.Message{Value: `{"call_monitor_timeout": 2, "request": ` + m + `, "context": {"user": "u1"}}`}, decoded(cast)},
		{"in binary", amqp.Message{Value: []byte(body)}, decoded(cast)},
		{"in data sections", amqp.Message{Data: [][]byte{[]byte(body[:9]), nil, []byte(body[9:])}}, decoded(cast)},
		{"in the envelope", amqp.Message{Value: `{"request": {"oslo.version": "2.0", "oslo.message": " {\"method\": \"echo\", \"args\": {\"a\": 1180591620717411303424}} "}, "context": {"user": "u1"}}`},
			decoded(cast)},
		{"half an envelope", amqp.Message{Value: `{"request": {"oslo.version": "3.0"}}`},
			decoded(driver.Message{Kind: driver.Cast, Body: []byte(`{"oslo.version": "3.0"}`)})},
		{"context null, unknown keys, keys twice", amqp.Message{Value: `{"x": [], "request": 5, "context": null, "request": {} }`},
			decoded(driver.Message{Kind: driver.Cast, Body: []byte(`{}`)})},
		{"no context", amqp.Message{Value: ` {"request": {"a": NaN}} `}, decoded(driver.Message{Kind: driver.Cast, Body: []byte(`{"a": NaN}`)})},

		{"header", amqp.Message{Value: body, Header: &amqp.MessageHeader{TTL: time.Second, DeliveryCount: 1}}, redelivered},
		{"headers", amqp.Message{Value: body, ApplicationProperties: map[string]any{
			"traceparent": "00-é", "n": int64(1), "b": true, "bad": "\xff", "parley_deadline": int64(1763900000123), "parley_unique_id": "u"}},
			with(func(m *driver.Message) {
				m.Headers, m.UniqueID, m.Deadline = map[string]string{"traceparent": "00-é"}, "u", time.UnixMilli(1763900000123)
			})},
		{"too many headers", amqp.Message{Value: body, ApplicationProperties: map[string]any{"x": strings.Repeat("x", driver.MaxHeaderBytes)}}, decoded(cast)},
		{"a deadline that no clock shows", amqp.Message{Value: body, ApplicationProperties: map[string]any{"parley_deadline": int64(-1)}}, decoded(cast)},
		{"upstream's expiry", amqp.Message{Value: body, Properties: &amqp.MessageProperties{AbsoluteExpiryTime: ptr(time.UnixMilli(765000))}}, decoded(cast)},
		{"an expiry", amqp.Message{Value: body, Properties: &amqp.MessageProperties{AbsoluteExpiryTime: ptr(time.UnixMilli(1763900000123))}},
			with(func(m *driver.Message) { m.Deadline = time.UnixMilli(1763900000123) })},
		{"an expiry that no clock shows", amqp.Message{Value: body, Properties: &amqp.MessageProperties{AbsoluteExpiryTime: ptr(time.UnixMilli(math.MaxInt64))}}, decoded(cast)},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got driver.Delivery
			if err := Decode(&got, &c.m, driver.SourceServer); err != nil {
				t.Fatal(err)
			}
			sameDelivery(t, &got, c.want)
			if got.Kind != driver.Call {
				return
			}
			if id := messageID(got.CallID); !sameID(id, c.m.Properties.MessageID) {
				t.Errorf("its reply has the correlation-id %#v, want %#v", id, c.m.Properties.MessageID)
			}
		})
	}
}

func sameID(a, b any) bool {
	x, binary := a.([]byte)
	y, _ := b.([]byte)
	return binary && string(x) == string(y) || !binary && a == b
}

func TestMonitorTimeout(t *testing.T) {
	for text, want := range map[string]time.Duration{
		`null`: 0, `0`: 0, `-1`: 0, `"2"`: 0, `NaN`: 0, `-Infinity`: 0, `{}`: 0,
		`2`: 2 * time.Second, `0.5`: time.Second / 2, `1e3`: 1000 * time.Second,
		`Infinity`: math.MaxInt64 / 2,
	} {
		m := amqp.Message{Properties: &amqp.MessageProperties{MessageID: "i", ReplyTo: ptr("r")}, Value: `{"request": {}, "call_monitor_timeout": ` + text + `}`}
		var got driver.Delivery
		if err := Decode(&got, &m, driver.SourceServer); err != nil || (got.MonitorTimeout-want).Abs() > time.Second/10 {
			t.Errorf("%s asks for %v (%v), want %v", text, got.MonitorTimeout, err, want)
		}
	}
}

func TestDecodeReplies(t *testing.T) {
	uuid := amqp.UUID{0xde, 0xad, 0xbe, 0xef}
	failed := func(failure string) driver.Message {
		return driver.Message{Kind: driver.Reply, CallID: "c", Body: []byte("null"), Failure: []byte(failure)}
	}
	answered := func(id, body string) driver.Message {
		return driver.Message{Kind: driver.Reply, CallID: id, Body: []byte(body)}
	}
	beat := driver.Message{Kind: driver.Heartbeat, CallID: "c"}
	for _, c := range []struct {
		name  string
		id    any
		value any
		data  [][]byte
		want  driver.Message
	}{
		{"value", "c", `{"response": {"a": [1, NaN]}}`, nil, answered("c", `{"a": [1, NaN]}`)},
		{"null", "c", `{"response": null}`, nil, answered("c", "null")},
		{"nothing", "c", `{}`, nil, answered("c", "null")},
		{"no failure", "c", `{"failure": null, "response": 1}`, nil, answered("c", "1")},
		{"failure", "c", `{"failure": "{\"class\": \"E\", \"message\": \"\\u00e9\"}"}`, nil, failed(`{"class": "E", "message": "\u00e9"}`)},
		{"failure and response", "c", `{"failure": " {} ", "response": 1}`, nil, failed(`{}`)},
		{"failure that is an object", "c", `{"failure": {"class": "E"}}`, nil, failed(`{"class": "E"}`)},
		{"failure that is no object", "c", `{"failure": "it \"broke\""}`, nil,
			failed(`{"class": "", "module": "", "message": "it \"broke\"", "tb": [], "args": [], "kwargs": {}}`)},
		{"failure that is half an object", "c", `{"failure": "{\"class\": "}`, nil,
			failed(`{"class": "", "module": "", "message": "{\"class\":", "tb": [], "args": [], "kwargs": {}}`)},
		{"empty failure", "c", `{"failure": ""}`, nil, failed(`{"class": "", "module": "", "message": "", "tb": [], "args": [], "kwargs": {}}`)},
		{"failure that is a number", "c", `{"failure": 0}`, nil, failed(`{"class": "", "module": "", "message": "0", "tb": [], "args": [], "kwargs": {}}`)},
		{"in data", "c", nil, [][]byte{[]byte(`{"response": 1}`)}, answered("c", "1")},
		{"id as bytes", []byte("c"), `{"response": 1}`, nil, answered("c", "1")},
		{"id as other bytes", []byte("\xff"), `{"response": 1}`, nil, answered("ff", "1")},
		{"id as uuid", uuid, `{"response": 1}`, nil, answered("deadbeef000000000000000000000000", "1")},
		{"id as a number", uint64(9), `{"response": 1}`, nil, answered("9", "1")},
		{"heartbeat", "c", nil, nil, beat},
		{"heartbeat with a null", "c", amqp.Null{}, nil, beat},
		{"heartbeat with empty text", "c", "", nil, beat},
		{"heartbeat with empty data", "c", nil, [][]byte{{}}, beat},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := amqp.Message{Properties: &amqp.MessageProperties{CorrelationID: c.id}, Value: c.value, Data: c.data}
			var got driver.Delivery
			if err := Decode(&got, &m, driver.SourceReplies); err != nil {
				t.Fatal(err)
			}
			sameDelivery(t, &got, decoded(c.want))
		})
	}
}

func TestDecodeNotifications(t *testing.T) {
	v1 := driver.Message{Kind: driver.Notification, Format: driver.NotificationV1, Body: []byte(`{"payload": "\u00e9"}`), Context: []byte(`{"a": 1}`)}
	v2 := v1
	v2.Format = driver.NotificationV2
	for name, c := range map[string]struct {
		body string
		want driver.Message
	}{
		"v1": {`{"request": {"payload": "\u00e9"}, "context": {"a": 1}}`, v1},
		"v2": {`{"request": {"oslo.version": "2.0", "oslo.message": "{\"payload\": \"\\u00e9\"}"}, "context": {"a": 1}}`, v2},
	} {
		var got driver.Delivery
		if err := Decode(&got, &amqp.Message{Value: c.body}, driver.SourceNotifications); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		sameDelivery(t, &got, decoded(c.want))
	}
}

func TestDecodeRefuses(t *testing.T) {
	call := func(id any) *amqp.MessageProperties {
		return &amqp.MessageProperties{MessageID: id, ReplyTo: ptr("back")}
	}
	answer := &amqp.MessageProperties{CorrelationID: "c"}
	long := strings.Repeat("x", maxAddress+1)
	for _, c := range []struct {
		kind driver.SourceKind
		m    amqp.Message
		text string
	}{
		{0, amqp.Message{Value: `{}`}, "source of kind 0"},
		{driver.SourceServer, amqp.Message{}, "a cast without a body"},
		{driver.SourceServer, amqp.Message{Value: amqp.Null{}}, "a cast without a body"},
		{driver.SourceServer, amqp.Message{Value: map[string]any{"request": 1}}, "map[string]interface {}"},
		{driver.SourceServer, amqp.Message{Value: int32(1)}, "int32"},
		{driver.SourceServer, amqp.Message{Sequence: [][]any{{1}}}, "sequence"},
		{driver.SourceServer, amqp.Message{Value: "\xff"}, "not valid UTF-8"},
		{driver.SourceServer, amqp.Message{Value: strings.Repeat(" ", MaxBody+1)}, "the limit is 134217728"},
		{driver.SourceServer, amqp.Message{Value: `[]`}, "the body is not a JSON object: json: want an object"},
		{driver.SourceServer, amqp.Message{Value: `{"request": {}} x`}, "text after the end"},
		{driver.SourceServer, amqp.Message{Value: `{"request": ` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + `}`}, "nested too deeply"},
		{driver.SourceServer, amqp.Message{Value: `{}`}, "no request"},
		{driver.SourceServer, amqp.Message{Value: `{"request": null}`}, "no request"},
		{driver.SourceServer, amqp.Message{Value: `{"request": "x"}`}, "no request"},
		{driver.SourceServer, amqp.Message{Value: `{"request": {}, "context": []}`}, "the context is not"},
		{driver.SourceServer, amqp.Message{Value: `{"request": {"oslo.version": "3.0", "oslo.message": "{}"}}`}, "not of version 2.0"},
		{driver.SourceServer, amqp.Message{Value: `{"request": {"oslo.version": "2.0", "oslo.message": {}}}`}, "not a string"},
		{driver.SourceServer, amqp.Message{Value: `{"request": {"oslo.version": "2.0", "oslo.message": "{"}}`}, "not JSON text"},
		{driver.SourceServer, amqp.Message{Value: `{"request": {"oslo.version": "2.0", "oslo.message": "[]"}}`}, "no request"},
		{driver.SourceServer, amqp.Message{Value: `{}`, Properties: call(strings.Repeat("x", 2000))}, "the message-id has 2000 bytes"},
		{driver.SourceServer, amqp.Message{Value: `{}`, Properties: call(make([]byte, 2000))}, "the message-id has 2000 bytes"},
		{driver.SourceServer, amqp.Message{Value: `{}`, Properties: call("\xff")}, "the message-id is not valid UTF-8"},
		{driver.SourceServer, amqp.Message{Value: `{}`, Properties: call(int32(1))}, "the message-id is of no type"},
		{driver.SourceServer, amqp.Message{Value: `{}`, Properties: &amqp.MessageProperties{MessageID: "i", ReplyTo: &long}}, "the reply-to has 4097 bytes"},
		{driver.SourceServer, amqp.Message{Value: `{}`, Properties: &amqp.MessageProperties{MessageID: "i", ReplyTo: ptr("\xff")}}, "the reply-to is not valid UTF-8"},
		{driver.SourceServer, amqp.Message{Value: `{}`, ApplicationProperties: map[string]any{"parley_unique_id": "\xff"}}, "parley_unique_id"},
		{driver.SourceNotifications, amqp.Message{}, "a notification without a body"},
		{driver.SourceReplies, amqp.Message{Value: `{}`}, "without correlation-id"},
		{driver.SourceReplies, amqp.Message{Value: `{}`, Properties: &amqp.MessageProperties{CorrelationID: ""}}, "empty correlation-id"},
		{driver.SourceReplies, amqp.Message{Value: `{}`, Properties: &amqp.MessageProperties{CorrelationID: true}}, "the correlation-id is of no type"},
		{driver.SourceReplies, amqp.Message{Value: `null`, Properties: answer}, "the body of a reply is not a JSON object"},
	} {
		var d driver.Delivery
		err := Decode(&d, &c.m, c.kind)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.text) || len(err.Error()) > 200 {
			t.Errorf("%v, want an *Error with %q", err, c.text)
		}
	}
}

// What Encode makes, Decode gives back.
func TestRoundTrip(t *testing.T) {
	deadline := time.UnixMilli(1763900000123)
	headers := map[string]string{"traceparent": "00-é", "": ""}
	for i, m := range []driver.Message{
		{Kind: driver.Call, CallID: "c", UniqueID: "u", ReplyTo: "back", Body: []byte(`{"a": 2e400}`), Context: []byte(`{"\ud800": 1}`), MonitorTimeout: 1500 * time.Millisecond,
			TimeLeft: time.Minute, Deadline: deadline, Headers: headers},
		{Kind: driver.Cast, UniqueID: "u", Body: []byte(`{"a": "oslo.version"}`), Context: []byte(`{}`), Deadline: deadline, Headers: headers},
		{Kind: driver.Reply, CallID: "c", UniqueID: "u", Body: []byte(`"x"`), Headers: headers},
		{Kind: driver.Reply, CallID: "c", UniqueID: "u", Body: []byte(`null`), Failure: []byte(`{"message": "` + strings.Repeat(`\"\\`, 1000) + "\u2028" + `"}`)},
		{Kind: driver.Heartbeat, CallID: "c", UniqueID: "u", TimeLeft: 2 * time.Second},
		{Kind: driver.Notification, Format: driver.NotificationV1, UniqueID: "u", Body: []byte(`{"payload": 1}`), Context: []byte(`{}`), Headers: headers},
		{Kind: driver.Notification, Format: driver.NotificationV2, UniqueID: "u", Body: []byte("{\n\"payload\": \"\U0001f600\x7f\"}"), Context: []byte(`{}`)},
		{Kind: driver.Cast, UniqueID: "u", Body: []byte(`{"big": "` + strings.Repeat("é", 1<<20) + `"}`), Context: []byte(`{}`)},
	} {
		t.Run(strconv.Itoa(i)+" "+m.Kind.String(), func(t *testing.T) {
			sent, err := Encode(&m, "to", "back")
			if err != nil {
				t.Fatal(err)
			}
			raw, err := sent.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			var received amqp.Message
			if err := received.UnmarshalBinary(raw); err != nil {
				t.Fatal(err)
			}
			var got driver.Delivery
			if err := Decode(&got, &received, sourceOf(m.Kind)); err != nil {
				t.Fatal(err)
			}
			sameDelivery(t, &got, decoded(m))
		})
	}
}

// sourceOf is where a message of that kind arrives.
func sourceOf(k driver.Kind) driver.SourceKind {
	switch k {
	case driver.Reply, driver.Heartbeat:
		return driver.SourceReplies
	case driver.Notification:
		return driver.SourceNotifications
	default:
		return driver.SourceServer
	}
}

// TestTimeLeftOfNothing: a broker that takes off the time that a message waited may leave nothing,
// which must not become a message without a limit.
func TestTimeLeftOfNothing(t *testing.T) {
	long, ago := time.UnixMilli(1_700_000_000_000), time.UnixMilli(765_000)
	for _, tc := range []struct {
		name string
		m    amqp.Message
		want time.Duration
	}{
		{"no limit", amqp.Message{Header: &amqp.MessageHeader{}}, 0},
		{"a limit", amqp.Message{Header: &amqp.MessageHeader{TTL: time.Second}}, time.Second},
		{"nothing left, Parley's", amqp.Message{
			Header: &amqp.MessageHeader{}, ApplicationProperties: map[string]any{propertyDeadline: long.UnixMilli()},
		}, time.Millisecond},
		{"nothing left, upstream's", amqp.Message{
			Header: &amqp.MessageHeader{}, Properties: &amqp.MessageProperties{AbsoluteExpiryTime: &ago},
		}, time.Millisecond},
	} {
		if got := timeLeft(&tc.m); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}
