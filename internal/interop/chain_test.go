// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"strings"
	"testing"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/messaging"
)

// viaGo and viaPython are the arguments of "relay" that lead to a method of a server.
func viaGo(method string, args map[string]any) map[string]any {
	return via(goTopic, "go1", method, args)
}

func viaPython(method string, args map[string]any) map[string]any {
	return via(pythonTopic, "py1", method, args)
}

func via(topic, server, method string, args map[string]any) map[string]any {
	if args == nil {
		args = map[string]any{}
	}
	return map[string]any{"topic": topic, "server": server, "to": method, "args": args}
}

// testGoGetsRelayed has a Go server fail behind a Python one. Python rebuilds what it is
// allowed to, names it with a suffix, and takes the suffix off when it passes it on. To the
// text it adds the traceback, here an empty one.
func testGoGetsRelayed(t *testing.T, p *peers) {
	for kind, want := range map[string]messaging.RemoteError{
		"own":      {Module: trusted, Class: "PeerError", Message: "böom\n", Args: []any{"böom"}, Kwargs: kwargs()},
		"expected": {Module: trusted, Class: "ExpectedPeerError", Message: "böom\n", Args: []any{"böom"}},
		"builtin":  {Module: "builtins", Class: "ValueError", Message: "böom\n", Args: []any{"böom\n"}},
		// What it must not rebuild it passes on as its own RemoteError.
		"go": {Module: "oslo_messaging.rpc.client", Class: "RemoteError", Message: "Remote error: goError while failing: böom\n[]."},
	} {
		got := goFails(t, p, "relay", viaGo("fail", failing(kind, kwargs())), want)
		if !strings.Contains(strings.Join(got.Traceback, ""), "in relay") {
			t.Errorf("%s: the traceback is %q", kind, got.Traceback)
		}
	}
	ctx := messaging.WithRequestContext(soon(t), messaging.RequestContext{"user": "älice", "roles": []any{}})
	var ctxt map[string]any
	if err := p.goClient.Call(ctx, "relay", viaGo("context", nil), &ctxt); err != nil || ctxt["user"] != "älice" || short(ctxt["roles"]) != "[]" {
		t.Errorf("the context arrived as %v, %v", ctxt, err)
	}
}

// testPythonGetsRelayed has a Python server fail behind a Go one, which passes everything on as
// it is: names, arguments and the list of the traceback.
func testPythonGetsRelayed(t *testing.T, p *peers) {
	relay := func(args map[string]any) peertest.Request { return peertest.Request{Method: "relay", Args: args} }
	relayed := func(kind string, want peertest.PythonError) peertest.PythonError {
		t.Helper()
		more := kwargs()
		if kind != "own" {
			more = nil
		}
		got := pythonFails(t, p, relay(viaPython("fail", failing(kind, more))), want)
		if !strings.Contains(got.Message, "Traceback (most recent call last)") || !strings.Contains(got.Message, "in fail") {
			t.Errorf("the traceback is not in the message: %q", got.Message)
		}
		return got
	}
	own := peertest.PythonError{Class: "PeerError_Remote", Module: trusted + "_Remote", Message: "böom", Args: []any{"böom"}}
	if got := relayed("own", own); !sameKwargs(got.Kwargs, kwargs()) {
		t.Errorf("it was rebuilt with %v, want %v", got.Kwargs, kwargs())
	}
	relayed("builtin", peertest.PythonError{Class: "ValueError", Module: "builtins", Message: "böom"})
	if got := relayed("stranger", remoteError("StrangerError", "böom")); len(got.Traceback) < 3 {
		t.Errorf("got the traceback %q", got.Traceback)
	}
	pythonFails(t, p, relay(viaPython("nosuch", nil)), remoteError("NoSuchMethod", noMethod))
	// To Go, to Python, to Go: still one suffix.
	got := pythonFails(t, p, relay(viaPython("relay", viaGo("fail", failing("own", kwargs())))), own)
	if !sameKwargs(got.Kwargs, kwargs()) {
		t.Errorf("it was rebuilt with %v, want %v", got.Kwargs, kwargs())
	}
	reply, err := p.call(t, peertest.Request{Method: "relay", Args: viaPython("context", nil), Ctxt: map[string]any{"user": "älice"}})
	if err != nil {
		t.Fatal(err)
	}
	if ctxt, _ := decodeJSON(t, reply.Result).(map[string]any); ctxt["user"] != "älice" {
		t.Errorf("the context arrived as %s", reply.Result)
	}
}
