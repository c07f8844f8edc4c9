// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/pyjson"
	"github.com/parleymq/parley/messaging"
)

// shownNotification is a line of listen -o json.
type shownNotification struct {
	MessageID   string            `json:"message_id"`
	PublisherID string            `json:"publisher_id"`
	EventType   string            `json:"event_type"`
	Priority    string            `json:"priority"`
	Payload     json.RawMessage   `json:"payload"`
	Timestamp   *time.Time        `json:"timestamp"`
	Context     map[string]any    `json:"context"`
	Headers     map[string]string `json:"headers"`
	Redelivered bool              `json:"redelivered"`
}

func TestJSONLine(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678000, time.UTC)
	tests := []struct {
		name string
		n    messaging.Notification
		want string
	}{
		{"all", messaging.Notification{
			MessageID: "m", PublisherID: "p", EventType: "e", Priority: messaging.PriorityWarn, Payload: []byte(`{"a": 1}`), Timestamp: at,
			Context: messaging.RequestContext{"user": "u"}, Headers: map[string]string{"k": "v"}, Redelivered: true,
		}, `{"message_id":"m","publisher_id":"p","event_type":"e","priority":"warn","payload":{"a": 1},"timestamp":"2026-01-02T03:04:05.000678Z",` +
			`"context":{"user": "u"},"headers":{"k": "v"},"redelivered":true}`},
		{
			"nothing", messaging.Notification{},
			`{"message_id":"","publisher_id":"","event_type":"","priority":"","payload":null,"timestamp":null,"context":{},"headers":{},"redelivered":false}`,
		},
		{
			"Python's numbers stay, line breaks and what a terminal obeys do not",
			messaging.Notification{EventType: "\x1b[2J\u009b", Payload: []byte("[NaN,\n\t\"\u202ex\"]")},
			`{"message_id":"","publisher_id":"","event_type":"\u001b[2J\u009b","priority":"","payload":[NaN, "\u202ex"],"timestamp":null,"context":{},"headers":{},"redelivered":false}`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := string(jsonLine(&test.n)); got != test.want {
				t.Errorf("got\n%s, want\n%s", got, test.want)
			}
			if _, err := pyjson.Decode(jsonLine(&test.n)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTextOfNotification(t *testing.T) {
	n := &messaging.Notification{
		PublisherID: "compute.host1", EventType: "disk full\n", Priority: messaging.PriorityError, Payload: []byte("{\"a\":\"\u009b\"}"),
		Timestamp: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC), Redelivered: true,
	}
	plain := notificationPrinter{}
	if got, want := string(plain.text(n)), `2026-01-02 03:04:05.678Z ERROR    compute.host1 "disk full\n" again {"a":"\u009b"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := string(plain.text(&messaging.Notification{Priority: messaging.PriorityInfo})), `no time                  INFO     - - null`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	coloured := notificationPrinter{paint: paint{on: true}}
	if got := string(coloured.text(n)); !strings.Contains(got, "\x1b[31mERROR") || !strings.Contains(got, "\x1b[1m\"disk full") {
		t.Errorf("got %q", got)
	}
}

// TestPrinterStopsAtCount: what comes behind it goes back.
func TestPrinterStopsAtCount(t *testing.T) {
	var out bytes.Buffer
	var cause error
	p := &notificationPrinter{w: &out, json: true, limit: 2, stop: func(err error) { cause = err }}
	for i := range 4 {
		err := p.print(t.Context(), &messaging.Notification{})
		if back := errors.Is(err, messaging.ErrRequeue); back != (i >= 2) {
			t.Errorf("%d: got %v", i, err)
		}
	}
	if printed, err := p.result(); printed != 2 || err != nil || !errors.Is(cause, errCounted) || strings.Count(out.String(), "\n") != 2 {
		t.Errorf("got %d, %v, %v: %s", printed, err, cause, out.String())
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// TestPrinterGivesBackWhatItCannotWrite: a line that was not written is not acknowledged.
func TestPrinterGivesBackWhatItCannotWrite(t *testing.T) {
	var cause error
	p := &notificationPrinter{w: brokenWriter{}, stop: func(err error) { cause = err }}
	for range 2 {
		if err := p.print(t.Context(), &messaging.Notification{}); !errors.Is(err, messaging.ErrRequeue) {
			t.Errorf("got %v", err)
		}
	}
	if printed, err := p.result(); printed != 0 || !errors.Is(err, syscall.ENOSPC) || !errors.Is(cause, syscall.ENOSPC) {
		t.Errorf("got %d, %v, %v", printed, err, cause)
	}
}

// TestListenOutcome has what the ends of listening mean for the exit status.
func TestListenOutcome(t *testing.T) {
	closed := &messaging.Error{Code: messaging.CodeServerClosed, Op: "listen"}
	refused := &messaging.Error{Code: messaging.CodeRefused, Op: "listen"}
	tests := []struct {
		name           string
		count, printed int
		cause          error
		writeErr, err  error
		want           int
	}{
		{"all came", 3, 3, errCounted, nil, closed, exitDone},
		{"too few came", 3, 2, errTimeOver, nil, closed, exitNoReply},
		{"the last one came as the time ended", 3, 3, errTimeOver, nil, closed, exitDone},
		{"the time is over", 0, 0, errTimeOver, nil, closed, exitDone},
		{"no start", 0, 0, errNotStarted, nil, closed, exitNoReply},
		{"a signal", 0, 7, context.Canceled, nil, closed, exitDone},
		{"a signal before all came", 3, 2, context.Canceled, nil, closed, exitInterrupted},
		{"who reads has ended", 3, 2, syscall.EPIPE, syscall.EPIPE, closed, exitDone},
		{"the disk is full", 0, 2, syscall.ENOSPC, syscall.ENOSPC, closed, exitUnavailable},
		{"the broker refused", 0, 0, context.Canceled, nil, refused, exitUnavailable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(test.cause)
			f := &listenFlags{count: test.count}
			p := &notificationPrinter{done: test.printed, err: test.writeErr}
			err := f.outcome(ctx, &session{}, p, test.err)
			if status := (&app{stderr: &bytes.Buffer{}, env: func(string) string { return "" }}).finish(ctx, err); status != test.want {
				t.Errorf("%v ends with %d, want %d", err, status, test.want)
			}
		})
	}
}
