// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/parleymq/parley/internal/pyjson"
	"github.com/parleymq/parley/plugin/driver"
)

// Priority is the level of a notification. A listener takes the priorities that its endpoints have
// handlers for; on the wire each is a topic of its own, "<topic>.<priority>".
type Priority string

// The priorities, as upstream has them (oslo_messaging/notify/notifier.py).
const (
	PriorityAudit    Priority = "audit"
	PriorityDebug    Priority = "debug"
	PriorityInfo     Priority = "info"
	PriorityWarn     Priority = "warn"
	PriorityError    Priority = "error"
	PriorityCritical Priority = "critical"
	PrioritySample   Priority = "sample"
)

// Priorities returns all priorities.
func Priorities() []Priority {
	return []Priority{
		PriorityAudit, PriorityDebug, PriorityInfo, PriorityWarn, PriorityError, PriorityCritical, PrioritySample,
	}
}

// ParsePriority reads a priority in any case; "warning" is warn, as upstream's method of that name.
func ParsePriority(s string) (Priority, error) {
	p := Priority(strings.ToLower(s))
	if p == "warning" {
		p = PriorityWarn
	}
	if !slices.Contains(Priorities(), p) {
		return "", &Error{Code: CodeConfig, Op: "notification", Message: fmt.Sprintf("there is no priority %q", truncate(s, 64)),
			Hint: "use one of " + priorityList()}
	}
	return p, nil
}

func priorityList() string {
	names := make([]string, len(Priorities()))
	for i, p := range Priorities() {
		names[i] = string(p)
	}
	return strings.Join(names, ", ")
}

// NotificationFormat is the version of a notification's format. Each driver maps it to its wire.
type NotificationFormat = driver.NotificationFormat

// The formats: upstream's notify drivers "messaging" and "messagingv2". The second is wrapped in
// the envelope that RPC has; every release of upstream since 2013 reads both.
const (
	NotificationV1 = driver.NotificationV1
	NotificationV2 = driver.NotificationV2
)

// Notification is an event, as a notifier sends it and a listener gets it.
type Notification struct {
	// MessageID is the event's own id, a UUID with dashes; the same for every topic and copy.
	MessageID string
	// PublisherID names who sent it: "compute.host1".
	PublisherID string
	// EventType names what happened: "compute.instance.create.end".
	EventType string
	Priority  Priority
	// Payload is any JSON value; see Decode.
	Payload json.RawMessage
	// Timestamp is when it was made, in UTC and microseconds; zero when the sender gave none that
	// can be read.
	Timestamp time.Time
	// Context is the request context that travels with it; see [NotifierOptions.Context].
	Context RequestContext
	// Headers are what is not upstream's, such as trace context. Not every driver carries them.
	Headers map[string]string
	// Format is the version of the format it is sent in; zero is the outlet's. A received one has
	// the format it came in, where the driver tells.
	Format NotificationFormat

	// Redelivered, for one that was received, is the broker's hint that it was delivered before,
	// and Attempt counts how often this listener has been given it: 1 for the first time.
	Redelivered bool
	Attempt     int

	settings   *notifierSettings // of the notifier that sends it
	encoded    json.RawMessage   // the payload as the notifier encoded it
	timestamp  string            // as it came
	carried    *requestContext   // as it came; nil for none
	serializer Serializer        // of the listener that got it; nil for JSON
}

// Decode decodes the payload into the pointer v, as the result of a call is: by the listener's
// [Serializer] when it has one.
func (n *Notification) Decode(v any) error { return n.decode(context.Background(), v) }

func (n *Notification) decode(ctx context.Context, v any) error {
	decode := decodeInto
	if n.serializer != nil {
		decode = func(data []byte, v any) error { return unmarshalWith(ctx, n.serializer, data, v) }
	}
	if err := decode(n.Payload, v); err != nil {
		return &Error{Code: CodeEncoding, Op: "notification " + truncate(n.EventType, maxShownMethod),
			Message: fmt.Sprintf("the payload does not fit: %v", err), Err: err}
	}
	return nil
}

// timestampLayouts are those of Python's str(datetime): without a fraction when it is zero.
const (
	timestampLayout      = "2006-01-02 15:04:05.000000"
	timestampLayoutWhole = "2006-01-02 15:04:05"
)

// formatTimestamp writes a time as upstream does (oslo_messaging/notify/notifier.py,
// str(timeutils.utcnow())).
func formatTimestamp(t time.Time) string {
	t = t.UTC().Truncate(time.Microsecond)
	if t.Nanosecond() == 0 {
		return t.Format(timestampLayoutWhole)
	}
	return t.Format(timestampLayout)
}

// parseTimestamp reads what formatTimestamp writes, and ISO 8601; zero when it is neither.
func parseTimestamp(s string) time.Time {
	for _, layout := range []string{timestampLayout, timestampLayoutWhole, time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

// appendBody appends the event's object, with upstream's keys in upstream's order.
func (n *Notification) appendBody(dst []byte) []byte {
	text := func(key, value string, null bool) {
		dst = append(dst, key...)
		if null && value == "" {
			dst = append(dst, "null"...)
			return
		}
		dst = pyjson.AppendString(dst, value)
	}
	text(`{"message_id":`, n.MessageID, false)
	text(`,"publisher_id":`, n.PublisherID, true)
	text(`,"event_type":`, n.EventType, true)
	text(`,"priority":`, strings.ToUpper(string(n.Priority)), false)
	dst = append(dst, `,"payload":`...)
	if len(n.Payload) == 0 {
		dst = append(dst, "null"...)
	} else {
		dst = append(dst, n.Payload...)
	}
	text(`,"timestamp":`, formatTimestamp(n.Timestamp), false)
	return append(dst, '}')
}
