// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"strconv"
	"time"

	"github.com/parleymq/parley/internal/pyjson"
	"github.com/parleymq/parley/plugin/driver"
)

// The properties of every message that Append makes.
const (
	ContentType     = "application/json"
	ContentEncoding = "utf-8"
)

// Append appends the text of m to dst: format 2.0, or 1.0 for a notification of that format.
// On an error dst is returned as it was.
func Append(dst []byte, m *driver.Message) ([]byte, error) {
	e := emitter{dst: dst, wrap: m.Kind != driver.Notification || m.Format != driver.NotificationV1}
	if e.wrap {
		e.dst = append(e.dst, `{"oslo.version": "2.0", "oslo.message": "`...)
	}
	if err := e.message(m); err != nil {
		return dst, err
	}
	if e.wrap {
		e.dst = append(e.dst, `"}`...)
	}
	return e.dst, nil
}

// emitter writes the inner object. With wrap everything it writes is escaped on the way, so
// that the text within the text is made in one pass.
type emitter struct {
	dst  []byte
	wrap bool
	some bool // a field was written
}

func (e *emitter) message(m *driver.Message) error {
	e.text("{")
	switch m.Kind {
	case driver.Call, driver.Cast:
		if err := e.splice("body", m.Body); err != nil {
			return err
		}
		if m.Kind == driver.Call {
			e.stringField("_msg_id", m.CallID)
			e.stringField("_reply_q", m.ReplyTo)
			e.timeout(m.MonitorTimeout)
		}
		e.deadline(m)
	case driver.Reply, driver.Heartbeat:
		e.reply(m)
	case driver.Notification:
		if err := e.splice("body", m.Body); err != nil {
			return err
		}
	default:
		return driver.Errorf(driver.ReasonDriverBug, "envelope: cannot encode a message of kind %d", m.Kind)
	}
	if m.UniqueID != "" {
		e.stringField("_unique_id", m.UniqueID)
	}
	if err := e.context(m); err != nil {
		return err
	}
	e.text("}")
	return nil
}

// reply writes the keys of a reply. All of them are always there: Python looks them up.
func (e *emitter) reply(m *driver.Message) {
	e.key("result")
	if len(m.Body) == 0 || m.Kind == driver.Heartbeat {
		e.text("null")
	} else {
		e.raw(m.Body)
	}
	e.key("failure")
	if len(m.Failure) == 0 {
		e.text("null")
	} else {
		e.bytesValue(m.Failure)
	}
	e.key("ending")
	e.text(strconv.FormatBool(m.Kind == driver.Reply))
	e.stringField("_msg_id", m.CallID)
}

// timeout writes _timeout, which every call has: null, or seconds, whole ones as an integer.
func (e *emitter) timeout(d time.Duration) {
	e.key("_timeout")
	if d <= 0 {
		e.text("null")
		return
	}
	var room [32]byte
	e.raw(strconv.AppendFloat(room[:0], d.Seconds(), 'f', -1, 64))
}

// deadline writes when nobody wants the message any more. The key is not upstream's. A Python server does
// not see it: it takes the keys it knows out of the object (_drivers/amqpdriver.py) and looks up
// method, args, namespace and version in the rest (rpc/dispatcher.py).
func (e *emitter) deadline(m *driver.Message) {
	if ms := m.DeadlineMillis(); ms != 0 {
		e.key(deadlineKey)
		e.dst = strconv.AppendInt(e.dst, ms, 10) // digits need no escape
	}
}

// splice writes the fields of a raw object without looking at them.
func (e *emitter) splice(what string, object []byte) error {
	object = pyjson.Trim(object)
	if len(object) < 2 || object[0] != '{' || object[len(object)-1] != '}' {
		return driver.Errorf(driver.ReasonInternal, "envelope: the %s of a message is not a JSON object", what)
	}
	inner := pyjson.Trim(object[1 : len(object)-1])
	if len(inner) == 0 {
		return nil
	}
	e.separate()
	e.raw(inner)
	return nil
}

// context writes the fields of m.Context, each under its reserved name.
func (e *emitter) context(m *driver.Message) error {
	if len(m.Context) == 0 || m.Kind == driver.Reply || m.Kind == driver.Heartbeat {
		return nil
	}
	var room [fieldRoom]pyjson.Field
	fields, err := pyjson.Fields(room[:0], m.Context)
	if err != nil {
		return driver.Errorf(driver.ReasonInternal, "envelope: the context of a message is not a JSON object: %w", err)
	}
	for _, f := range fields {
		e.separate()
		e.text(`"` + contextPrefix)
		if e.wrap {
			// The key is decoded here and is escaped for the inner text and again for the outer.
			e.dst = pyjson.AppendEscaped(e.dst, pyjson.AppendEscaped(nil, f.Key))
		} else {
			e.dst = pyjson.AppendEscaped(e.dst, f.Key)
		}
		e.text(`": `)
		e.raw(f.Value)
	}
	return nil
}

func (e *emitter) separate() {
	if e.some {
		e.dst = append(e.dst, ", "...)
	}
	e.some = true
}

// key writes a key that needs no escape, and its colon.
func (e *emitter) key(name string) {
	e.separate()
	if e.wrap {
		e.dst = append(append(append(e.dst, `\"`...), name...), `\": `...)
		return
	}
	e.dst = append(append(append(e.dst, '"'), name...), `": `...)
}

func (e *emitter) stringField(name, value string) {
	e.key(name)
	if plain(value) {
		if e.wrap {
			e.dst = append(append(append(e.dst, `\"`...), value...), `\"`...)
			return
		}
		e.dst = append(append(append(e.dst, '"'), value...), '"')
		return
	}
	e.bytesValue([]byte(value))
}

// plain reports whether s needs no escape at all, as the ids that we make.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// bytesValue writes a text as a string value.
func (e *emitter) bytesValue(value []byte) {
	if !e.wrap {
		e.dst = pyjson.AppendString(e.dst, value)
		return
	}
	e.raw(pyjson.AppendString(nil, value))
}

func (e *emitter) text(s string) {
	if e.wrap {
		e.dst = pyjson.AppendEscaped(e.dst, s)
		return
	}
	e.dst = append(e.dst, s...)
}

func (e *emitter) raw(value []byte) {
	if e.wrap {
		e.dst = pyjson.AppendEscaped(e.dst, value)
		return
	}
	e.dst = append(e.dst, value...)
}
