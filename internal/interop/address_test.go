// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"testing"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
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

// elsewhere is an exchange that is not the default.
const elsewhere = "elsewhere"

// testGoNamesExchange: a server of Python in another exchange is reached there, in each way.
func testGoNamesExchange(t *testing.T, p *peers) {
	o := pythonServerOptions(p.meeting, p.url, "abroad.python", "py9")
	o.Exchange = elsewhere
	s := peertest.RunPythonServer(t, p.python, o)
	c := p.goClient.With(messaging.Topic("abroad.python"), messaging.Exchange(elsewhere))
	testAddressing(t, goAsks(t, c), "py9")
	goCast(t, c, "abroad", 1, messaging.Fanout())
	counts{"py9": func() int { return pythonSaw(t, s, "abroad") }}.want(t, map[string]int{"py9": 1})
}

func testPythonNamesExchange(t *testing.T, p *peers) {
	r := &recorder{server: "go9", calling: p.calling}
	testbed.Serve(t, messaging.NewRPCServer(p.calling,
		messaging.Target{Topic: "abroad.go", Server: "go9", Exchange: elsewhere}, nil, endpoints(r)...))
	base := peertest.Request{Topic: "abroad.go", Exchange: elsewhere, Method: "whoami"}
	testAddressing(t, func(server string) string {
		ask := base
		ask.Server = server
		name, err := p.callText(t, ask)
		if err != nil {
			t.Fatal(err)
		}
		return name
	}, "go9")
	base.Method, base.Args = "record", note("abroad")
	if err := p.pythonClient.Fanout(soon(t), base); err != nil {
		t.Fatal(err)
	}
	counts{"go9": func() int { return r.saw("abroad") }}.want(t, map[string]int{"go9": 1})
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
