// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

type startArgs struct {
	ID string `json:"instance_id"`
}

type startReply struct {
	Host string `json:"host"`
}

var (
	start       = Method[startArgs, startReply]{Name: "start_instance", Since: "1.2"}
	errNotFound = &RemoteError{Module: "nova.exception", Class: "InstanceNotFound"}
)

func computeEndpoint() *Endpoint {
	ep := NewEndpoint(&EndpointOptions{Version: "1.3"})
	start.Handle(ep, func(_ context.Context, a startArgs) (startReply, error) {
		if a.ID == "" {
			return startReply{}, errNotFound.Withf("no instance %q", a.ID)
		}
		return startReply{Host: "host1"}, nil
	})
	ep.HandleFunc("echo", func(_ context.Context, args map[string]any) (any, error) { return args, nil })
	ep.HandleFunc("panic", func(context.Context, map[string]any) (any, error) { panic("oops") })
	ep.HandleFunc("panic_error", func(context.Context, map[string]any) (any, error) { panic(&myError{1}) })
	ep.HandleFunc("nil_map", func(context.Context, map[string]any) (any, error) {
		var m map[string]int
		m["x"]++ //nolint:staticcheck // the panic is what is tested
		return nil, nil
	})
	ep.HandleFunc("unencodable", func(context.Context, map[string]any) (any, error) { return func() {}, nil })
	ep.HandleFunc("unencodable_failure", func(context.Context, map[string]any) (any, error) {
		return nil, &RemoteError{Module: "m", Class: "C", Message: "x", Args: []any{func() {}}}
	})
	ep.HandleFunc("expected", func(context.Context, map[string]any) (any, error) { return nil, Expected(errNotFound) })
	ep.HandleFunc("fails", func(context.Context, map[string]any) (any, error) { return nil, &myError{7} })
	ep.HandleRaw("raw", func(_ context.Context, args json.RawMessage) (any, error) { return args, nil })
	ep.HandleFunc("nothing", func(context.Context, map[string]any) (any, error) { return nil, nil })
	return ep
}

// bothSenders runs a test with a synchronous and an asynchronous conn.
func bothSenders(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Run("async", func(t *testing.T) { test(t, newRig(t, nil)) })
	t.Run("sync", func(t *testing.T) {
		r := newRig(t, nil)
		r.async = nil
		test(t, r)
	})
}

func TestCall(t *testing.T) {
	bothSenders(t, func(t *testing.T, r *rig) {
		serve(t, r.Transport, computeTarget, nil, computeEndpoint())
		ctx := t.Context()
		c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)

		got, err := start.Call(ctx, c, startArgs{ID: "i-1"})
		if err != nil || got.Host != "host1" {
			t.Errorf("typed: %+v, %v", got, err)
		}
		_, err = start.Call(ctx, c, startArgs{})
		if !errors.Is(err, errNotFound) || err.Error() != `nova.exception.InstanceNotFound: no instance ""` {
			t.Errorf("a sentinel from the server: %v", err)
		}
		var any1 any
		if err := c.Call(ctx, "echo", map[string]any{"n": int64(1) << 60, "f": 1.0, "s": "ü"}, &any1); err != nil ||
			fmt.Sprintf("%#v", any1) != `map[string]interface {}{"f":1, "n":1152921504606846976, "s":"ü"}` {
			t.Errorf("untyped: %#v, %v", any1, err)
		}
		var raw json.RawMessage
		big70 := new(big.Int).Lsh(big.NewInt(1), 70)
		if err := c.Call(ctx, "raw", map[string]any{"x": big70}, &raw); err != nil || string(raw) != `{"x": 1180591620717411303424}` {
			t.Errorf("raw: %s, %v", raw, err)
		}
		if err := c.Call(ctx, "nothing", nil, nil); err != nil {
			t.Errorf("no reply wanted: %v", err)
		}
		var wrong []int
		if err := c.Call(ctx, "echo", nil, &wrong); !errors.Is(err, ErrEncoding) || !strings.Contains(err.Error(), "does not fit a *[]int") {
			t.Errorf("a result that does not fit: %v", err)
		}
		eventually(t, "no call waits", func() bool { return r.replies.waitingNow() == 0 })
	})
}

func TestFailures(t *testing.T) {
	r := newRig(t, nil)
	serve(t, r.Transport, computeTarget, nil, computeEndpoint())
	c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)
	tests := []struct {
		name, method  string
		client        *RPCClient
		args          any
		module, class string
		message       string
		logged        string // part of a line of the server's log; "!" for none of this method
	}{
		{"unknown method", "nope", c, nil, "oslo_messaging.rpc.dispatcher", "NoSuchMethod", "Endpoint does not support RPC method nope", "method=nope"},
		{"private method", "_secret", c, nil, "oslo_messaging.rpc.dispatcher", "NoSuchMethod", "Endpoint does not support RPC method _secret", "private=true"},
		{"probe", "x_ignore_errors", c, nil, "oslo_messaging.rpc.dispatcher", "NoSuchMethod", "Endpoint does not support RPC method x_ignore_errors", "level=DEBUG msg=\"request refused\" method=x_ignore_errors"},
		{"newer version", "echo", c.With(Version("1.4")), nil, "oslo_messaging.rpc.dispatcher", "UnsupportedVersion", "Endpoint does not support RPC version 1.4. Attempted method: echo", "version=1.4"},
		{"other major", "echo", c.With(Version("2.0")), nil, "oslo_messaging.rpc.dispatcher", "UnsupportedVersion", "Endpoint does not support RPC version 2.0. Attempted method: echo", ""},
		{"other namespace", "echo", c.With(Namespace("n")), nil, "oslo_messaging.rpc.dispatcher", "UnsupportedVersion", "Endpoint does not support RPC version 1.0. Attempted method: echo", "namespace=n"},
		{"unknown argument", "start_instance", c, map[string]any{"instance_id": "x", "force": true}, "builtins", "TypeError", "start_instance() got an unexpected keyword argument 'force'", ""},
		{"argument in other case", "start_instance", c, map[string]any{"Instance_ID": "x"}, "builtins", "TypeError", "start_instance() got an unexpected keyword argument 'Instance_ID'", ""},
		{"argument of a wrong type", "start_instance", c, map[string]any{"instance_id": 7}, "builtins", "TypeError", "start_instance() argument 'instance_id' must be string, not number", ""},
		{"panic", "panic", c, nil, "runtime", "Panic", "panic: oops", "dispatcher.go"},
		{"panic with an error", "panic_error", c, nil, "github.com/parleymq/parley/messaging", "myError", "panic: my error 1", ""},
		{"runtime panic", "nil_map", c, nil, "runtime", "plainError", "panic: assignment to entry in nil map", ""},
		{"result that is not JSON", "unencodable", c, nil, "builtins", "TypeError", "the result cannot be encoded as JSON: json: unsupported type: func()", "result cannot be encoded"},
		{"failure that is not JSON", "unencodable_failure", c, nil, "m", "C", "x", ""},
		{"expected", "expected", c, nil, "nova.exception", "InstanceNotFound", "", "level=DEBUG msg=\"handler failed\" method=expected"},
		{"any Go error", "fails", c, nil, "github.com/parleymq/parley/messaging", "myError", "my error 7", "level=WARN msg=\"handler failed\" method=fails call=true"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.client.Call(t.Context(), tt.method, tt.args, nil)
			remote, ok := errors.AsType[*RemoteError](err)
			if !ok || remote.Module != tt.module || remote.Class != tt.class || remote.Message != tt.message || len(remote.Traceback) != 0 {
				t.Errorf("got %#v (%v)", remote, err)
			}
			if log := strings.Join(r.log.all(), ""); !strings.Contains(log, tt.logged) {
				t.Errorf("%q is not in the log:\n%s", tt.logged, log)
			}
		})
	}
	if !errors.Is(c.Call(t.Context(), "nope", nil, nil), ErrNoSuchMethod) ||
		!errors.Is(c.With(Version("9.0")).Call(t.Context(), "nope", nil, nil), ErrUnsupportedVersion) {
		t.Error("the sentinels of dispatching do not match")
	}
	// A request no Go client sends.
	p := &pending{replies: r.replies, outcome: make(chan outcome, 1), cancel: func() {}}
	for body, want := range map[string]string{
		`{"args":{}}`: "ValueError: the request cannot be understood: the request has no method",
		`nonsense`:    "ValueError: the request cannot be understood: json: want an object at offset 0",
	} {
		if err := r.callRaw(t, p, driver.Message{Body: []byte(body)}); err == nil || err.Error() != want {
			t.Errorf("%s: %v", body, err)
		}
	}
	err := r.callRaw(t, p, driver.Message{Body: []byte(`{"method":"echo"}`), Context: []byte(`[1]`)})
	if err == nil || !strings.Contains(err.Error(), "request context cannot be understood") {
		t.Errorf("context that is no object: %v", err)
	}
}

// callRaw sends m as a call and returns its failure.
func (r *rig) callRaw(t *testing.T, p *pending, m driver.Message) error {
	t.Helper()
	p.msg = m
	p.msg.Kind, p.msg.Target = driver.Call, driver.Target{Exchange: "openstack", Topic: "compute"}
	p.msg.ReplyTo = r.replies.name
	p.msg.UniqueID, p.msg.CallID = newIDs()
	if err := r.replies.add(p); err != nil {
		t.Fatal(err)
	}
	if err := r.conn.Send(t.Context(), []*driver.Message{&p.msg}); err != nil {
		t.Fatal(err)
	}
	out := wait(t, p.outcome, "the reply")
	if out.err != nil {
		t.Fatal(out.err)
	}
	return NewRPCClient(r.Transport, Target{}, nil).answer(t.Context(), &outgoing{}, out.delivery)
}

func TestCastAndFanout(t *testing.T) {
	bothSenders(t, func(t *testing.T, r *rig) {
		heard := make(chan string, 16)
		for _, name := range []string{"host1", "host2"} {
			ep := NewEndpoint(nil)
			ep.HandleFunc("hear", func(ctx context.Context, args map[string]any) (any, error) {
				info, _ := RequestInfoFrom(ctx)
				heard <- fmt.Sprint(name, " ", args["n"], " ", info.Call, " ", info.Method)
				return nil, errors.New("nobody waits for this")
			})
			serve(t, r.Transport, Target{Topic: "compute", Server: name}, nil, ep)
		}
		ctx := t.Context()
		c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)
		if err := c.With(Fanout()).Cast(ctx, "hear", map[string]any{"n": 1}); err != nil {
			t.Fatal(err)
		}
		got := []string{wait(t, heard, "the fanout"), wait(t, heard, "the fanout")}
		slices.Sort(got)
		if !slices.Equal(got, []string{"host1 1 false hear", "host2 1 false hear"}) {
			t.Errorf("fanout: %q", got)
		}
		for _, name := range []string{"host1", "host2", "host1"} {
			if err := c.With(Server(name)).Cast(ctx, "hear", map[string]any{"n": 2}); err != nil {
				t.Fatal(err)
			}
			if got := wait(t, heard, "the cast"); got != name+" 2 false hear" {
				t.Errorf("cast to %s heard by %s", name, got)
			}
		}
		if err := c.Cast(ctx, "hear", nil); err != nil {
			t.Fatal(err)
		}
		wait(t, heard, "the cast to any server")
		eventually(t, "failed casts are logged as errors", func() bool {
			return strings.Contains(strings.Join(r.log.all(), ""), `level=ERROR msg="handler failed" method=hear call=false`)
		})
	})
}

func TestWithDerives(t *testing.T) {
	r := newRig(t, nil)
	base := NewRPCClient(r.Transport, Target{Topic: "a", Namespace: "n", Version: "1.0"}, &RPCClientOptions{Timeout: time.Second})
	d := base.With(Topic("b"), Exchange("e"), NoNamespace(), Version("1.1"), Timeout(time.Minute), VersionCap("1.2"), Mandatory(), Monitor(2*time.Second), Fanout(), Server("s"))
	if want := (Target{Exchange: "e", Topic: "b", Version: "1.1", Server: "s"}); d.Target() != want {
		t.Errorf("derived %v", d.Target())
	}
	if want := (Target{Topic: "a", Namespace: "n", Version: "1.0"}); base.Target() != want || base.timeout() != time.Second || base.s.mandatory {
		t.Errorf("the first client changed: %v %+v", base.Target(), base.s)
	}
	if d.timeout() != time.Minute || d.s.versionCap != "1.2" || !d.s.mandatory || d.s.monitor != 2*time.Second {
		t.Errorf("derived settings %+v", d.s)
	}
	if f := d.With(Fanout()); f.Target().Server != "" || !f.Target().Fanout {
		t.Errorf("fanout of a server: %v", f.Target())
	}
	if base.With(Timeout(0)).timeout() != DefaultReplyTimeout {
		t.Error("the default timeout")
	}
}

func TestRequestContextCrosses(t *testing.T) {
	r := newRig(t, nil)
	inner := NewEndpoint(&EndpointOptions{Namespace: "inner"})
	show := func(ctx context.Context, _ map[string]any) (any, error) {
		rc, ok := RequestContextFrom(ctx)
		return map[string]any{"ok": ok, "rc": map[string]any(rc)}, nil
	}
	inner.HandleFunc("show", show)
	outer := NewEndpoint(nil)
	c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)
	outer.HandleFunc("forward", func(ctx context.Context, _ map[string]any) (any, error) {
		var reply any
		err := c.With(Namespace("inner")).Call(ctx, "show", nil, &reply)
		return reply, err
	})
	outer.HandleFunc("show", show)
	serve(t, r.Transport, computeTarget, nil, outer, inner)

	ctx := WithRequestContext(t.Context(), RequestContext{"request_id": "req-1", "roles": []any{"admin"}, "n": 1 << 60})
	const want = `map[ok:true rc:map[n:1152921504606846976 request_id:req-1 roles:[admin]]]`
	for _, method := range []string{"show", "forward"} {
		var reply any
		if err := c.Call(ctx, method, nil, &reply); err != nil || fmt.Sprint(reply) != want {
			t.Errorf("%s: %v, %v", method, reply, err)
		}
	}
	var reply any
	if err := c.Call(t.Context(), "show", nil, &reply); err != nil || fmt.Sprint(reply) != "map[ok:false rc:map[]]" {
		t.Errorf("without a context: %v, %v", reply, err)
	}
	bad := WithRequestContext(t.Context(), RequestContext{"f": func() {}})
	if err := c.Call(bad, "show", nil, nil); !errors.Is(err, ErrEncoding) {
		t.Errorf("a context that is not JSON: %v", err)
	}
}

// What is refused is refused before any I/O.
func TestRefusedBeforeIO(t *testing.T) {
	sent := 0
	r := newRig(t, nil, func(f *faults) {
		f.onSend = func(context.Context, *driver.Message) (bool, error) { sent++; return true, nil }
	})
	c := NewRPCClient(r.Transport, Target{Topic: "t", Version: "1.0"}, &RPCClientOptions{VersionCap: "1.5"})
	ctx := t.Context()
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	tests := []struct {
		name string
		call func() error
		want error
	}{
		{"call to all", func() error { return c.With(Fanout()).Call(ctx, "m", nil, nil) }, ErrInvalidTarget},
		{"no topic", func() error { return c.With(Topic("")).Cast(ctx, "m", nil) }, ErrInvalidTarget},
		{"bad version", func() error { return c.With(Version("x")).Cast(ctx, "m", nil) }, ErrInvalidTarget},
		{"above the cap", func() error { return c.With(Version("1.6")).Call(ctx, "m", nil, nil) }, ErrVersionCap},
		{"cap and no version", func() error { return c.With(Version("")).Cast(ctx, "m", nil) }, ErrVersionCap},
		{"since above the cap", func() error {
			_, err := Method[struct{}, struct{}]{Name: "m", Since: "1.6"}.Call(ctx, c, struct{}{})
			return err
		}, ErrVersionCap},
		{"since of another major", func() error {
			return Method[struct{}, struct{}]{Name: "m", Since: "2.0"}.Cast(ctx, c, struct{}{})
		}, ErrInvalidTarget},
		{"bad cap", func() error { return c.With(VersionCap("x")).Call(ctx, "m", nil, nil) }, ErrConfig},
		{"negative timeout", func() error { return c.With(Timeout(-1)).Call(ctx, "m", nil, nil) }, ErrConfig},
		{"negative monitor", func() error { return c.With(Monitor(-1)).Call(ctx, "m", nil, nil) }, ErrConfig},
		{"no method", func() error { return c.Call(ctx, "", nil, nil) }, ErrConfig},
		{"arguments that are a list", func() error { return c.Call(ctx, "m", []int{1}, nil) }, ErrEncoding},
		{"arguments that are not JSON", func() error { return c.Cast(ctx, "m", map[string]any{"f": func() {}}) }, ErrEncoding},
		{"a reply that is no pointer", func() error { return c.Call(ctx, "m", nil, startReply{}) }, ErrEncoding},
		{"cancelled", func() error { return c.Call(cancelled, "m", nil, nil) }, context.Canceled},
	}
	for _, tt := range tests {
		if err := tt.call(); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if sent != 0 || r.faults.listens.Load() != 0 {
		t.Errorf("%d sent, %d listened", sent, r.faults.listens.Load())
	}
	for v, want := range map[string]bool{"": true, "1.5": true, "1.6": false, "2.0": false} {
		if c.CanSend(v) != want {
			t.Errorf("CanSend(%q) is %v", v, !want)
		}
	}
	if c.With(Version("")).CanSend("") {
		t.Error("CanSend without a version, with a cap")
	}
}

func TestMandatory(t *testing.T) {
	bothSenders(t, func(t *testing.T, r *rig) {
		c := NewRPCClient(r.Transport, Target{Topic: "nobody"}, &RPCClientOptions{Mandatory: true})
		if err := c.Call(t.Context(), "m", nil, nil); !errors.Is(err, ErrUndeliverable) {
			t.Errorf("call: %v", err)
		}
		if err := c.Cast(t.Context(), "m", nil); !errors.Is(err, ErrUndeliverable) {
			t.Errorf("cast: %v", err)
		}
	})
}
