// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/internal/pyjson"
	"github.com/parleymq/parley/plugin/driver"
)

// fieldRoom is how many fields of an object are scanned without an allocation.
const fieldRoom = 16

// Decode reads what arrived at a source of that kind into d, all but its Token. d must be empty;
// what it gets may share m's memory. An error is an *Error: the message is to be rejected, and
// what d has then means nothing.
func Decode(d *driver.Delivery, m *amqp.Message, kind driver.SourceKind) error {
	text, err := body(m)
	if err != nil {
		return err
	}
	if d.UniqueID, err = uniqueID(m); err != nil {
		return err
	}
	d.Headers = headers(m.ApplicationProperties)
	d.Deadline = deadline(m)
	if m.Header != nil {
		d.TimeLeft = timeLeft(m)
		d.Redelivered = m.Header.DeliveryCount > 0
	}
	switch kind {
	case driver.SourceServer:
		return request(d, m.Properties, text)
	case driver.SourceReplies:
		return reply(d, m.Properties, text)
	case driver.SourceNotifications:
		return notification(d, text)
	default:
		return &Error{Problem: "no message can arrive at a source of kind " + strconv.Itoa(int(kind))}
	}
}

// timeLeft is the rest of a message's time, zero for one without a limit. Broker-J takes off what it
// waited there, and says 0 of one with less than a millisecond: what else comes with a limit is then
// the sign that it had one. Upstream sends its expiry time with it, whatever that says.
func timeLeft(m *amqp.Message) time.Duration {
	if m.Header.TTL > 0 {
		return m.Header.TTL
	}
	_, limited := m.ApplicationProperties[propertyDeadline]
	if limited || (m.Properties != nil && m.Properties.AbsoluteExpiryTime != nil) {
		return time.Millisecond
	}
	return 0
}

// body returns the text of a message, nil when it has none. Upstream sends it as an amqp-value that
// is a string; peers in other languages and brokers that convert make bytes of it.
func body(m *amqp.Message) ([]byte, error) {
	var text []byte
	switch v := m.Value.(type) {
	case nil:
		text = joined(m.Data)
	case string:
		text = []byte(v)
	case []byte:
		text = v
	case amqp.Null:
	default:
		return nil, &Error{Problem: fmt.Sprintf("the body is a value of AMQP (in Go %T), want JSON text", v)}
	}
	switch {
	case len(text) == 0 && len(m.Sequence) > 0:
		return nil, &Error{Problem: "the body is an AMQP sequence, want JSON text"}
	case len(text) > MaxBody:
		return nil, tooLong("body", len(text), MaxBody)
	case !utf8.Valid(text): // past here every text is valid
		return nil, &Error{Problem: "the body is not valid UTF-8"}
	}
	return text, nil
}

func joined(sections [][]byte) []byte {
	if len(sections) == 1 {
		return sections[0]
	}
	return bytes.Join(sections, nil)
}

// request reads a call or a cast: a call tells where its answer goes and what to call it.
func request(d *driver.Delivery, props *amqp.MessageProperties, text []byte) error {
	d.Kind = driver.Cast
	if props != nil && props.ReplyTo != nil && *props.ReplyTo != "" {
		id, err := callID(props.MessageID)
		if err != nil {
			return err
		}
		if err := checkText("reply-to", *props.ReplyTo, maxAddress); err != nil {
			return err
		}
		if id != "" {
			d.Kind, d.CallID, d.ReplyTo = driver.Call, id, *props.ReplyTo
		}
	}
	_, monitor, err := payload(d, text)
	if err != nil {
		return err
	}
	if d.Kind == driver.Call {
		d.MonitorTimeout = seconds(monitor)
	}
	return nil
}

func notification(d *driver.Delivery, text []byte) error {
	d.Kind = driver.Notification
	wrapped, _, err := payload(d, text)
	d.Format = driver.NotificationV1
	if wrapped {
		d.Format = driver.NotificationV2
	}
	return err
}

// payload reads the body that requests and notifications share into d's Body and Context.
func payload(d *driver.Delivery, text []byte) (wrapped bool, monitor []byte, _ error) {
	if len(text) == 0 {
		return false, nil, &Error{Problem: "a " + d.Kind.String() + " without a body"}
	}
	var room [fieldRoom]pyjson.Field
	fields, err := pyjson.Fields(room[:0], text)
	if err != nil {
		return false, nil, &Error{Problem: "the body is not a JSON object", Err: err}
	}
	var message, context []byte
	for _, f := range fields {
		switch string(f.Key) {
		case "request":
			message = f.Value
		case "context":
			context = f.Value
		case "call_monitor_timeout":
			monitor = f.Value
		}
	}
	if d.Body, wrapped, err = unwrap(message); err != nil {
		return false, nil, err
	}
	if !isObject(d.Body) {
		return false, nil, &Error{Problem: "the body has no request that is a JSON object"}
	}
	if len(context) > 0 && !pyjson.IsNull(context) {
		if !isObject(context) {
			return false, nil, &Error{Problem: "the context is not a JSON object"}
		}
		d.Context = context
	}
	return wrapped, monitor, nil
}

// unwrap returns the message in a request, which is in an envelope when it has both keys of one
// (deserialize_msg in oslo_messaging/_drivers/common.py).
func unwrap(message []byte) (_ []byte, wrapped bool, _ error) {
	if !isObject(message) || !bytes.Contains(message, []byte("oslo.")) {
		return message, false, nil
	}
	var room [fieldRoom]pyjson.Field
	fields, err := pyjson.Fields(room[:0], message)
	if err != nil {
		return nil, false, &Error{Problem: "the request is not a JSON object", Err: err}
	}
	var version, text []byte
	for _, f := range fields {
		switch string(f.Key) {
		case "oslo.version":
			version = f.Value
		case "oslo.message":
			text = f.Value
		}
	}
	if version == nil || text == nil {
		return message, false, nil
	}
	// Upstream asks for a version compatible with 2.0, which its rule (same major, minor not
	// above the own) makes this one.
	if string(version) != `"2.0"` {
		return nil, false, &Error{Problem: "the envelope of the request is not of version 2.0"}
	}
	if !pyjson.IsString(text) {
		return nil, false, &Error{Problem: "oslo.message is not a string"}
	}
	inner := pyjson.Trim(pyjson.UnquoteScanned(nil, text))
	if err := pyjson.Valid(inner); err != nil {
		return nil, false, &Error{Problem: "oslo.message is not JSON text", Err: err}
	}
	return inner, true, nil
}

// reply reads a reply or a heartbeat, which is known by its missing body.
func reply(d *driver.Delivery, props *amqp.MessageProperties, text []byte) error {
	if props == nil || props.CorrelationID == nil {
		return &Error{Problem: "a reply without correlation-id"}
	}
	var err error
	if d.CallID, err = plainID("correlation-id", props.CorrelationID); err != nil {
		return err
	}
	if d.CallID == "" {
		return &Error{Problem: "a reply with an empty correlation-id"}
	}
	if len(text) == 0 {
		d.Kind = driver.Heartbeat
		return nil
	}
	d.Kind = driver.Reply
	var room [fieldRoom]pyjson.Field
	fields, err := pyjson.Fields(room[:0], text)
	if err != nil {
		return &Error{Problem: "the body of a reply is not a JSON object", Err: err}
	}
	for _, f := range fields {
		switch string(f.Key) {
		case "response":
			d.Body = f.Value
		case "failure":
			d.Failure = f.Value
		}
	}
	d.Failure = failure(d.Failure)
	if d.Body == nil || d.Failure != nil {
		d.Body = []byte(null)
	}
	return nil
}

// failure returns the failure's object, nil for none. Upstream puts it into a string. Another form
// is still a failure, and its text is kept as the message: a caller that gets it is better off than
// one that waits.
func failure(value []byte) []byte {
	if len(value) == 0 || pyjson.IsNull(value) {
		return nil
	}
	text := value
	if pyjson.IsString(value) {
		text = pyjson.Trim(pyjson.UnquoteScanned(nil, value))
	}
	if isObject(text) && pyjson.Valid(text) == nil {
		return text
	}
	object := []byte(`{"class": "", "module": "", "message": `)
	object = pyjson.AppendString(object, text)
	return append(object, `, "tb": [], "args": [], "kwargs": {}}`...)
}

// isObject tells an object among values that have been scanned, or are yet to be.
func isObject(value []byte) bool { return len(value) >= 2 && value[0] == '{' }

// seconds reads call_monitor_timeout. What is no positive number asks for nothing.
func seconds(value []byte) time.Duration {
	if len(value) == 0 || pyjson.IsNull(value) {
		return 0
	}
	f, err := strconv.ParseFloat(string(value), 64)
	if err != nil || !(f > 0) {
		return 0
	}
	return time.Duration(math.Min(f, math.MaxInt64/float64(time.Second)/2) * float64(time.Second))
}
