// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/tlspeer"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

func TestTemporary(t *testing.T) {
	with := driver.Info{Options: []driver.OptionSpec{{Name: "amqp_auto_delete"}, {Name: "other"}}}
	tests := []struct {
		raw  string
		info driver.Info
		want string
	}{
		{"x://h/v", driver.Info{}, "x://h/v"},
		{"x://h/v", with, "x://h/v?amqp_auto_delete=true"},
		{"x://h?other=1", with, "x://h?other=1&amqp_auto_delete=true"},
		{"x://h/v#f?", with, "x://h/v?amqp_auto_delete=true"},
		{"x://h?amqp_auto_delete=false", with, "x://h?amqp_auto_delete=false"},
	}
	for _, test := range tests {
		u, err := messaging.ParseURL(test.raw, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := temporary(test.raw, u, test.info); got != test.want {
			t.Errorf("%s: got %s, want %s", test.raw, got, test.want)
		}
	}
}

// TestExplain: time that ran out without a broker is the broker's fault, and only then.
func TestExplain(t *testing.T) {
	late := &messaging.Error{Code: messaging.CodeNoReply, Message: "late"}
	refused := messaging.State{Phase: messaging.PhaseConnecting, Err: driver.Errorf(driver.ReasonNotConnected, "connection refused")}
	tests := []struct {
		name   string
		states []messaging.State
		err    error
		want   int
	}{
		{"never there", []messaging.State{refused}, late, exitUnavailable},
		{"there", []messaging.State{refused, {Phase: messaging.PhaseReady}}, late, exitNoReply},
		{"lost", []messaging.State{{Phase: messaging.PhaseReady}, refused}, late, exitNoReply},
		{"unknown", nil, late, exitNoReply},
		{"another error", []messaging.State{refused}, &messaging.Error{Code: messaging.CodeConfig}, exitUsage},
		{"raised", []messaging.State{refused}, &messaging.RemoteError{}, exitRemote},
	}
	for _, test := range tests {
		s := &session{}
		for _, state := range test.states {
			s.note(state)
		}
		err := s.explain(test.err)
		if got := exitStatus(err); got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: got %d (%v), want %d", test.name, got, err, test.want)
		}
	}
}

// TestCertificateFinding: a certificate that ends within two weeks is told.
func TestCertificateFinding(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for left, want := range map[time.Duration]finding{
		14 * 24 * time.Hour: {text: "h:5671 speaks TLS 1.3 as CN=b for h, 14 days left"},
		14*24*time.Hour - time.Second: {
			text: "h:5671 speaks TLS 1.3 as CN=b for h, 13 days left",
			hint: "renew the certificate of h:5671: it ends at 2026-01-16T03:04:04Z",
		},
	} {
		seen := tlspeer.Seen{Version: "TLS 1.3", Subject: "CN=b", Names: "h", Expires: now.Add(left)}
		if got := certificateFinding("h:5671", seen, now); got != want {
			t.Errorf("%v: got %+v, want %+v", left, got, want)
		}
	}
}

// TestDoctorWithoutBroker: a driver that has none is not failed for it.
func TestDoctorWithoutBroker(t *testing.T) {
	for url, want := range map[string]map[string]string{
		"zmq:///run/mesh":                {"dns": stepSkip, "tcp": stepSkip, "tls": stepSkip, "vhost": stepSkip},
		"zmq://127.0.0.1:1/":             {"dns": stepOK, "tcp": stepWarn, "tls": stepSkip, "vhost": stepSkip},
		"zmq://no-such-host.invalid:99/": {"dns": stepWarn, "tcp": stepWarn, "tls": stepSkip, "vhost": stepSkip},
	} {
		u, err := messaging.ParseURL(url, nil)
		if err != nil {
			t.Fatal(err)
		}
		x := &examination{url: u, timeout: time.Second, info: driver.Info{Name: "zmq", Capabilities: []driver.Capability{driver.CapDirect}, DefaultPort: 9501}}
		for _, s := range x.steps() {
			if want[s.name] == "" {
				continue
			}
			r := x.perform(t.Context(), s)
			if r.Status != want[s.name] || r.Detail == "" || (r.Status == stepWarn) != (r.Hint != "") {
				t.Errorf("%s: got %+v, want %s", url, r, want[s.name])
			}
			if r.Status == stepSkip && !strings.HasPrefix(r.Detail, noBroker) {
				t.Errorf("%s: %s does not say why: %s", url, s.name, r.Detail)
			}
		}
	}
}
