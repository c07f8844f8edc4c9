// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/parleymq/parley/plugin/driver"
)

func TestErrorsAnswerErrorsIs(t *testing.T) {
	err := fmt.Errorf("send: %w", driver.Errorf(driver.ReasonNoRoute, "nobody at %q: %w", "t", io.EOF).WithHint("start a server"))
	if !errors.Is(err, &driver.Error{Reason: driver.ReasonNoRoute}) || errors.Is(err, &driver.Error{Reason: driver.ReasonConfig}) {
		t.Error("asked by reason")
	}
	if !errors.Is(err, io.EOF) {
		t.Error("the cause is lost")
	}
	if got := err.Error(); got != `send: nobody at "t": EOF; start a server [NO_ROUTE]` {
		t.Error(got)
	}
	expired := driver.Errorf(driver.ReasonExpired, "late")
	if !errors.Is(expired, context.DeadlineExceeded) || errors.Is(expired, context.Canceled) {
		t.Error("an expired message is a deadline that was exceeded")
	}
	if !errors.Is(driver.Errorf(driver.ReasonCancelled, "gone"), context.Canceled) {
		t.Error("a cancelled message is a cancellation")
	}
}

func TestReasonOf(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want driver.Reason
	}{
		{driver.Errorf(driver.ReasonAuthRefused, "no"), driver.ReasonAuthRefused},
		{fmt.Errorf("x: %w", context.Canceled), driver.ReasonCancelled},
		{context.DeadlineExceeded, driver.ReasonExpired},
		{io.EOF, driver.ReasonInternal},
	} {
		if got := driver.ReasonOf(tc.err); got != tc.want {
			t.Errorf("ReasonOf(%v) = %s, want %s", tc.err, got, tc.want)
		}
		if got := driver.AsError(tc.err); got.Reason != tc.want {
			t.Errorf("AsError(%v) has reason %s", tc.err, got.Reason)
		}
	}
	if driver.AsError(nil) != nil {
		t.Error("nil is an error")
	}
	for _, r := range driver.Reasons() {
		if !r.Known() {
			t.Errorf("%s is not known", r)
		}
	}
	if driver.Reason("SOMETHING").Known() {
		t.Error("the list is not closed")
	}
}

func TestBatchErrorNamesEachMessage(t *testing.T) {
	inner := driver.Errorf(driver.ReasonNoRoute, "nobody")
	var err error = &driver.BatchError{Errs: []error{nil, inner, nil}}
	if driver.MessageErr(err, 0) != nil || driver.MessageErr(err, 1) != error(inner) || driver.MessageErr(err, 9) != nil {
		t.Error("not by message")
	}
	if !errors.Is(err, &driver.Error{Reason: driver.ReasonNoRoute}) || !strings.HasPrefix(err.Error(), "1 of 3 messages failed") {
		t.Error(err)
	}
	if driver.MessageErr(io.EOF, 2) != io.EOF {
		t.Error("any other error stands for all")
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	h := driver.Host{Name: "h", User: "u", Password: "planted", HasUser: true, HasPassword: true}
	text, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "host", h, "password", h.Password)
	shown := fmt.Sprintf("%v %+v %#v %s %q", h, h, h, h.Password, h.Password) + string(text) + log.String()
	if strings.Contains(shown, "planted") {
		t.Error(shown)
	}
	if h.Password.Reveal() != "planted" || driver.Secret("").String() != "" {
		t.Error("the secret itself is lost")
	}
}

func TestHostAddress(t *testing.T) {
	for want, h := range map[string]driver.Host{
		"localhost:5672": {}, "h:1": {Name: "h", Port: 1}, "[::1]:5672": {Name: "::1"},
	} {
		if got := h.Address(5672); got != want {
			t.Errorf("%+v: %s, want %s", h, got, want)
		}
	}
}
