// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"bytes"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/parleymq/parley/internal/pyjson"
	"github.com/parleymq/parley/plugin/driver"
)

const (
	contextPrefix = "_context_"
	// deadlineKey has the time at which nobody wants a request any more, by its sender's clock, in
	// Unix milliseconds.
	deadlineKey = "_parley_deadline"
	// fieldRoom is how many fields are scanned without an allocation: a request of OpenStack
	// has about 25, most of them context.
	fieldRoom = 32
)

// Limits bound what Decode takes.
type Limits struct {
	// MaxSize is the largest text in bytes, after decompression; zero stands for
	// DefaultMaxSize.
	MaxSize int
}

// DefaultMaxSize is the largest message of RabbitMQ 3.
const DefaultMaxSize = 128 << 20

// Decode returns the message in body, which came with these properties; compression is the
// header of that name. What it returns may share body's memory. A failure is an *Error.
func Decode(contentType, encoding, compression string, body []byte, limits Limits) (*driver.Message, error) {
	m := new(driver.Message)
	if err := DecodeInto(m, contentType, encoding, compression, body, limits); err != nil {
		return nil, err
	}
	return m, nil
}

// DecodeInto is Decode into a message that the caller has, usually a part of a delivery.
// m must be empty; after an error its contents mean nothing.
func DecodeInto(m *driver.Message, contentType, encoding, compression string, body []byte, limits Limits) error {
	if limits.MaxSize <= 0 {
		limits.MaxSize = DefaultMaxSize
	}
	if err := checkProperties(contentType, encoding); err != nil {
		return err
	}
	body, err := decompress(compression, body, limits.MaxSize)
	if err != nil {
		return err
	}
	// Python refuses it too, when it decodes the bytes. Past here every text is valid.
	if !utf8.Valid(body) {
		return &Error{Problem: "the body is not valid UTF-8"}
	}
	var room [fieldRoom]pyjson.Field
	fields, err := pyjson.Fields(room[:0], body)
	if err != nil {
		return &Error{Problem: "the body is not a JSON object", Err: err}
	}
	inner, wrapped, err := unwrap(fields)
	if err != nil {
		return err
	}
	if wrapped {
		body = inner
		if fields, err = pyjson.Fields(fields[:0], body); err != nil {
			return &Error{Problem: "oslo.message is not the text of a JSON object", Err: err}
		}
	}
	m.Format = driver.NotificationV1
	if wrapped {
		m.Format = driver.NotificationV2
	}
	return fill(m, fields, len(body))
}

// unwrap returns the inner text when fields are those of an envelope. As upstream does, an
// object counts as one when it has both keys.
func unwrap(fields []pyjson.Field) (inner []byte, wrapped bool, _ error) {
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
		return nil, false, nil
	}
	// Upstream asks for a version compatible with 2.0, which its rule (same major, minor not
	// above the own) makes this one.
	if string(version) != `"2.0"` {
		return nil, false, &Error{Problem: "the envelope has version " + shorten(bytes.Trim(version, `"`)) + ", want 2.0"}
	}
	if !pyjson.IsString(text) {
		return nil, false, &Error{Problem: "oslo.message is not a string"}
	}
	return pyjson.UnquoteScanned(nil, text), true, nil
}

// keys are the fields of an inner object that decide what it is.
type keys struct {
	method, msgID, replyQ, timeout, uniqueID []byte
	deadline                                 []byte
	result, failure, ending                  []byte
	event                                    bool // a key that only notifications have
	contexts                                 int
}

// fill makes the message of the fields. size bounds the texts that are put together.
func fill(m *driver.Message, fields []pyjson.Field, size int) error {
	k := collect(fields)
	for _, s := range []struct {
		name  string
		value []byte
		to    *string
	}{
		{"_unique_id", k.uniqueID, &m.UniqueID}, {"_msg_id", k.msgID, &m.CallID}, {"_reply_q", k.replyQ, &m.ReplyTo},
	} {
		if err := stringField(s.name, s.value, s.to); err != nil {
			return err
		}
	}
	switch {
	case k.method != nil || m.CallID != "" && m.ReplyTo != "":
		m.Format = 0
		fillRequest(m, &k, fields, size)
		return nil
	case !k.event && (k.result != nil || k.failure != nil || k.ending != nil):
		m.Format = 0
		return fillReply(m, &k)
	default:
		m.Kind = driver.Notification
		m.CallID, m.ReplyTo = "", ""
		fillBody(m, fields, size, k.contexts)
		return nil
	}
}

func collect(fields []pyjson.Field) (k keys) {
	for _, f := range fields {
		switch string(f.Key) {
		case "method":
			k.method = f.Value
		case "_msg_id":
			k.msgID = f.Value
		case "_reply_q":
			k.replyQ = f.Value
		case "_timeout":
			k.timeout = f.Value
		case "_unique_id":
			k.uniqueID = f.Value
		case deadlineKey:
			k.deadline = f.Value
		case "result":
			k.result = f.Value
		case "failure":
			k.failure = f.Value
		case "ending":
			k.ending = f.Value
		case "event_type", "publisher_id":
			k.event = true
		default:
			if isContext(f.Key) {
				k.contexts++
			}
		}
	}
	return k
}

// stringField stores a string that may be absent or null.
func stringField(name string, value []byte, to *string) error {
	if value == nil || pyjson.IsNull(value) {
		return nil
	}
	if !pyjson.IsString(value) {
		return &Error{Problem: name + " is not a string"}
	}
	inner := value[1 : len(value)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		*to = string(inner)
		return nil
	}
	*to = string(pyjson.UnquoteScanned(nil, value))
	return nil
}

// fillRequest makes a call of what asks for an answer and says where to, and a cast of the
// rest. Whether method and args make sense is for the dispatcher, which can answer.
func fillRequest(m *driver.Message, k *keys, fields []pyjson.Field, size int) {
	if m.CallID != "" && m.ReplyTo != "" {
		m.Kind = driver.Call
		m.MonitorTimeout = seconds(k.timeout)
	} else {
		m.Kind = driver.Cast
		m.CallID, m.ReplyTo = "", ""
	}
	m.Deadline = deadline(k.deadline)
	fillBody(m, fields, size, k.contexts)
}

// deadline reads _parley_deadline. What is no positive integer that a clock could show tells
// nothing, and is no reason to refuse a request.
func deadline(value []byte) time.Time {
	if len(value) == 0 || len(value) > 13 {
		return time.Time{}
	}
	ms := int64(0)
	for _, c := range value {
		if c < '0' || c > '9' {
			return time.Time{}
		}
		ms = ms*10 + int64(c-'0')
	}
	return driver.DeadlineTime(ms)
}

// seconds reads _timeout. What is no positive number asks for nothing.
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

// fillReply makes a reply or a heartbeat.
//
// Servers from before 2015 sent the result with ending false and then an empty message with
// ending true. The first of the two is the reply here; the second then answers a call that is
// not waiting any more. A heartbeat is told from it by its null result. A reply without ending,
// which a Python client ignores, is an answer here: there is nothing else it could be.
func fillReply(m *driver.Message, k *keys) error {
	if m.CallID == "" {
		return &Error{Problem: "a reply without _msg_id"}
	}
	m.ReplyTo = ""
	failure := parseFailure(k.failure)
	m.Failure = failure
	null := k.result == nil || pyjson.IsNull(k.result)
	if failure == nil && null && string(k.ending) == "false" {
		m.Kind = driver.Heartbeat
		return nil
	}
	m.Kind = driver.Reply
	m.Body = k.result
	if failure != nil || null {
		m.Body = []byte("null")
	}
	return nil
}

// parseFailure returns the failure's object, nil for success: what Python takes as false.
// A failure in another form than upstream's text of an object is still a failure, and its text
// is kept as the message; a caller that gets it early is better off than one that waits.
func parseFailure(value []byte) []byte {
	switch string(value) {
	case "", "null", `""`, "false", "0", "{}", "[]":
		return nil
	}
	text := value
	if pyjson.IsString(value) {
		text = pyjson.UnquoteScanned(nil, value)
	}
	var room [fieldRoom]pyjson.Field
	if _, err := pyjson.Fields(room[:0], text); err == nil {
		return pyjson.Trim(text)
	}
	object := []byte(`{"class": "", "module": "", "message": `)
	object = pyjson.AppendString(object, text)
	return append(object, `, "tb": [], "args": [], "kwargs": {}}`...)
}

// isContext reports whether a key is that of a context entry, whose name may be empty.
func isContext(key []byte) bool {
	return len(key) >= len(contextPrefix) && string(key[:len(contextPrefix)]) == contextPrefix
}

func isReserved(key []byte) bool {
	if len(key) == 0 || key[0] != '_' {
		return false
	}
	switch string(key) {
	case "_msg_id", "_reply_q", "_timeout", "_unique_id", deadlineKey:
		return true
	}
	return isContext(key)
}

// fillBody puts the fields that are not reserved back into one object, and the context's into
// another. One buffer holds both: neither can be longer than the text they came from, but for
// the separators, which are counted.
func fillBody(m *driver.Message, fields []pyjson.Field, size, contexts int) {
	buf := make([]byte, 0, size+2*len(fields)+4)
	buf = append(buf, '{')
	for _, f := range fields {
		if !isReserved(f.Key) {
			buf = appendField(buf, f.Key, f.Value)
		}
	}
	buf = append(buf, '}')
	m.Body = buf[:len(buf):len(buf)]
	if contexts == 0 {
		return
	}
	start := len(buf)
	buf = append(buf, '{')
	for _, f := range fields {
		if isContext(f.Key) {
			buf = appendField(buf, f.Key[len(contextPrefix):], f.Value)
		}
	}
	buf = append(buf, '}')
	m.Context = buf[start:]
}

func appendField(buf, key, value []byte) []byte {
	if buf[len(buf)-1] != '{' {
		buf = append(buf, ", "...)
	}
	buf = append(buf, '"')
	buf = pyjson.AppendEscaped(buf, key)
	buf = append(buf, `": `...)
	return append(buf, value...)
}
