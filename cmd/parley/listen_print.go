// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/parleymq/parley/internal/pyjson"
	"github.com/parleymq/parley/messaging"
)

// notificationPrinter writes a line for each notification, up to a number of them. What comes
// later, or could not be written, goes back to the broker.
type notificationPrinter struct {
	w     io.Writer
	json  bool
	paint paint
	limit int // 0 is without
	stop  context.CancelCauseFunc

	mu   sync.Mutex // guards the rest
	done int
	err  error // of writing
}

func newNotificationPrinter(a *app, limit int, stop context.CancelCauseFunc) *notificationPrinter {
	return &notificationPrinter{w: a.stdout, json: a.json(), paint: a.paint(a.stdout), limit: limit, stop: stop}
}

// errEnough gives back what is not wanted any more.
var errEnough = fmt.Errorf("no more is wanted: %w", messaging.ErrRequeue)

// print is the handler of all priorities. It returns when the line is written.
func (p *notificationPrinter) print(_ context.Context, n *messaging.Notification) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil || p.limit > 0 && p.done == p.limit {
		return errEnough
	}
	line := p.text(n)
	if p.json {
		line = jsonLine(n)
	}
	if _, err := p.w.Write(append(line, '\n')); err != nil {
		p.err = fmt.Errorf("write the notification: %w", err)
		p.stop(p.err)
		return errors.Join(p.err, messaging.ErrRequeue)
	}
	p.done++
	if p.done == p.limit {
		p.stop(errCounted)
	}
	return nil
}

// result is how many lines were written, and why there are no more of them.
func (p *notificationPrinter) result() (printed int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done, p.err
}

// shownTime is how times are shown to people, in UTC.
const shownTime = "2006-01-02 15:04:05.000Z"

// text is a notification for people.
func (p *notificationPrinter) text(n *messaging.Notification) []byte {
	at := "no time"
	if !n.Timestamp.IsZero() {
		at = n.Timestamp.UTC().Format(shownTime)
	}
	again := ""
	if n.Redelivered {
		again = p.paint.yellow("again") + " "
	}
	return fmt.Appendf(nil, "%s %s %s %s %s%s", pad(at, len(shownTime)), p.priority(n.Priority), shownText(n.PublisherID),
		p.paint.bold(shownText(n.EventType)), again, oneLine(n.Payload))
}

// priorityWidth is that of the longest priority.
const priorityWidth = len("CRITICAL")

func (p *notificationPrinter) priority(priority messaging.Priority) string {
	text := pad(strings.ToUpper(string(priority)), priorityWidth)
	switch priority {
	case messaging.PriorityError, messaging.PriorityCritical:
		return p.paint.red(text)
	case messaging.PriorityWarn:
		return p.paint.yellow(text)
	case messaging.PriorityInfo:
		return p.paint.green(text)
	default:
		return text
	}
}

// shownText is a foreign text for a terminal: "-" for none, and quoted when it would not stand
// as one word.
func shownText(s string) string {
	if s == "" {
		return "-"
	}
	if strings.ContainsFunc(s, func(r rune) bool {
		return unsafeRune(r) || unicode.IsSpace(r) || r == '"' || r == unicode.ReplacementChar
	}) {
		return string(harmless(pyjson.AppendString(nil, s)))
	}
	return s
}

// jsonLine is a notification for programs.
func jsonLine(n *messaging.Notification) []byte {
	line := make([]byte, 0, len(n.Payload)+512)
	text := func(key, value string) {
		line = append(line, key...)
		line = pyjson.AppendString(line, value)
	}
	text(`{"message_id":`, n.MessageID)
	text(`,"publisher_id":`, n.PublisherID)
	text(`,"event_type":`, n.EventType)
	text(`,"priority":`, string(n.Priority))
	line = append(line, `,"payload":`...)
	line = append(line, oneLine(n.Payload)...)
	if n.Timestamp.IsZero() {
		line = append(line, `,"timestamp":null`...)
	} else {
		text(`,"timestamp":`, n.Timestamp.UTC().Format(time.RFC3339Nano))
	}
	line = append(line, `,"context":`...)
	line = appendObject(line, n.Context)
	headers := make(map[string]any, len(n.Headers))
	for key, value := range n.Headers {
		headers[key] = value
	}
	line = append(line, `,"headers":`...)
	line = appendObject(line, headers)
	line = fmt.Appendf(line, `,"redelivered":%t}`, n.Redelivered)
	return harmless(line)
}

// appendObject appends a map as an object, {} for nil.
func appendObject(dst []byte, object map[string]any) []byte {
	if len(object) == 0 {
		return append(dst, "{}"...)
	}
	text, err := pyjson.Append(dst, object)
	if err != nil { // it came as JSON
		return append(dst, "null"...)
	}
	return text
}

// oneLine is JSON as it came, without line breaks and what a terminal would obey.
func oneLine(raw []byte) []byte {
	if len(raw) == 0 {
		return []byte("null")
	}
	if bytes.ContainsAny(raw, "\r\n\t") {
		if v, err := pyjson.Decode(raw); err == nil {
			if text, err := pyjson.Encode(v); err == nil {
				raw = text
			}
		}
	}
	return harmless(raw)
}

// harmless escapes in JSON what a terminal would obey, or what shows other text than there is. Outside
// of strings JSON has none of that.
func harmless(text []byte) []byte {
	if !bytes.ContainsFunc(text, unsafeRune) {
		return text
	}
	out := make([]byte, 0, len(text)+16)
	for _, r := range string(text) {
		if unsafeRune(r) {
			out = fmt.Appendf(out, `\u%04x`, r)
		} else {
			out = append(out, string(r)...)
		}
	}
	return out
}

// unsafeRune tells control characters, and those that turn the direction of text or break lines.
func unsafeRune(r rune) bool {
	return unicode.IsControl(r) || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x2028 || r == 0x2029
}
