// SPDX-License-Identifier: Apache-2.0

package legacy

import (
	"slices"
	"strings"

	"github.com/parleymq/parley/internal/pyjson"
	"github.com/parleymq/parley/plugin/driver"
)

// Request is a call, cast, fanout or notify.
type Request struct {
	Type Type
	// MessageID is new for every message and the same when one is sent again.
	MessageID string
	// Message has Kind, Context, Body and Target.Fanout, UniqueID for MessageID and, of a call, the
	// same as CallID; of a notification Priority and Format. The rest is not on this wire, above
	// all the rest of Target.
	Message driver.Message
}

// DecodeRequest makes a request of frames without an identity. Context and Body are the frames'
// memory. An error is an *Error; Type and MessageID are set with it as far as they are known, so
// that a call can be answered.
func DecodeRequest(frames [][]byte) (Request, error) {
	t, id, err := parse(frames)
	r := Request{Type: t, MessageID: id}
	if err != nil {
		return r, err
	}
	m := driver.Message{UniqueID: id}
	switch t {
	case Call:
		m.Kind, m.CallID = driver.Call, id
	case Cast, Fanout:
		m.Kind, m.Target.Fanout = driver.Cast, t == Fanout
	case Notify:
		m.Kind, m.Format = driver.Notification, driver.NotificationV1
	default:
		return r, &Error{Problem: "a response where a request is expected"}
	}
	if m.Context, m.Body, err = contextAndBody(frames[framePayload]); err != nil {
		return r, err
	}
	if t == Notify {
		if m.Priority, err = priority(m.Body); err != nil {
			return r, err
		}
	}
	r.Message = m
	return r, nil
}

func contextAndBody(payload []byte) (context, body []byte, err error) {
	if context, body, err = pair(payload); err != nil {
		return nil, nil, err
	}
	if pyjson.IsNull(context) {
		context = nil
	}
	switch {
	case context != nil && !isObject(context):
		return nil, nil, &Error{Problem: "the context is no object"}
	case !isObject(body):
		return nil, nil, &Error{Problem: "the message is no object"}
	}
	return context, body, nil
}

// priority is the event's own, in lower case; empty when it has none that there is.
func priority(event []byte) (string, error) {
	fields, err := pyjson.Fields(nil, event)
	if err != nil {
		return "", &Error{Problem: "the event", Err: err}
	}
	var value []byte
	for _, f := range fields {
		if string(f.Key) == "priority" {
			value = f.Value
		}
	}
	if !pyjson.IsString(value) {
		return "", nil
	}
	p := strings.ToLower(string(pyjson.UnquoteScanned(nil, value)))
	if !slices.Contains([]string{"audit", "debug", "info", "warn", "error", "critical", "sample"}, p) {
		return "", nil
	}
	return p, nil
}

// AppendRequest appends the frames of a request to dst, without an identity. The id is a UUID's
// text, the message's Body an object; of the message nothing but Context and Body crosses.
func AppendRequest(dst [][]byte, t Type, id string, m *driver.Message) [][]byte {
	context, body := orElse(m.Context, "{}"), orElse(m.Body, "{}")
	return appendFrames(dst, t, id, pairRoom+len(context)+len(body), func(buf []byte) []byte {
		return appendPair(buf, context, body)
	})
}
