// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/plugin/driver"
)

func readGolden(t testing.TB, file string) golden {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return g
}

// raw returns the sections as they were on the wire.
func (g golden) raw(t testing.TB) []byte {
	t.Helper()
	raw, err := hex.DecodeString(g.Sections)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (g golden) message(t testing.TB) *amqp.Message {
	t.Helper()
	m := new(amqp.Message)
	if err := m.UnmarshalBinary(g.raw(t)); err != nil {
		t.Fatalf("%s: %v", g.Name, err)
	}
	return m
}

// changing is what differs from message to message: ids, reply addresses, times, lines of code.
var changing = regexp.MustCompile(`TempQueue[0-9a-f-]+|[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}|` +
	`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+|\\"tb\\": \[.*?\], \\"args`)

// shape is what has to be the same each time: which sections and properties there are, of which
// types, and their values but for what changes.
func shape(t testing.TB, g golden) string {
	t.Helper()
	m := g.message(t)
	var b strings.Builder
	if h := m.Header; h != nil {
		fmt.Fprintf(&b, "header: durable %t, priority %d, ttl %t, delivery-count %d\n", h.Durable, h.Priority, h.TTL > 0, h.DeliveryCount)
	}
	p := m.Properties
	for _, property := range []struct {
		name  string
		value any
	}{
		{"message-id", p.MessageID}, {"to", p.To}, {"subject", p.Subject}, {"reply-to", p.ReplyTo}, {"correlation-id", p.CorrelationID},
		{"content-type", p.ContentType}, {"content-encoding", p.ContentEncoding}, {"creation-time", p.CreationTime},
	} {
		switch v := property.value.(type) {
		case nil:
		case *string:
			if v != nil {
				fmt.Fprintf(&b, "%s: %s\n", property.name, *v)
			}
		default:
			fmt.Fprintf(&b, "%s: %T %v\n", property.name, v, v)
		}
	}
	fmt.Fprintf(&b, "expiry: %t\n", p.AbsoluteExpiryTime != nil)
	fmt.Fprintf(&b, "application-properties: %v, annotations: %v, footer: %v\n", m.ApplicationProperties, m.Annotations, m.Footer)
	fmt.Fprintf(&b, "body: %T %v, data %d, sequence %d", m.Value, m.Value, len(m.Data), len(m.Sequence))
	return changing.ReplaceAllString(b.String(), "…")
}

// goldens returns all that are kept.
func goldens(t testing.TB) []golden {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(goldenDir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no messages are kept in %s: %v", goldenDir, err)
	}
	out := make([]golden, len(files))
	for i, file := range files {
		out[i] = readGolden(t, file)
	}
	return out
}

// A message of Python's, decoded and encoded again, is the same message: the same text to the byte,
// the same properties of the same types. What differs is ours: no empty header section, and no
// expiry time of a clock that nobody else has.
func TestGolden(t *testing.T) {
	names := make([]string, 0, 16)
	for _, g := range goldens(t) {
		names = append(names, g.Name)
		t.Run(g.Name, func(t *testing.T) {
			theirs := g.message(t)
			var d driver.Delivery
			if err := Decode(&d, theirs, g.Source); err != nil {
				t.Fatal(err)
			}
			m := d.Message
			if m.Kind != driver.Call && m.UniqueID != "" {
				t.Errorf("Python sent a message-id with a %s: %q", m.Kind, m.UniqueID)
			}
			ours, err := Encode(&m, *theirs.Properties.To, m.ReplyTo)
			if err != nil {
				t.Fatal(err)
			}
			got, want := sectionsOf(t, ours), sections{
				id: theirs.Properties.MessageID, correlation: theirs.Properties.CorrelationID, to: *theirs.Properties.To, value: theirs.Value,
			}
			if theirs.Properties.ReplyTo != nil {
				want.replyTo = *theirs.Properties.ReplyTo
			}
			if theirs.Header != nil && theirs.Header.TTL > 0 {
				want.header, want.priority, want.ttl = true, 4, theirs.Header.TTL
			}
			if !got.equal(want) {
				t.Errorf("ours\n%+v, Python's\n%+v", got, want)
			}
		})
	}
	want := []string{
		"call", "call_direct", "call_failing", "call_monitored", "call_odd", "call_without_context", "cast", "failure", "fanout", "heartbeat",
		"notification_v1", "notification_v2", "reply", "reply_monitored", "reply_null",
	}
	if !slices.Equal(names, want) {
		t.Errorf("kept are %q, want %q", names, want)
	}
}
