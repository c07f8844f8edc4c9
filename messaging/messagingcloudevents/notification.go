// SPDX-License-Identifier: Apache-2.0

package messagingcloudevents

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"github.com/parleymq/parley/messaging"
)

// ToEvent makes an event of a notification. It fails with [messaging.ErrEncoding] when the
// notification lacks what an event must have, its payload is not JSON (NaN and Infinity, which Python
// sends, are not), or a value of the context is no text; and with [messaging.ErrConfig] when the
// options are wrong.
func ToEvent(n *messaging.Notification, opts *Options) (event.Event, error) {
	keys, err := opts.contextKeys()
	if err != nil {
		return event.Event{}, err
	}
	e := event.New(event.CloudEventsVersionV1)
	source, err := sourceOf(n, opts)
	if err != nil {
		return event.Event{}, err
	}
	payload := n.Payload
	if len(payload) == 0 {
		payload = json.RawMessage("null")
	}
	switch {
	case n.MessageID == "":
		return event.Event{}, refused("", "the notification has no message id")
	case n.EventType == "":
		return event.Event{}, refused("", "the notification has no event type")
	case !json.Valid(payload):
		return event.Event{}, refused("NaN and Infinity are not JSON", "the payload of the notification is not JSON")
	}
	// The setters keep what is wrong for Validate, which check calls.
	e.SetID(n.MessageID)
	e.SetType(n.EventType)
	e.SetSource(source)
	if !n.Timestamp.IsZero() {
		e.SetTime(n.Timestamp.UTC())
	}
	e.SetDataContentType(jsonType)
	e.DataEncoded = bytes.Clone(payload)
	if n.Priority != "" {
		e.SetExtension(attrPriority, string(n.Priority))
	}
	if n.PublisherID != "" {
		e.SetExtension(attrPublisherID, n.PublisherID)
	}
	for _, name := range traceHeaders() {
		if v, ok := n.Headers[name]; ok {
			e.SetExtension(name, v)
		}
	}
	for attr, key := range keys {
		switch v := n.Context[key].(type) {
		case nil:
		case string:
			e.SetExtension(attr, v)
		default:
			return event.Event{}, refused("leave it out of the context keys", "the context's %s is a %T, which is no attribute", key, v)
		}
	}
	return e, check(&e)
}

// sourceOf is the source of a notification's event.
func sourceOf(n *messaging.Notification, opts *Options) (string, error) {
	if opts != nil && opts.Source != "" {
		if types.ParseURIRef(opts.Source) == nil {
			return "", wrongOption("the source %s is not a URI reference", shown(opts.Source))
		}
		return opts.Source, nil
	}
	if n.PublisherID == "" {
		return "", refused("set Options.Source", "the notification has no publisher id to be its source")
	}
	// One segment of a path; with a colon it would be a scheme.
	return strings.ReplaceAll(url.PathEscape(n.PublisherID), ":", "%3A"), nil
}

// FromEvent makes a notification of an event, as a listener gets one. It fails with
// [messaging.ErrEncoding] when the event is not valid, its data is not JSON, or it has attributes that
// a notification has no place for, such as a subject; and with [messaging.ErrConfig] when the options are
// wrong. Events of all kinds are sent by [Notify].
func FromEvent(e event.Event, opts *Options) (*messaging.Notification, error) {
	keys, err := opts.contextKeys()
	if err != nil {
		return nil, err
	}
	if err := check(&e); err != nil {
		return nil, err
	}
	const hint = "send it by Notify, which keeps all of it"
	switch {
	case e.Subject() != "" || e.DataSchema() != "":
		return nil, refused(hint, "a notification has no place for the event's subject or dataschema")
	case e.DataContentType() != "" && e.DataContentType() != jsonType:
		return nil, refused(hint, "a notification has no place for data of the type %s", shown(e.DataContentType()))
	case e.DataEncoded != nil && !json.Valid(e.DataEncoded):
		return nil, refused(hint, "the event's data is not JSON")
	}
	n := &messaging.Notification{
		MessageID: e.ID(), EventType: e.Type(), PublisherID: publisherOf(e.Source()), Priority: messaging.PriorityInfo,
		Payload: json.RawMessage(cmp.Or(string(e.DataEncoded), "null")),
	}
	if !e.Time().IsZero() {
		n.Timestamp = e.Time().UTC()
	}
	for name, v := range e.Extensions() {
		text, ok := v.(string)
		if !ok {
			return nil, refused(hint, "the event's %s is a %T, not text", name, v)
		}
		switch key, isContext := keys[name]; {
		case name == attrPriority:
			n.Priority, err = priorityOf(&e)
		case name == attrPublisherID:
			n.PublisherID = text
		case slices.Contains(traceHeaders(), name):
			n.Headers = with(n.Headers, name, text)
		case isContext:
			n.Context = with(n.Context, key, any(text))
		default:
			err = refused(hint, "a notification has no place for the event's %s", name)
		}
		if err != nil {
			return nil, err
		}
	}
	return n, nil
}

// with puts a value into a map, which may be nil.
func with[M ~map[string]V, V any](m M, key string, v V) M {
	if m == nil {
		m = make(M)
	}
	m[key] = v
	return m
}

// publisherOf undoes sourceOf. A source that is more than one segment is taken as it is.
func publisherOf(source string) string {
	if strings.ContainsAny(source, ":/?#") {
		return source
	}
	if id, err := url.PathUnescape(source); err == nil {
		return id
	}
	return source
}

// priorityOf is the priority of an event.
func priorityOf(e *event.Event) (messaging.Priority, error) {
	v, ok := e.Extensions()[attrPriority]
	if !ok {
		return messaging.PriorityInfo, nil
	}
	text, ok := v.(string)
	if !ok {
		return "", refused("", "the event's priority is a %T, not text", v)
	}
	p, err := messaging.ParsePriority(text)
	if err != nil || string(p) != text {
		return "", refused("use one of those of package messaging, in lower case", "there is no priority %s, which the event has", shown(text))
	}
	return p, nil
}
