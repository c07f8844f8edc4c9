// SPDX-License-Identifier: Apache-2.0

package badinput

import (
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/messaging"
)

// TestBroker calls over brokers that are not there or do not let us in. What waiting does not
// heal fails at once, the rest when the call's time is over.
func TestBroker(t *testing.T) {
	broker := bed.Broker(t)
	addr := broker.Addr()
	const limit = 1500 * time.Millisecond
	for _, tc := range []struct {
		name   string
		url    string
		atOnce bool
		texts  []string
	}{
		{"refused", "rabbit://guest:guest@127.0.0.1:1/", false,
			[]string{"cannot connect to 127.0.0.1:1", "connection refused", "check that the broker runs and that host and port are right"}},
		{"unknown host", "rabbit://guest:guest@broker.invalid/", false,
			[]string{"cannot connect to broker.invalid:5672", "check that the broker runs"}},
		{"wrong password", "rabbit://guest:wrong@" + addr + "/", true,
			[]string{addr + ` refused the login of user "guest"`, "check user and password in the URL"}},
		{"unknown user", "rabbit://nobody:guest@" + addr + "/", true,
			[]string{addr + ` refused the login of user "nobody"`}},
		{"missing vhost", "rabbit://guest:guest@" + addr + "/no%20such", true,
			[]string{addr + ` has no virtual host "no such" for user "guest"`, "create the virtual host"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr, logs := bed.Open(t, tc.url)
			c := messaging.NewRPCClient(tr, messaging.Target{Topic: "t"}, &messaging.RPCClientOptions{Timeout: patience})
			if !tc.atOnce {
				c = c.With(messaging.Timeout(limit))
			}
			for verb, do := range map[string]func() error{
				"call": func() error { return c.Call(t.Context(), "echo", nil, nil) },
				"cast": func() error { return c.Cast(t.Context(), "echo", nil) },
			} {
				began := time.Now()
				err := do()
				took := time.Since(began)
				mustSay(t, err, messaging.ErrUnavailable, append(tc.texts, verb+" echo <topic=t>")...)
				if tc.atOnce && took > patience/2 || !tc.atOnce && took > limit+3*time.Second {
					t.Errorf("the %s took %v", verb, took)
				}
			}
			if !strings.Contains(logs.String(), tc.texts[0]) && !strings.Contains(logs.String(), strings.ReplaceAll(tc.texts[0], `"`, `\"`)) {
				t.Error("the log says nothing of it")
			}
		})
	}
}
