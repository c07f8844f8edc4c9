// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"testing"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/messaging"
)

func testGoAddresses(t *testing.T, p *peers) { testAddressing(t, goAsks(t, p.goClient), "py1", "py2") }

func testPythonAddresses(t *testing.T, p *peers) {
	ask := func(server string) string {
		name, err := p.callText(t, peertest.Request{Server: server, Method: "whoami"})
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	testAddressing(t, ask, "go1", "go2")
}

// goAsks returns a function that asks a server, or any of them, for its name.
func goAsks(t *testing.T, c *messaging.RPCClient) func(server string) string {
	return func(server string) string {
		t.Helper()
		var name string
		if err := c.With(messaging.Server(server)).Call(soon(t), "whoami", nil, &name); err != nil {
			t.Fatal(err)
		}
		return name
	}
}

// testAddressing calls each server by name, and any of them.
func testAddressing(t *testing.T, ask func(server string) string, names ...string) {
	t.Helper()
	for _, name := range names {
		for range 3 {
			if got := ask(name); got != name {
				t.Errorf("a call to %s was answered by %s", name, got)
			}
		}
	}
	seen := make(map[string]int)
	for range 10 * len(names) {
		seen[ask("")]++
	}
	for _, name := range names {
		if seen[name] == 0 {
			t.Errorf("calls to the topic never reached %s: %v", name, seen)
		}
	}
}
