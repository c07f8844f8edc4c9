// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// The cases of TestRPCServer in oslo_messaging/tests/rpc/test_server.py that are about what
// crosses, on transports of their own for client and server.

// TestValuesCross is test_call and test_direct_call: values that are false are values.
func TestValuesCross(t *testing.T) {
	onWires(t, func(t *testing.T, w *world) {
		ep := messaging.NewEndpoint(nil)
		ep.HandleFunc("ping", func(_ context.Context, args map[string]any) (any, error) { return args["arg"], nil })
		serve(t, w.open(t, messaging.Options{}), messaging.Target{Topic: "testtopic", Server: "testserver"}, nil, ep)
		c := client(w.open(t, messaging.Options{}), messaging.Target{Topic: "testtopic"})
		for name, c := range map[string]*messaging.RPCClient{"test_call": c, "test_direct_call": c.With(messaging.Server("testserver"))} {
			for _, value := range []string{"null", "0", "false", "[]", "{}", `"foo"`} {
				var got json.RawMessage
				if err := c.Call(soon(t), "ping", map[string]any{"arg": json.RawMessage(value)}, &got); err != nil || string(got) != value {
					t.Errorf("%s of %s: %s, %v", name, value, got, err)
				}
			}
		}
	})
}

// TestCastsArrive is test_cast, where both casts arrive; in one order, because the server
// handles one request after another.
func TestCastsArrive(t *testing.T) {
	onWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		p := &pings{}
		serve(t, tr, messaging.Target{Topic: "testtopic", Server: "testserver"}, &messaging.RPCServerOptions{Concurrency: 1}, p.endpoint())
		c := client(tr, messaging.Target{Topic: "testtopic"})
		for _, arg := range []string{"foo", "bar"} {
			if err := c.Cast(soon(t), "ping", map[string]any{"arg": arg}); err != nil {
				t.Fatal(err)
			}
		}
		testbed.Eventually(t, patience, "two pings", func() bool { return len(p.sorted()) >= len("bar foo") })
		p.mu.Lock()
		defer p.mu.Unlock()
		if strings.Join(p.got, " ") != "foo bar" {
			t.Errorf("got %q", p.got)
		}
	})
}

// TestFailureIsLogged is test_failure and test_expected_failure: the caller sees no difference,
// the log does.
func TestFailureIsLogged(t *testing.T) {
	onWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		ep := messaging.NewEndpoint(nil)
		ep.HandleFunc("unexpected", func(_ context.Context, args map[string]any) (any, error) {
			return nil, errValue.Withf("%s", args["arg"])
		})
		ep.HandleFunc("expected", func(_ context.Context, args map[string]any) (any, error) {
			return nil, messaging.Expected(errValue.Withf("%s", args["arg"]))
		})
		serve(t, tr, messaging.Target{Topic: "testtopic", Server: "testserver"}, nil, ep)
		c := client(tr, messaging.Target{Topic: "testtopic"})
		for method, level := range map[string]string{"unexpected": "level=WARN", "expected": "level=DEBUG"} {
			err := c.Call(soon(t), method, map[string]any{"arg": "foo"}, nil)
			remote, ok := errors.AsType[*messaging.RemoteError](err)
			if !ok || !errors.Is(err, errValue) || remote.Message != "foo" {
				t.Errorf("%s: %v", method, err)
			}
			testbed.Eventually(t, patience, "a record of it", func() bool { return len(w.logs.Lines("handler failed", "method="+method)) > 0 })
			if lines := w.logs.Lines("handler failed", "method="+method); len(lines) != 1 || !strings.Contains(lines[0], level) {
				t.Errorf("%s is logged as %q", method, lines)
			}
		}
	})
}

// TestUnserialisableResult: upstream's server logs it and says nothing, so that the caller waits
// in vain.
func TestUnserialisableResult(t *testing.T) {
	onWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		ep := messaging.NewEndpoint(nil)
		ep.HandleFunc("bad", func(context.Context, map[string]any) (any, error) { return make(chan int), nil })
		serve(t, tr, messaging.Target{Topic: "testtopic", Server: "testserver"}, nil, ep)
		err := client(tr, messaging.Target{Topic: "testtopic"}).Call(soon(t), "bad", nil, nil)
		if remote, ok := errors.AsType[*messaging.RemoteError](err); !ok || remote.Class != "TypeError" || !strings.Contains(remote.Message, "cannot be encoded") {
			t.Errorf("got %v", err)
		}
	})
}

// marked is a Serializer that marks every text that passes, as upstream's TestSerializer does,
// and writes down the order of its calls. It is for arguments of one text each.
type marked struct {
	messaging.JSON
	mu    sync.Mutex // guards calls
	calls []string
}

func (m *marked) note(call string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, call)
}

func (m *marked) taken() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	calls := strings.Join(m.calls, ", ")
	m.calls = nil
	return calls
}

func (m *marked) Marshal(_ context.Context, v any) ([]byte, error) {
	m.note(fmt.Sprintf("Marshal(%v)", v))
	switch v := v.(type) {
	case map[string]string:
		out := make(map[string]string)
		for k, text := range v {
			out[k] = "s" + text
		}
		return json.Marshal(out)
	case string:
		return json.Marshal("s" + v)
	default:
		return json.Marshal(v)
	}
}

func (m *marked) Unmarshal(_ context.Context, data []byte, v any) error {
	m.note(fmt.Sprintf("Unmarshal(%s)", data))
	var text string
	if err := json.Unmarshal(data, &text); err == nil {
		data, _ = json.Marshal("d" + text)
		return json.Unmarshal(data, v)
	}
	var args map[string]string
	if err := json.Unmarshal(data, &args); err != nil {
		return err
	}
	for k, text := range args {
		args[k] = "d" + text
	}
	data, _ = json.Marshal(args)
	return json.Unmarshal(data, v)
}

type userKey struct{}

func (m *marked) MarshalContext(ctx context.Context) (messaging.RequestContext, error) {
	m.note("MarshalContext")
	user, _ := ctx.Value(userKey{}).(string)
	return messaging.RequestContext{"user": "s" + user}, nil
}

func (m *marked) UnmarshalContext(ctx context.Context, rc messaging.RequestContext) (context.Context, error) {
	m.note(fmt.Sprintf("UnmarshalContext(%v)", rc["user"]))
	return context.WithValue(ctx, userKey{}, fmt.Sprint("d", rc["user"])), nil
}

// TestSerializerHooks is TestSerializer of oslo_messaging/tests/rpc/test_client.py and
// test_dispatcher.py, and test_context of test_server.py. Arguments are one value here.
func TestSerializerHooks(t *testing.T) {
	type pingArgs struct {
		Arg string `json:"arg"`
	}
	onWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		near, far := &marked{}, &marked{}
		heard := make(chan string, 1)
		ep := messaging.NewEndpoint(nil)
		messaging.Method[pingArgs, string]{Name: "ping"}.Handle(ep, func(ctx context.Context, a pingArgs) (string, error) {
			text := fmt.Sprint(a.Arg, " of ", ctx.Value(userKey{}))
			heard <- text
			return text, nil
		})
		serve(t, tr, messaging.Target{Topic: "testtopic", Server: "testserver"}, &messaging.RPCServerOptions{Serializer: far}, ep)
		c := messaging.NewRPCClient(tr, messaging.Target{Topic: "testtopic"}, &messaging.RPCClientOptions{Timeout: patience, Serializer: near})
		ctx := context.WithValue(soon(t), userKey{}, "bob")

		var got string
		if err := c.Call(ctx, "ping", map[string]string{"arg": "foo"}, &got); err != nil || got != "dsdsfoo of dsbob" {
			t.Errorf("call: %q, %v", got, err)
		}
		<-heard
		if calls := near.taken(); calls != `MarshalContext, Marshal(map[arg:foo]), Unmarshal("sdsfoo of dsbob")` {
			t.Errorf("client: %s", calls)
		}
		if calls := far.taken(); calls != `UnmarshalContext(sbob), Unmarshal({"arg":"sfoo"}), Marshal(dsfoo of dsbob)` {
			t.Errorf("server: %s", calls)
		}
		if err := c.Cast(ctx, "ping", map[string]string{"arg": "foo"}); err != nil {
			t.Errorf("cast: %v", err)
		}
		if got := <-heard; got != "dsfoo of dsbob" {
			t.Errorf("the cast arrived as %q", got)
		}
		if calls := near.taken(); calls != `MarshalContext, Marshal(map[arg:foo])` {
			t.Errorf("client of the cast: %s", calls)
		}
	})
}
