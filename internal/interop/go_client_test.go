// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/messaging"
)

// TestGoClient calls two Python servers of one topic.
func TestGoClient(t *testing.T) {
	eachPython(t, func(t *testing.T, python peertest.Python) {
		const topic = "compute"
		broker := bed.Broker(t)
		url := broker.URL(broker.NewVhost(t))
		servers := pythonServers(t, python, url, topic, "py1", "py2")
		tr, _ := bed.Open(t, url)
		c := messaging.NewRPCClient(tr, messaging.Target{Topic: topic}, &messaging.RPCClientOptions{Timeout: patience})

		t.Run("servers", func(t *testing.T) { testAddressing(t, c, "py1", "py2") })
		t.Run("values", func(t *testing.T) { testGoSendsValues(t, c) })
		t.Run("context", func(t *testing.T) { testGoSendsContext(t, c, servers["py1"]) })
		t.Run("failures", func(t *testing.T) { testGoGetsFailures(t, c) })
		t.Run("versions", func(t *testing.T) { testGoAsksVersions(t, c) })
		t.Run("timeout", func(t *testing.T) { testGoTimesOut(t, c) })
		t.Run("undeliverable", func(t *testing.T) { testGoUndeliverable(t, c) })
		t.Run("cast and fanout", func(t *testing.T) { testGoCasts(t, c, servers) })
		t.Run("fanout to Python and Go", func(t *testing.T) { testMixedFanout(t, tr, c, servers, topic) })
		t.Run("monitored", func(t *testing.T) { testGoMonitors(t, c, servers["py2"]) })
	})
}

func whoami(t *testing.T, c *messaging.RPCClient) string {
	t.Helper()
	var name string
	if err := c.Call(soon(t), "whoami", nil, &name); err != nil {
		t.Fatal(err)
	}
	return name
}

// testAddressing calls each server by name and any of them.
func testAddressing(t *testing.T, c *messaging.RPCClient, names ...string) {
	for _, name := range names {
		for range 3 {
			if got := whoami(t, c.With(messaging.Server(name))); got != name {
				t.Errorf("a call to %s was answered by %s", name, got)
			}
		}
	}
	seen := make(map[string]int)
	for range 10 * len(names) {
		seen[whoami(t, c)]++
	}
	for _, name := range names {
		if seen[name] == 0 {
			t.Errorf("calls to the topic never reached %s: %v", name, seen)
		}
	}
}

func testContext() messaging.RequestContext {
	return messaging.RequestContext{
		"request_id": "req-1", "user": "älice", "is_admin": true, "none": nil, "count": int64(3), "ratio": 1.0,
		"roles": []any{"admin", "member"}, "catalog": map[string]any{"compute": []any{int64(1)}},
	}
}

func testGoSendsContext(t *testing.T, c *messaging.RPCClient, server *peertest.PythonServer) {
	ctx := messaging.WithRequestContext(soon(t), testContext())
	var got map[string]any
	if err := c.Call(ctx, "context", nil, &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range testContext() {
		if !reflect.DeepEqual(got[key], want) {
			t.Errorf("%s: got %#v, want %#v", key, got[key], want)
		}
	}
	if err := c.Call(soon(t), "context", nil, &got); err != nil {
		t.Fatal(err)
	}
	for key := range testContext() {
		if _, there := got[key]; there {
			t.Errorf("a call without context brought %s", key)
		}
	}
	if err := c.With(messaging.Server("py1")).Cast(ctx, "record", map[string]any{"what": "context"}); err != nil {
		t.Fatal(err)
	}
	records, err := server.WaitReceived(soon(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	if ctxt := records[0].Ctxt; ctxt["request_id"] != "req-1" || ctxt["user"] != "älice" {
		t.Errorf("the cast brought %v", ctxt)
	}
}

func testGoGetsFailures(t *testing.T, c *messaging.RPCClient) {
	for _, tc := range []struct {
		name   string
		method string
		args   map[string]any
		opts   []messaging.CallOption
		want   messaging.RemoteError
		kwargs map[string]any
	}{
		{name: "builtin", method: "fail", args: map[string]any{"kind": "builtin", "message": "böom"},
			want: messaging.RemoteError{Module: "builtins", Class: "ValueError", Message: "böom", Args: []any{"böom"}}},
		{name: "builtin with number", method: "fail", args: map[string]any{"kind": "os", "message": "gone"},
			want: messaging.RemoteError{Module: "builtins", Class: "FileNotFoundError", Message: "[Errno 2] gone", Args: []any{int64(2), "gone"}}},
		{name: "own class", method: "fail", args: map[string]any{"kind": "own", "message": "boom", "code": 7, "reason": "test"},
			want:   messaging.RemoteError{Module: "peererrors", Class: "PeerError", Message: "boom", Args: []any{"boom"}},
			kwargs: map[string]any{"code": int64(7), "reason": "test"}},
		{name: "expected", method: "fail", args: map[string]any{"kind": "expected", "message": "boom"},
			want: messaging.RemoteError{Module: "peererrors", Class: "ExpectedPeerError", Message: "boom", Args: []any{"boom"}}},
		{name: "wrong argument", method: "value", args: map[string]any{"w": 1},
			want: messaging.RemoteError{Module: "builtins", Class: "TypeError"}},
		{name: "unknown method", method: "nosuch",
			want: messaging.RemoteError{Module: messaging.ErrNoSuchMethod.Module, Class: "NoSuchMethod", Message: "Endpoint does not support RPC method nosuch"}},
		{name: "private method", method: "_private",
			want: messaging.RemoteError{Module: messaging.ErrNoSuchMethod.Module, Class: "NoSuchMethod"}},
		{name: "wrong version", method: "echo", opts: []messaging.CallOption{messaging.Version("3.0")},
			want: messaging.RemoteError{Module: messaging.ErrUnsupportedVersion.Module, Class: "UnsupportedVersion",
				Message: "Endpoint does not support RPC version 3.0. Attempted method: echo"}},
		{name: "wrong namespace", method: "echo", opts: []messaging.CallOption{messaging.Namespace("nowhere")},
			want: messaging.RemoteError{Module: messaging.ErrUnsupportedVersion.Module, Class: "UnsupportedVersion"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := c.With(tc.opts...).Call(soon(t), tc.method, tc.args, nil)
			sentinel := &messaging.RemoteError{Module: tc.want.Module, Class: tc.want.Class}
			if !errors.Is(err, sentinel) {
				t.Fatalf("got %v, want %v", err, sentinel)
			}
			if errors.Is(err, &messaging.RemoteError{Module: "else", Class: tc.want.Class}) || messaging.CodeOf(err) != "" {
				t.Errorf("%v is more than it should be", err)
			}
			checkFailure(t, err, tc.want, tc.kwargs)
		})
	}
}

func checkFailure(t *testing.T, err error, want messaging.RemoteError, kwargs map[string]any) {
	t.Helper()
	got, ok := errors.AsType[*messaging.RemoteError](err)
	if !ok {
		t.Fatalf("got %T", err)
	}
	if want.Message != "" && got.Message != want.Message || want.Args != nil && !reflect.DeepEqual(got.Args, want.Args) {
		t.Errorf("got message %q and args %v, want %q and %v", got.Message, got.Args, want.Message, want.Args)
	}
	if len(got.Kwargs)+len(kwargs) > 0 && !reflect.DeepEqual(got.Kwargs, kwargs) {
		t.Errorf("got kwargs %v, want %v", got.Kwargs, kwargs)
	}
	if text := strings.Join(got.Traceback, ""); !strings.Contains(text, "Traceback") && !strings.Contains(text, got.Class) {
		t.Errorf("the traceback is %q", got.Traceback)
	}
}

func testGoAsksVersions(t *testing.T, c *messaging.RPCClient) {
	for _, tc := range []struct{ namespace, version, want string }{
		{"", "", "1.0"}, {"", "1.0", "1.0"}, {"", "2.0", "/2.3"}, {"", "2.3", "/2.3"}, {"", "2.4", ""},
		{"ns1", "1.2", "ns1/1.5"}, {"ns0", "1.5", "ns1/1.5"}, {"ns1", "1.6", ""}, {"ns1", "2.0", ""},
	} {
		var got string
		err := c.With(messaging.Namespace(tc.namespace), messaging.Version(tc.version)).Call(soon(t), "version", nil, &got)
		if tc.want == "" && !errors.Is(err, messaging.ErrUnsupportedVersion) || tc.want != "" && (err != nil || got != tc.want) {
			t.Errorf("namespace %q, version %q: got %q, %v, want %q", tc.namespace, tc.version, got, err, tc.want)
		}
	}
}

// testGoTimesOut asks what takes too long, and whom nobody serves.
func testGoTimesOut(t *testing.T, c *messaging.RPCClient) {
	const limit = 500 * time.Millisecond
	slow := map[string]any{"seconds": 3}
	for _, tc := range []struct {
		name string
		call func(ctx context.Context) error
	}{
		{"client's timeout", func(ctx context.Context) error {
			return c.With(messaging.Timeout(limit)).Call(ctx, "sleep", slow, nil)
		}},
		{"context's deadline", func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			return c.Call(ctx, "sleep", slow, nil)
		}},
		{"nobody serves", func(ctx context.Context) error {
			return c.With(messaging.Topic("nobody"), messaging.Timeout(limit)).Call(ctx, "echo", nil, nil)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			err := tc.call(t.Context())
			took := time.Since(start)
			if !errors.Is(err, messaging.ErrNoReply) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want ErrNoReply", err)
			}
			if took < limit || took > limit+slack {
				t.Errorf("it took %v, want %v", took, limit)
			}
		})
	}
}

func testGoUndeliverable(t *testing.T, c *messaging.RPCClient) {
	c = c.With(messaging.Server("nobody"), messaging.Mandatory())
	for name, err := range map[string]error{
		"call": c.Call(soon(t), "echo", nil, nil),
		"cast": c.Cast(soon(t), "echo", nil),
	} {
		if !errors.Is(err, messaging.ErrUndeliverable) {
			t.Errorf("%s: got %v, want ErrUndeliverable", name, err)
		}
	}
}

// testGoMonitors makes a long call with heartbeats, and one whose server is killed. The
// server's death comes last: nothing can be asked of it after.
func testGoMonitors(t *testing.T, c *messaging.RPCClient, victim *peertest.PythonServer) {
	const monitor = 2 * time.Second
	c = c.With(messaging.Monitor(monitor), messaging.Timeout(patience))
	var got float64
	if err := c.With(messaging.Server("py1")).Call(t.Context(), "sleep", map[string]any{"seconds": 3.25}, &got); err != nil || got != 3.25 {
		t.Errorf("got %v, %v", got, err)
	}
	start := time.Now()
	result := make(chan error, 1)
	go func() {
		result <- c.With(messaging.Server("py2")).Call(context.Background(), "sleep", map[string]any{"seconds": 20}, nil)
	}()
	victim.Kill()
	if err := <-result; !errors.Is(err, messaging.ErrNoReply) {
		t.Errorf("got %v, want ErrNoReply", err)
	}
	if took := time.Since(start); took < monitor || took > 2*monitor+slack {
		t.Errorf("the death was noticed after %v, the monitor is %v", took, monitor)
	}
}
