// SPDX-License-Identifier: Apache-2.0

package badinput

import (
	"strings"
	"testing"

	"github.com/parleymq/parley/messaging"
)

// TestTarget uses targets for what they do not fit. Nothing is sent: nobody is there.
func TestTarget(t *testing.T) {
	for _, url := range []string{"rabbit://127.0.0.1:1/", "zmq://" + t.TempDir(), "qpid://127.0.0.1:1/"} {
		scheme, _, _ := strings.Cut(url, ":")
		t.Run(scheme, func(t *testing.T) { testTarget(t, url) })
	}
}

func testTarget(t *testing.T, url string) {
	tr, _ := bed.Open(t, url)
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
