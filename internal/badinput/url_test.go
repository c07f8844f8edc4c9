// SPDX-License-Identifier: Apache-2.0

package badinput

import (
	"testing"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// TestURL opens URLs that name no driver to be had, or say it wrongly.
func TestURL(t *testing.T) {
	for _, tc := range []struct {
		name    string
		url     string
		aliases map[string]string
		want    error
		texts   []string
	}{
		{name: "empty", url: "", want: messaging.ErrInvalidURL, texts: []string{"has no scheme", "rabbit://"}},
		{name: "without scheme", url: "guest@host:5672/vhost", want: messaging.ErrInvalidURL,
			texts: []string{"transport URL has no scheme", "write it as e.g. rabbit://user@host:5672/vhost"}},
		{name: "host and port alone", url: "localhost:5672", want: messaging.ErrInvalidURL, texts: []string{"transport URL has no scheme"}},
		{name: "unknown driver", url: "carrot://host/", want: messaging.ErrConfig,
			texts: []string{`no driver "carrot" found`, "looked in " + bed.Drivers + " (option)", "/usr/lib/parley/drivers (system", "drivers there: ", "rabbit", "put the program parley-driver-carrot", "PARLEY_DRIVER_PATH"}},
		{name: "misspelt driver", url: "rabit://host/", want: messaging.ErrConfig,
			texts: []string{`no driver "rabit" found`, `did you mean "rabbit"?`}},
		{name: "alias of an unknown driver", url: "old://host/", aliases: map[string]string{"old": "older"}, want: messaging.ErrConfig,
			texts: []string{`no driver "older" found`}},
		{name: "alias cycle", url: "a://host/", aliases: map[string]string{"a": "b", "b": "c", "c": "a"}, want: messaging.ErrInvalidURL,
			texts: []string{"the aliases go round in a circle: a -> b -> c -> a"}},
		{name: "alias to a path", url: "a://host/", aliases: map[string]string{"a": "/tmp/driver"}, want: messaging.ErrInvalidURL,
			texts: []string{`alias "a" points to "/tmp/driver"`, "an alias names a driver, never a path"}},
		{name: "port", url: "rabbit://host:56720000/", want: messaging.ErrInvalidURL, texts: []string{"host 1: the port is not a number from 1 to 65535"}},
		{name: "IPv6", url: "rabbit://[::1/", want: messaging.ErrInvalidURL, texts: []string{"host 1: the address in brackets is not an IPv6 address"}},
		{name: "line break", url: "rabbit://host/\n", want: messaging.ErrInvalidURL, texts: []string{"control character", "line break"}},
		{name: "unknown option", url: "rabbit://host/?heartbeat_timeout=5", want: messaging.ErrConfig,
			texts: []string{"heartbeat_timeout", "heartbeat_timeout_threshold"}},
		{name: "option of another type", url: "rabbit://host/?rabbit_quorum_queue=maybe", want: messaging.ErrConfig,
			texts: []string{"rabbit_quorum_queue"}},
		{name: "option out of range", url: "rabbit://host/?heartbeat_timeout_threshold=-1", want: messaging.ErrConfig,
			texts: []string{"heartbeat_timeout_threshold"}},
		{name: "variant", url: "rabbit+tls13://host/", want: messaging.ErrConfig, texts: []string{`no variant "tls13"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			logs := testbed.NewLogs(t)
			tr, err := messaging.Open(within(t, patience), tc.url, &messaging.Options{
				Host: bed.Host(logs), Aliases: tc.aliases, Logger: logs.Logger(),
			})
			if err == nil {
				testbed.Close(t, tr)
			}
			mustSay(t, err, tc.want, tc.texts...)
			if left := bed.Left(); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestTarget uses targets for what they do not fit. Nothing is sent: the broker is not there.
func TestTarget(t *testing.T) {
	tr, _ := bed.Open(t, "rabbit://127.0.0.1:1/")
	client := func(target messaging.Target) *messaging.RPCClient { return messaging.NewRPCClient(tr, target, nil) }
	serve := func(target messaging.Target) error {
		return messaging.NewRPCServer(tr, target, nil, messaging.NewEndpoint(nil)).Serve(t.Context())
	}
	call := func(c *messaging.RPCClient) error { return c.Call(t.Context(), "echo", nil, nil) }
	for _, tc := range []struct {
		name  string
		do    func() error
		want  error
		texts []string
	}{
		{"call without topic", func() error { return call(client(messaging.Target{Server: "s1"})) },
			messaging.ErrInvalidTarget, []string{"a call needs a topic", "set Target.Topic"}},
		{"cast without topic", func() error { return client(messaging.Target{}).Cast(t.Context(), "echo", nil) },
			messaging.ErrInvalidTarget, []string{"a cast needs a topic", "set Target.Topic"}},
		{"server without topic", func() error { return serve(messaging.Target{Server: "s1"}) },
			messaging.ErrInvalidTarget, []string{"an RPC server needs a topic", "set Target.Topic"}},
		{"server without name", func() error { return serve(messaging.Target{Topic: "t"}) },
			messaging.ErrInvalidTarget, []string{"an RPC server needs a server", "set Target.Server"}},
		{"fanout call", func() error { return call(client(messaging.Target{Topic: "t"}).With(messaging.Fanout())) },
			messaging.ErrInvalidTarget, []string{"<topic=t fanout=true>", "a call has no fanout", "a call has one answer: use Cast, or address one server"}},
		{"version 2.x", func() error { return call(client(messaging.Target{Topic: "t", Version: "2.x"})) },
			messaging.ErrInvalidTarget, []string{"version=2.x", "the version of a call is not a version"}},
		{"version cap 2.x", func() error { return call(client(messaging.Target{Topic: "t"}).With(messaging.VersionCap("2.x"))) },
			messaging.ErrConfig, []string{`the version cap "2.x" is not a version`}},
		{"above the cap", func() error {
			return call(client(messaging.Target{Topic: "t", Version: "2.6"}).With(messaging.VersionCap("2.5")))
		}, messaging.ErrVersionCap, []string{"the request's version is 2.6, the cap is 2.5"}},
		{"wildcard", func() error { return call(client(messaging.Target{Topic: "a.#"})) },
			messaging.ErrInvalidTarget, []string{"has a wildcard"}},
		{"version of a server", func() error { return serve(messaging.Target{Topic: "t", Server: "s1", Version: "1.0"}) },
			messaging.ErrInvalidTarget, []string{"an RPC server has no version", "set it on the endpoints"}},
		{"private method", func() error {
			return messaging.NewEndpoint(nil).TryHandleFunc("_m", nil)
		}, messaging.ErrConfig, []string{"names that begin with an underscore are private"}},
		{"arguments", func() error { return client(messaging.Target{Topic: "t"}).Call(t.Context(), "m", []any{1}, nil) },
			messaging.ErrEncoding, []string{"the arguments are not a JSON object"}},
	} {
		t.Run(tc.name, func(t *testing.T) { mustSay(t, tc.do(), tc.want, tc.texts...) })
	}
}
