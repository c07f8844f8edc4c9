// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

func specs() []driver.OptionSpec {
	return []driver.OptionSpec{
		{Name: "heartbeat_timeout_threshold", Type: driver.OptionSeconds, Default: "60", Min: driver.Bound(0), Renamed: []string{"heartbeat"}},
		{Name: "prefetch", Type: driver.OptionInt, Default: "0", Min: driver.Bound(0), Max: driver.Bound(100)},
		{Name: "durable", Type: driver.OptionBool, Default: "false"},
		{Name: "login", Type: driver.OptionString, Default: "PLAIN", Choices: []string{"PLAIN", "AMQPLAIN"}},
		{Name: "token", Type: driver.OptionInt, Default: "1", Secret: true},
	}
}

func TestOptionsHaveAValueForEveryDeclaredName(t *testing.T) {
	o, err := driver.ValidateOptions(specs(), map[string]string{"heartbeat": "1.5", "durable": "Yes", "prefetch": "7"})
	if err != nil {
		t.Fatal(err)
	}
	if got := o.Duration("heartbeat_timeout_threshold"); got != 1500*time.Millisecond {
		t.Errorf("renamed seconds: %v", got)
	}
	if !o.Bool("durable") || o.Int("prefetch") != 7 || o.String("login") != "PLAIN" {
		t.Errorf("got %v", o)
	}
	if o.Bool("no such") || o.Int("no such") != 0 || o.Duration("no such") != 0 || o.String("no such") != "" {
		t.Error("an option that was never declared has a value")
	}
}

func TestWrongOptionsSayWhatIsWanted(t *testing.T) {
	for _, tc := range []struct {
		name, value string
		texts       []string
	}{
		{"prefetsh", "1", []string{`unknown option "prefetsh"`, `did you mean "prefetch"?`}},
		{"zzzzzzzzzzzz", "1", []string{"known options: durable, heartbeat_timeout_threshold, login, prefetch, token"}},
		{"prefetch", "many", []string{`prefetch="many"`, "want a whole number"}},
		{"prefetch", "101", []string{"want from 0 to 100"}},
		{"heartbeat_timeout_threshold", "-1", []string{"want at least 0 seconds"}},
		{"heartbeat_timeout_threshold", "soon", []string{"want a number of seconds"}},
		{"heartbeat_timeout_threshold", "1e300", []string{"want a number of seconds"}},
		{"heartbeat_timeout_threshold", "NaN", []string{"want a number of seconds"}},
		{"durable", "maybe", []string{"want true or false"}},
		{"login", "NTLM", []string{"want one of PLAIN, AMQPLAIN"}},
		{"token", "hunter2", []string{"token=***"}},
	} {
		_, err := driver.ValidateOptions(specs(), map[string]string{tc.name: tc.value})
		if driver.ReasonOf(err) != driver.ReasonConfig {
			t.Errorf("%s=%s: %v", tc.name, tc.value, err)
			continue
		}
		for _, text := range tc.texts {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s=%s: %q is missing in %v", tc.name, tc.value, text, err)
			}
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a secret is shown: %v", err)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"rabbit", "fake", "zmq", "heartbeat_timeout_threshold"}
	for name, want := range map[string]string{
		"rabit": "rabbit", "RABBIT": "rabbit", "zmk": "zmq", "heartbeat_threshold": "", "heartbeat_timeout_treshhold": "heartbeat_timeout_threshold",
		"": "", "postgres": "",
	} {
		if got := driver.Nearest(name, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestBounds(t *testing.T) {
	for _, tt := range []struct {
		min, max *float64
		want     string
	}{
		{nil, nil, ""},
		{driver.Bound(0.05), nil, "at least 0.05"},
		{nil, driver.Bound(2147483647), "at most 2147483647"},
		{driver.Bound(1), driver.Bound(5), "from 1 to 5"},
	} {
		if got := (&driver.OptionSpec{Min: tt.min, Max: tt.max}).Bounds(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
