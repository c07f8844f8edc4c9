// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/plugin/driver"
)

// sections are those of a message that mean something here.
type sections struct {
	ttl                time.Duration
	header             bool
	id, correlation    any
	to, replyTo        string
	value              any // nil for no body
	properties         map[string]any
	priority, delivery int
}

// sectionsOf encodes m as the sender does and reads what a peer gets.
func sectionsOf(t testing.TB, m *amqp.Message) sections {
	t.Helper()
	raw, err := m.MarshalBinary()
	if err != nil {
		t.Fatalf("go-amqp cannot encode %+v: %v", m, err)
	}
	got := new(amqp.Message)
	if err := got.UnmarshalBinary(raw); err != nil {
		t.Fatal(err)
	}
	s := sections{value: got.Value, properties: got.ApplicationProperties}
	if got.Header != nil {
		s.header, s.ttl, s.priority, s.delivery = true, got.Header.TTL, int(got.Header.Priority), int(got.Header.DeliveryCount)
		if got.Header.Durable || got.Header.FirstAcquirer {
			t.Errorf("header %+v", got.Header)
		}
	}
	p := got.Properties
	s.id, s.correlation = p.MessageID, p.CorrelationID
	if p.To != nil {
		s.to = *p.To
	}
	if p.ReplyTo != nil {
		s.replyTo = *p.ReplyTo
	}
	if len(p.UserID) > 0 || p.Subject != nil || p.ContentType != nil || p.ContentEncoding != nil || p.AbsoluteExpiryTime != nil ||
		p.CreationTime != nil || p.GroupID != nil || p.GroupSequence != nil || p.ReplyToGroupID != nil {
		t.Errorf("a property is set that upstream never sets: %+v", p)
	}
	if len(got.Data) > 0 || len(got.Sequence) > 0 || got.Annotations != nil || got.DeliveryAnnotations != nil || got.Footer != nil {
		t.Errorf("a section is there that upstream never sends: %+v", got)
	}
	return s
}

func (s sections) equal(o sections) bool {
	return maps.Equal(s.properties, o.properties) && s.header == o.header && s.ttl == o.ttl && s.id == o.id && s.correlation == o.correlation &&
		s.to == o.to && s.replyTo == o.replyTo && s.value == o.value && s.priority == o.priority && s.delivery == o.delivery
}

func TestEncode(t *testing.T) {
	const (
		echo = `{"method": "echo", "args": {"n": 1180591620717411303424, "x": NaN, "s": "\u00e9é"}, "namespace": "ns", "version": "1.0"}`
		ev   = `{"message_id": "m", "payload": {"k": "\u00e9\"\n", "i": -Infinity}}`
		id   = "75d9f1f2f5ed4931ae25e6480f2a136f"
	)
	ttl := func(d time.Duration, s sections) sections {
		s.header, s.ttl, s.priority = true, d, 4
		return s
	}
	uuid := amqp.UUID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	for _, c := range []struct {
		name string
		m    driver.Message
		want sections
	}{
		{"call",
			driver.Message{Kind: driver.Call, CallID: id, UniqueID: id, Context: []byte(`{"user": "u1"}`), Body: []byte(echo), TimeLeft: 8 * time.Second},
			ttl(8*time.Second, sections{id: id, to: "to", replyTo: "back", value: `{"request": ` + echo + `, "context": {"user": "u1"}}`})},
		{"call without time or context, with a unique id",
			driver.Message{Kind: driver.Call, CallID: id, UniqueID: "u", Body: []byte(" {}\n")},
			sections{id: id, to: "to", replyTo: "back", value: `{"request": {}, "context": {}}`, properties: map[string]any{"parley_unique_id": "u"}}},
		{"monitored call",
			driver.Message{Kind: driver.Call, CallID: id, Body: []byte(echo), MonitorTimeout: 2 * time.Second, TimeLeft: 1},
			ttl(time.Millisecond, sections{id: id, to: "to", replyTo: "back", value: `{"request": ` + echo + `, "context": {}, "call_monitor_timeout": 2}`})},
		{"monitored call with part of a second",
			driver.Message{Kind: driver.Call, CallID: id, Body: []byte(`{}`), MonitorTimeout: 2500 * time.Millisecond, TimeLeft: math.MaxInt64},
			ttl(math.MaxUint32*time.Millisecond, sections{id: id, to: "to", replyTo: "back", value: `{"request": {}, "context": {}, "call_monitor_timeout": 2.5}`})},
		{"cast",
			driver.Message{Kind: driver.Cast, UniqueID: "u", Context: []byte(" {} "), Body: []byte(echo)},
			sections{id: "u", to: "to", value: `{"request": ` + echo + `, "context": {}}`}},
		{"cast with time, rounded up, headers and a deadline",
			driver.Message{Kind: driver.Cast, Body: []byte(`{}`), TimeLeft: 1500*time.Microsecond + 1,
				Headers: map[string]string{"traceparent": "00-é"}, Deadline: time.UnixMilli(1763900000123)},
			ttl(2*time.Millisecond, sections{to: "to", value: `{"request": {}, "context": {}}`,
				properties: map[string]any{"traceparent": "00-é", "parley_deadline": int64(1763900000123)}})},
		{"a time that is over",
			driver.Message{Kind: driver.Cast, Body: []byte(`{}`), TimeLeft: -time.Hour},
			ttl(time.Millisecond, sections{to: "to", value: `{"request": {}, "context": {}}`})},
		{"reply",
			driver.Message{Kind: driver.Reply, CallID: id, ReplyTo: "x", UniqueID: "u", Body: []byte(`[1, NaN]`)},
			sections{id: "u", correlation: id, to: "to", value: `{"response": [1, NaN]}`}},
		{"reply of nothing",
			driver.Message{Kind: driver.Reply, CallID: id},
			sections{correlation: id, to: "to", value: `{"response": null}`}},
		{"failure",
			driver.Message{Kind: driver.Reply, CallID: id, Body: []byte("null"), Failure: []byte(`{"class": "E", "message": "\u00e9 é\n"}`)},
			sections{correlation: id, to: "to", value: `{"failure": "{\"class\": \"E\", \"message\": \"\\u00e9 é\\n\"}"}`}},
		{"heartbeat",
			driver.Message{Kind: driver.Heartbeat, CallID: id, UniqueID: "u", TimeLeft: time.Second},
			ttl(time.Second, sections{id: "u", correlation: id, to: "to"})},
		{"heartbeat that tells its call's monitor timeout",
			driver.Message{Kind: driver.Heartbeat, CallID: id, MonitorTimeout: 2 * time.Second, TimeLeft: time.Second},
			ttl(2*time.Second, sections{correlation: id, to: "to"})},
		{"notification v1",
			driver.Message{Kind: driver.Notification, Format: driver.NotificationV1, UniqueID: "u", Body: []byte(ev), Context: []byte(`{"a": 1}`)},
			sections{id: "u", to: "to", value: `{"request": ` + ev + `, "context": {"a": 1}}`}},
		{"notification v2",
			driver.Message{Kind: driver.Notification, Format: driver.NotificationV2, UniqueID: "u", Body: []byte(ev), Context: []byte(`{"a": 1}`)},
			sections{id: "u", to: "to", value: `{"request": {"oslo.version": "2.0", "oslo.message": "{\"message_id\": \"m\", \"payload\": ` +
				`{\"k\": \"\\u00e9\\\"\\n\", \"i\": -Infinity}}"}, "context": {"a": 1}}`}},

		// The id of a reply is of the type that its call's was.
		{"reply to a uuid", driver.Message{Kind: driver.Reply, CallID: "AMQP_UUID:" + uuid.String()}, sections{correlation: uuid, to: "to", value: `{"response": null}`}},
		{"reply to a number", driver.Message{Kind: driver.Reply, CallID: "AMQP_ULONG:18446744073709551615"}, sections{correlation: uint64(math.MaxUint64), to: "to", value: `{"response": null}`}},
		{"reply to text like one", driver.Message{Kind: driver.Reply, CallID: "AMQP_STRING:AMQP_ULONG:1"}, sections{correlation: "AMQP_ULONG:1", to: "to", value: `{"response": null}`}},
		{"reply to what is none", driver.Message{Kind: driver.Reply, CallID: "AMQP_ULONG:x"}, sections{correlation: "AMQP_ULONG:x", to: "to", value: `{"response": null}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Encode(&c.m, "to", "back")
			if err != nil {
				t.Fatal(err)
			}
			if s := sectionsOf(t, got); !s.equal(c.want) {
				t.Errorf("\n%+v, want\n%+v", s, c.want)
			}
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	many := make(map[string]string)
	for i := range driver.MaxHeaders + 1 {
		many[strings.Repeat("x", i)] = ""
	}
	call := driver.Message{Kind: driver.Call, CallID: "c", Body: []byte(`{}`)}
	with := func(change func(*driver.Message)) driver.Message {
		m := call
		change(&m)
		return m
	}
	for _, c := range []struct {
		name, to, replyTo string
		m                 driver.Message
		reason            driver.Reason
		text              string
	}{
		{"kind", "", "", driver.Message{}, driver.ReasonDriverBug, "kind 0"},
		{"body", "", "", with(func(m *driver.Message) { m.Body = []byte(`[]`) }), driver.ReasonInternal, "body"},
		{"context", "", "", with(func(m *driver.Message) { m.Context = []byte(`null`) }), driver.ReasonInternal, "context"},
		{"UTF-8", "", "", with(func(m *driver.Message) { m.Body = []byte("{\"a\": \"\xff\"}") }), driver.ReasonInternal, "UTF-8"},
		{"headers", "", "", with(func(m *driver.Message) { m.Headers = many }), driver.ReasonMessageTooLarge, "headers"},
		{"reserved header", "", "", with(func(m *driver.Message) { m.Headers = map[string]string{"parley_deadline": "1"} }), driver.ReasonConfig, "parley_deadline"},
		{"address", "\xff", "", call, driver.ReasonUnsupported, "address"},
		{"reply address", "", "\xff", call, driver.ReasonUnsupported, "reply address"},
		{"call id", "", "", with(func(m *driver.Message) { m.CallID = "\xff" }), driver.ReasonUnsupported, "call id"},
		{"unique id", "", "", with(func(m *driver.Message) { m.UniqueID = "\xff" }), driver.ReasonUnsupported, "unique id"},
		{"size", "", "", with(func(m *driver.Message) { m.Body = []byte(`{"a": "` + strings.Repeat("x", MaxBody) + `"}`) }), driver.ReasonMessageTooLarge, "limit is 134217728"},
	} {
		_, err := Encode(&c.m, c.to, c.replyTo)
		var e *driver.Error
		if !errors.As(err, &e) || e.Reason != c.reason || !strings.Contains(e.Message, c.text) {
			t.Errorf("%s: %v, want %s with %q", c.name, err, c.reason, c.text)
		}
	}
}

// A message is encoded into memory of its own, so that it can be sent again while the caller goes
// on with its buffers.
func TestEncodeShares(t *testing.T) {
	m := driver.Message{Kind: driver.Call, CallID: "c", Body: []byte(`{"method": "echo"}`), Context: []byte(`{"a": 1}`)}
	got, err := Encode(&m, "to", "back")
	if err != nil {
		t.Fatal(err)
	}
	want := sectionsOf(t, got)
	copy(m.Body, `{"xxxxxx"`)
	copy(m.Context, `{"x"`)
	if s := sectionsOf(t, got); !s.equal(want) {
		t.Errorf("%+v became %+v", want, s)
	}
}
