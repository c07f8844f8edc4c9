// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"testing"
	"unicode/utf8"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/internal/pyjson"
	"github.com/parleymq/parley/plugin/driver"
)

// kinds are the sources that messages arrive at.
func kinds() []driver.SourceKind {
	return []driver.SourceKind{driver.SourceServer, driver.SourceReplies, driver.SourceNotifications}
}

// FuzzMessage decodes the sections of a message as they are received.
func FuzzMessage(f *testing.F) {
	for _, g := range goldens(f) {
		f.Add(g.raw(f))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := new(amqp.Message)
		if err := m.UnmarshalBinary(raw); err != nil {
			return // go-amqp ends the link
		}
		for _, kind := range kinds() {
			checkDecode(t, m, kind)
		}
	})
}

// FuzzBody decodes bodies, in each of the sections that can have one.
func FuzzBody(f *testing.F) {
	for _, g := range goldens(f) {
		f.Add([]byte(g.Text), "id", "back")
	}
	f.Add([]byte(`{"request": {"oslo.version": "2.0", "oslo.message": "{\"a\": NaN}"}, "context": null, "call_monitor_timeout": 1e400}`), "AMQP_UUID:", "\xff")
	f.Fuzz(func(t *testing.T, body []byte, id, replyTo string) {
		for _, kind := range kinds() {
			props := &amqp.MessageProperties{MessageID: id, CorrelationID: id, ReplyTo: &replyTo}
			checkDecode(t, &amqp.Message{Properties: props, Value: string(body)}, kind)
			half := len(body) / 2
			checkDecode(t, &amqp.Message{Properties: props, Data: [][]byte{body[:half], body[half:]}}, kind)
		}
	})
}

// checkDecode asserts what holds for every message that Decode takes: it is whole, and Encode can
// send it on.
func checkDecode(t *testing.T, m *amqp.Message, kind driver.SourceKind) {
	t.Helper()
	var d driver.Delivery
	if err := Decode(&d, m, kind); err != nil {
		var e *Error
		if !errors.As(err, &e) || !utf8.ValidString(err.Error()) {
			t.Fatalf("an error of another kind: %q", err)
		}
		return
	}
	for _, s := range []string{d.CallID, d.UniqueID, d.ReplyTo} {
		if !utf8.ValidString(s) || len(s) > maxAddress {
			t.Fatalf("a name that cannot be kept: %q", s)
		}
	}
	if err := driver.CheckHeaders(d.Headers); err != nil {
		t.Fatal(err)
	}
	for _, text := range [][]byte{d.Body, d.Context, d.Failure} {
		if len(text) > 0 && pyjson.Valid(text) != nil {
			t.Fatalf("not JSON: %q", text)
		}
	}
	if len(d.CallID) > maxID/2 {
		return // its types could make it longer than an id may be
	}
	again, err := Encode(&d.Message, "to", d.ReplyTo)
	if err != nil {
		t.Fatalf("what was received cannot be sent: %v", err)
	}
	raw, err := again.MarshalBinary()
	if err != nil {
		t.Fatalf("what was received cannot be sent: %v", err)
	}
	second := new(amqp.Message)
	if err := second.UnmarshalBinary(raw); err != nil {
		t.Fatal(err)
	}
	var got driver.Delivery
	if err := Decode(&got, second, kind); err != nil {
		t.Fatalf("what Encode made is refused: %v", err)
	}
	if len(d.Context) == 0 && len(got.Context) > 0 {
		d.Context = []byte(noContext) // is always sent
	}
	got.Redelivered = d.Redelivered // is not sent
	got.CallID = d.CallID           // is another, of a caller that names it otherwise
	sameDelivery(t, &got, &d)
}
