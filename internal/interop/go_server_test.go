// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
)

// TestGoServer lets a Python client call two Go servers of one topic, each with a driver
// process of its own.
func TestGoServer(t *testing.T) {
	eachPython(t, func(t *testing.T, python peertest.Python) {
		const topic = "compute"
		broker := bed.Broker(t)
		url := broker.URL(broker.NewVhost(t))
		first, logs := bed.Open(t, url)
		second, _ := bed.Open(t, url)
		servers := map[string]*recorder{"go1": goServer(t, first, topic, "go1"), "go2": goServer(t, second, topic, "go2")}
		c := peertest.RunPythonClient(t, python, peertest.PythonClientOptions{URL: url, AllowedRemoteModules: []string{"peererrors"}})

		t.Run("servers", func(t *testing.T) { testPythonAddresses(t, c, topic) })
		t.Run("values", func(t *testing.T) { testPythonSendsValues(t, c, topic) })
		t.Run("context", func(t *testing.T) { testPythonSendsContext(t, c, topic) })
		t.Run("failures", func(t *testing.T) { testPythonGetsFailures(t, c, topic) })
		t.Run("versions", func(t *testing.T) { testPythonAsksVersions(t, c, topic) })
		t.Run("timeout", func(t *testing.T) { testPythonTimesOut(t, c, topic) })
		t.Run("undeliverable", func(t *testing.T) { testPythonUndeliverable(t, c, topic) })
		t.Run("cast and fanout", func(t *testing.T) { testPythonCasts(t, c, topic, servers) })
		t.Run("monitored", func(t *testing.T) { testPythonMonitors(t, c, topic) })
		t.Run("expected failures are quiet", func(t *testing.T) {
			for _, line := range logs.Lines("ExpectedPeerError") {
				if !strings.Contains(line, "level=DEBUG") {
					t.Errorf("logged: %s", line)
				}
			}
		})
	})
}

// call is a Python call whose result is a string.
func call(t *testing.T, c *peertest.PythonClient, r peertest.Request) (string, error) {
	t.Helper()
	reply, err := c.Call(soon(t), r)
	if err != nil {
		return "", err
	}
	var s string
	if err := json.Unmarshal(reply.Result, &s); err != nil {
		t.Fatalf("the result is %s: %v", reply.Result, err)
	}
	return s, nil
}

func testPythonAddresses(t *testing.T, c *peertest.PythonClient, topic string) {
	for _, name := range []string{"go1", "go2"} {
		if got, err := call(t, c, peertest.Request{Topic: topic, Server: name, Method: "whoami"}); err != nil || got != name {
			t.Errorf("a call to %s: got %q, %v", name, got, err)
		}
	}
	seen := make(map[string]int)
	for range 20 {
		got, err := call(t, c, peertest.Request{Topic: topic, Method: "whoami"})
		if err != nil {
			t.Fatal(err)
		}
		seen[got]++
	}
	if seen["go1"] == 0 || seen["go2"] == 0 {
		t.Errorf("calls to the topic reached %v", seen)
	}
}

func testPythonSendsContext(t *testing.T, c *peertest.PythonClient, topic string) {
	sent := map[string]any{"request_id": "req-2", "user": "älice", "is_admin": false, "none": nil, "count": 3,
		"ratio": json.RawMessage("1.0"), "roles": []string{"a"}, "nested": map[string]any{"k": []any{}}}
	reply, err := c.Call(soon(t), peertest.Request{Topic: topic, Method: "context", Ctxt: sent})
	if err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	if !sameJSON(t, reply.Result, want) {
		t.Errorf("got %s, want %s", reply.Result, want)
	}
	reply, err = c.Call(soon(t), peertest.Request{Topic: topic, Method: "context"})
	if err != nil || !sameJSON(t, reply.Result, []byte("null")) && !sameJSON(t, reply.Result, []byte("{}")) {
		t.Errorf("a call without context: got %s, %v", reply.Result, err)
	}
}

func testPythonGetsFailures(t *testing.T, c *peertest.PythonClient, topic string) {
	fail := func(kind string) peertest.Request {
		return peertest.Request{Method: "fail", Args: map[string]any{"kind": kind, "message": "böom", "code": 7}}
	}
	for _, tc := range []struct {
		name    string
		request peertest.Request
		want    peertest.PythonError // what is empty is not compared
	}{
		{"builtin", fail("builtin"), peertest.PythonError{Class: "ValueError", Module: "builtins"}},
		{"own, of an allowed module", fail("own"), peertest.PythonError{Class: "PeerError_Remote", Module: "peererrors_Remote"}},
		{"expected, of an allowed module", fail("expected"), peertest.PythonError{Class: "ExpectedPeerError_Remote", Module: "peererrors_Remote"}},
		{"error of Go", fail("go"), peertest.PythonError{Class: "RemoteError", ExcType: "goError", Value: "while failing: böom"}},
		{"panic", fail("panic"), peertest.PythonError{Class: "RemoteError", ExcType: "Panic", Value: "panic: böom"}},
		{"result without JSON", fail("unserializable"), peertest.PythonError{Class: "TypeError", Module: "builtins"}},
		{"unknown method", peertest.Request{Method: "nosuch"}, peertest.PythonError{Class: "RemoteError",
			ExcType: "NoSuchMethod", Value: "Endpoint does not support RPC method nosuch"}},
		{"private method", peertest.Request{Method: "_private"}, peertest.PythonError{Class: "RemoteError", ExcType: "NoSuchMethod"}},
		{"wrong version", peertest.Request{Method: "echo", Version: "3.0"}, peertest.PythonError{Class: "RemoteError",
			ExcType: "UnsupportedVersion", Value: "Endpoint does not support RPC version 3.0. Attempted method: echo"}},
		{"wrong namespace", peertest.Request{Method: "echo", Namespace: "nowhere"}, peertest.PythonError{Class: "RemoteError", ExcType: "UnsupportedVersion"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.request.Topic = topic
			reply, err := c.Call(soon(t), tc.request)
			got, ok := errors.AsType[*peertest.PythonError](err)
			if !ok {
				t.Fatalf("got %s, %v", reply.Result, err)
			}
			t.Logf("Python sees %s.%s: %.200s", got.Module, got.Class, got.Message)
			if got.Class != tc.want.Class || tc.want.Module != "" && got.Module != tc.want.Module ||
				got.ExcType != tc.want.ExcType || tc.want.Value != "" && got.Value != tc.want.Value {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
			if tc.request.Method == "fail" && tc.name != "result without JSON" && !strings.Contains(got.Message, "böom") {
				t.Errorf("the message is %q", got.Message)
			}
		})
	}
}

func testPythonAsksVersions(t *testing.T, c *peertest.PythonClient, topic string) {
	for _, tc := range []struct{ namespace, version, want string }{
		{"", "", "1.0"}, {"", "1.0", "1.0"}, {"", "2.0", "/2.3"}, {"", "2.3", "/2.3"}, {"", "2.4", ""},
		{"ns1", "1.2", "ns1/1.5"}, {"ns0", "1.5", "ns1/1.5"}, {"ns1", "1.6", ""}, {"ns1", "2.0", ""},
	} {
		got, err := call(t, c, peertest.Request{Topic: topic, Method: "version", Namespace: tc.namespace, Version: tc.version})
		failure, failed := errors.AsType[*peertest.PythonError](err)
		if tc.want == "" && (!failed || failure.ExcType != "UnsupportedVersion") || tc.want != "" && (err != nil || got != tc.want) {
			t.Errorf("namespace %q, version %q: got %q, %v, want %q", tc.namespace, tc.version, got, err, tc.want)
		}
	}
}

func testPythonTimesOut(t *testing.T, c *peertest.PythonClient, topic string) {
	const limit = time.Second
	for name, r := range map[string]peertest.Request{
		"too slow":      {Topic: topic, Method: "sleep", Args: map[string]any{"seconds": 3}, Timeout: limit},
		"nobody serves": {Topic: "nobody", Method: "echo", Timeout: limit},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := c.Call(soon(t), r)
			got, ok := errors.AsType[*peertest.PythonError](err)
			if !ok || got.Class != "MessagingTimeout" {
				t.Fatalf("got %v, want MessagingTimeout", err)
			}
			if got.Elapsed < limit || got.Elapsed > limit+slack {
				t.Errorf("it took %v, want %v", got.Elapsed, limit)
			}
		})
	}
}

func testPythonUndeliverable(t *testing.T, c *peertest.PythonClient, topic string) {
	_, err := c.Call(soon(t), peertest.Request{Topic: topic, Server: "nobody", Method: "echo", AtLeastOnce: true, Timeout: patience})
	if got, ok := errors.AsType[*peertest.PythonError](err); !ok || got.Class != "MessageUndeliverable" {
		t.Errorf("to a missing server: got %v", err)
	}
	// The same to one that is there.
	if got, err := call(t, c, peertest.Request{Topic: topic, Server: "go2", Method: "whoami", AtLeastOnce: true}); err != nil || got != "go2" {
		t.Errorf("got %q, %v", got, err)
	}
}

func testPythonCasts(t *testing.T, c *peertest.PythonClient, topic string, servers map[string]*recorder) {
	ask := func(what string) counts {
		return counts{
			"go1": func() int { return servers["go1"].saw(what) },
			"go2": func() int { return servers["go2"].saw(what) },
		}
	}
	send := func(do func(peertest.Request) error, r peertest.Request, label string, n int) {
		r.Topic, r.Method, r.Args, r.Ctxt = topic, "record", note(label), map[string]any{"user": "alice"}
		for range n {
			if err := do(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	cast := func(r peertest.Request) error { return c.Cast(soon(t), r) }
	fanout := func(r peertest.Request) error { return c.Fanout(soon(t), r) }
	send(cast, peertest.Request{Server: "go1"}, "direct", 2)
	ask("direct").want(t, map[string]int{"go1": 2, "go2": 0})
	send(fanout, peertest.Request{}, "fanout", 3)
	ask("fanout").want(t, map[string]int{"go1": 3, "go2": 3})
	send(cast, peertest.Request{}, "any", 6)
	counts{"both": func() int { return servers["go1"].saw("any") + servers["go2"].saw("any") }}.want(t, map[string]int{"both": 6})
	send(cast, peertest.Request{Server: "go2", Namespace: "ns1", Version: "1.1"}, "namespaced", 1)
	ask("namespaced").want(t, map[string]int{"go1": 0, "go2": 1})
	ask("fanout").want(t, map[string]int{"go1": 3, "go2": 3})
	for _, r := range servers["go1"].all() {
		if !reflect.DeepEqual(map[string]any(r.ctxt), map[string]any{"user": "alice"}) {
			t.Errorf("a cast brought the context %v", r.ctxt)
		}
	}
}

func testPythonMonitors(t *testing.T, c *peertest.PythonClient, topic string) {
	reply, err := c.Call(soon(t), peertest.Request{Topic: topic, Method: "sleep", Args: map[string]any{"seconds": json.RawMessage("3.25")},
		Monitor: 2 * time.Second, Timeout: patience})
	if err != nil || !sameJSON(t, reply.Result, []byte("3.25")) {
		t.Errorf("got %s, %v", reply.Result, err)
	}
	// Heartbeats end with an unknown method, too, and its answer comes.
	_, err = c.Call(soon(t), peertest.Request{Topic: topic, Method: "nosuch", Monitor: 2 * time.Second, Timeout: patience})
	if got, ok := errors.AsType[*peertest.PythonError](err); !ok || got.ExcType != "NoSuchMethod" {
		t.Errorf("got %v", err)
	}
}
