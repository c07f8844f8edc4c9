// SPDX-License-Identifier: Apache-2.0

package messagingtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// Sent is a message that a transport sent, or tried to.
type Sent struct {
	Kind   driver.Kind
	Target driver.Target // of a call, cast or notification

	// Of a call or cast. They are empty when the arguments hold NaN or Infinity, which is not
	// JSON to encoding/json; Body has the text. Args, Payload, Result and Failure are without
	// white space, so that a test can compare them as text.
	Method    string
	Namespace string
	Version   string
	Args      json.RawMessage

	// Of a notification.
	Priority    string
	Format      driver.NotificationFormat
	MessageID   string
	PublisherID string
	EventType   string
	Payload     json.RawMessage

	// Of a reply: the result, or the failure as it travels.
	CallID  string
	Result  json.RawMessage
	Failure json.RawMessage

	// UniqueID is that of the message on its way: the same when it is sent again.
	UniqueID string
	// Context is the request context as it travels; empty for none.
	Context json.RawMessage
	Headers map[string]string
	// Body is what was sent, whatever the kind.
	Body []byte
	// Err is what the sender was told; nil when the broker took the message.
	Err error

	expected bool // an Expect has returned it
}

// newSent takes copies: the sender gets the message back.
func newSent(m *driver.Message) Sent {
	s := Sent{
		Kind: m.Kind, Target: m.Target, Priority: m.Priority, Format: m.Format, CallID: m.CallID,
		UniqueID: m.UniqueID, Context: bytes.Clone(m.Context), Headers: maps.Clone(m.Headers),
		Body: bytes.Clone(m.Body), Failure: compact(m.Failure),
	}
	if m.Kind == driver.Reply {
		s.Result = compact(m.Body)
		return s
	}
	var body struct {
		Method    string          `json:"method"`
		Namespace string          `json:"namespace"`
		Version   string          `json:"version"`
		Args      json.RawMessage `json:"args"`
		MessageID string          `json:"message_id"`
		Publisher string          `json:"publisher_id"`
		EventType string          `json:"event_type"`
		Payload   json.RawMessage `json:"payload"`
	}
	if json.Unmarshal(s.Body, &body) == nil {
		s.Method, s.Namespace, s.Version, s.Args = body.Method, body.Namespace, body.Version, compact(body.Args)
		s.MessageID, s.PublisherID = body.MessageID, body.Publisher
		s.EventType, s.Payload = body.EventType, compact(body.Payload)
	}
	return s
}

// compact returns a copy without white space, or as it is when encoding/json cannot read it.
func compact(text []byte) json.RawMessage {
	var b bytes.Buffer
	if json.Compact(&b, text) != nil {
		return bytes.Clone(text)
	}
	return b.Bytes()
}

// String names the message in one line.
func (s Sent) String() string {
	text := s.Kind.String()
	if name := s.Method + s.EventType; name != "" { // a message has one of them
		text += " " + name
	}
	if s.Target.Topic != "" {
		text += " to " + s.Target.Topic
	}
	if s.Target.Server != "" {
		text += "." + s.Target.Server
	}
	if s.Target.Fanout {
		text += " (fanout)"
	}
	return text
}

// Match describes messages; a zero field fits any.
type Match struct {
	Kind      driver.Kind
	Topic     string
	Server    string
	Method    string
	EventType string
}

func (m Match) fits(s Sent) bool {
	return (m.Kind == 0 || m.Kind == s.Kind) &&
		(m.Topic == "" || m.Topic == s.Target.Topic) &&
		(m.Server == "" || m.Server == s.Target.Server) &&
		(m.Method == "" || m.Method == s.Method) &&
		(m.EventType == "" || m.EventType == s.EventType)
}

// String lists the fields that are set.
func (m Match) String() string {
	var parts []string
	if m.Kind != 0 {
		parts = append(parts, m.Kind.String())
	}
	for _, f := range [...]struct{ name, value string }{
		{"method", m.Method}, {"event type", m.EventType}, {"topic", m.Topic}, {"server", m.Server},
	} {
		if f.value != "" {
			parts = append(parts, fmt.Sprintf("%s %q", f.name, f.value))
		}
	}
	if parts == nil {
		return "any message"
	}
	return "message with " + strings.Join(parts, ", ")
}

// record is called when the fate of a message is known.
func (b *Broker) record(s Sent) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent = append(b.sent, s)
	close(b.more)
	b.more = make(chan struct{})
}

// Sent returns the messages that fit, in the order in which their sending ended.
func (b *Broker) Sent(m Match) []Sent {
	b.mu.Lock()
	defer b.mu.Unlock()
	var fit []Sent
	for _, s := range b.sent {
		if m.fits(s) {
			fit = append(fit, s)
		}
	}
	return fit
}

// Expect returns the first message that fits and that no Expect has returned before. It waits
// for it, and fails the test when none comes in ten seconds.
func (b *Broker) Expect(t T, m Match) Sent {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		s, more := b.next(m)
		if more == nil {
			return s
		}
		select {
		case <-more:
		case <-timer.C:
			t.Fatalf("no %s was sent in %v; sent were %v", m, patience, b.Sent(Match{}))
			return Sent{}
		}
	}
}

// next returns a message that fits, or the channel that is closed when there are more.
func (b *Broker) next(m Match) (Sent, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.sent, func(s Sent) bool { return !s.expected && m.fits(s) })
	if i < 0 {
		return Sent{}, b.more
	}
	b.sent[i].expected = true
	return b.sent[i], nil
}

// ExpectNone fails the test when a message that fits was sent, and was returned by no Expect.
// It cannot know what comes later: first wait for what comes last.
func (b *Broker) ExpectNone(t T, m Match) {
	t.Helper()
	if s, more := b.next(m); more == nil {
		t.Errorf("unexpected: %s with %s", s, s.Body)
	}
}
