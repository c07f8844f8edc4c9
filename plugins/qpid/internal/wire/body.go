// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/parleymq/parley/internal/pyjson"
	"github.com/parleymq/parley/plugin/driver"
)

// The pieces of a body, spaced as Python's json module does.
const (
	requestStart  = `{"request": `
	envelopeStart = `{"oslo.version": "2.0", "oslo.message": "`
	envelopeEnd   = `"}`
	contextStart  = `, "context": `
	noContext     = `{}`
	monitorStart  = `, "call_monitor_timeout": `
	responseStart = `{"response": `
	failureStart  = `{"failure": "`
	failureEnd    = `"}`
	null          = `null`

	// piecesRoom is more than all the pieces of one body take together.
	piecesRoom = 160
)

// bodyText makes the text of a message that has one. It is written once, into memory of its size.
func bodyText(m *driver.Message) (string, error) {
	switch m.Kind {
	case driver.Call, driver.Cast, driver.Notification:
		return requestText(m)
	case driver.Reply:
		return replyText(m)
	default:
		return "", driver.Errorf(driver.ReasonDriverBug, "wire: cannot encode a message of kind %d", m.Kind)
	}
}

func requestText(m *driver.Message) (string, error) {
	body, err := object("body", m.Body)
	if err != nil {
		return "", err
	}
	context := []byte(noContext)
	if len(m.Context) > 0 {
		if context, err = object("context", m.Context); err != nil {
			return "", err
		}
	}
	wrap := m.Kind == driver.Notification && m.Format != driver.NotificationV1
	var b strings.Builder
	b.Grow(len(body) + len(context) + escapes(wrap, body) + piecesRoom)
	b.WriteString(requestStart)
	if wrap {
		b.WriteString(envelopeStart)
		writeEscaped(&b, body)
		b.WriteString(envelopeEnd)
	} else {
		b.Write(body)
	}
	b.WriteString(contextStart)
	b.Write(context)
	if m.Kind == driver.Call && m.MonitorTimeout > 0 {
		b.WriteString(monitorStart)
		writeSeconds(&b, m.MonitorTimeout)
	}
	b.WriteByte('}')
	return b.String(), nil
}

func replyText(m *driver.Message) (string, error) {
	var b strings.Builder
	if len(m.Failure) > 0 {
		b.Grow(len(m.Failure) + escapes(true, m.Failure) + piecesRoom)
		b.WriteString(failureStart)
		writeEscaped(&b, m.Failure)
		b.WriteString(failureEnd)
		return b.String(), nil
	}
	b.Grow(len(m.Body) + piecesRoom)
	b.WriteString(responseStart)
	if len(m.Body) == 0 {
		b.WriteString(null)
	} else {
		b.Write(m.Body)
	}
	b.WriteByte('}')
	return b.String(), nil
}

// object returns text without the white space around it. It looks no further than that the text
// can be an object: the core made it.
func object(what string, text []byte) ([]byte, error) {
	text = pyjson.Trim(text)
	if len(text) < 2 || text[0] != '{' || text[len(text)-1] != '}' {
		return nil, driver.Errorf(driver.ReasonInternal, "wire: the %s of a message is not a JSON object", what)
	}
	return text, nil
}

// escapes is how many bytes longer text becomes within a string, but for what is rare.
func escapes(wrap bool, text []byte) int {
	if !wrap {
		return 0
	}
	return bytes.Count(text, []byte{'"'}) + bytes.Count(text, []byte{'\\'})
}

// writeEscaped writes text as the inside of a JSON string.
func writeEscaped(b *strings.Builder, text []byte) {
	var room [8]byte
	start := 0
	for i, c := range text {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b.Write(text[start:i])
		b.Write(pyjson.AppendEscaped(room[:0], text[i:i+1]))
		start = i + 1
	}
	b.Write(text[start:])
}

// writeSeconds writes a time as Python has it: whole seconds as an integer.
func writeSeconds(b *strings.Builder, d time.Duration) {
	var room [32]byte
	b.Write(strconv.AppendFloat(room[:0], d.Seconds(), 'f', -1, 64))
}
