// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"errors"
	"testing"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/messaging"
)

// pingMethod is the one that the framework itself answers, in either language, when told to.
const pingMethod = "oslo_rpc_server_ping"

func testGoPings(t *testing.T, p *peers) {
	one := p.goClient.With(messaging.Server("py1"))
	for name, c := range map[string]*messaging.RPCClient{"plain": one, "version 1.0": one.With(messaging.Version("1.0"))} {
		var got string
		if err := c.Call(soon(t), pingMethod, nil, &got); err != nil || got != "pong" {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
		if err := c.Ping(soon(t)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var got string
	if err := one.Call(soon(t), pingMethod, oddArguments(), &got); err != nil || got != "pong" {
		t.Errorf("with arguments: got %q, %v", got, err)
	}
	silent := p.goClient.With(messaging.Server("py2")) // alive, without an answer to pings
	if err := silent.Call(soon(t), pingMethod, nil, nil); !errors.Is(err, messaging.ErrNoSuchMethod) {
		t.Errorf("a server that was not told to: %v", err)
	}
}

func testPythonPings(t *testing.T, p *peers) {
	for name, r := range map[string]peertest.Request{
		"plain": {}, "version 1.0": {Version: "1.0"}, "with arguments": {Args: oddArguments()},
	} {
		r.Server, r.Method = "go1", pingMethod
		if got, err := p.callText(t, r); err != nil || got != "pong" {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	pythonFails(t, p, peertest.Request{Server: "go2", Method: pingMethod}, remoteError("NoSuchMethod", ""))
}

func oddArguments() map[string]any { return map[string]any{"x": 1, "y z": nil} }
