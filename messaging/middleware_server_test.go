// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// traced is middleware that notes its way in and out.
func traced(note func(string), name string) ServerMiddleware {
	return func(next ServerHandler) ServerHandler {
		return func(ctx context.Context, r *ServerRequest) (any, error) {
			note("> " + name)
			defer note("< " + name)
			return next(ctx, r)
		}
	}
}

func TestServerMiddlewareOrder(t *testing.T) {
	var mu sync.Mutex // guards notes
	var notes []string
	note := func(s string) { mu.Lock(); defer mu.Unlock(); notes = append(notes, s) }
	made := 0
	counted := func(next ServerHandler) ServerHandler { made++; return next }
	ep := NewEndpoint(nil)
	ep.HandleFunc("m", func(context.Context, map[string]any) (any, error) { note("run"); return nil, nil })
	s := newStageOf(t, &Options{ServerMiddleware: []ServerMiddleware{traced(note, "t1"), traced(note, "t2")}}, nil,
		&RPCServerOptions{Middleware: []ServerMiddleware{traced(note, "s1"), counted, traced(note, "s2")}}, ep)
	for i := range 3 {
		id := strconv.Itoa(i)
		s.deliver(callOf(id, "m", "{}"))
		s.reply(t, id)
	}
	mu.Lock()
	defer mu.Unlock()
	want := []string{"> t1", "> t2", "> s1", "> s2", "run", "< s2", "< s1", "< t2", "< t1"}
	if !slices.Equal(notes, slices.Repeat(want, 3)) || made != 1 {
		t.Errorf("%v; made %d times", notes, made)
	}
}

// What middleware sees of each request, and what it makes of it.
func TestServerMiddleware(t *testing.T) {
	type seen struct {
		info    RequestInfo
		args    string
		headers map[string]string
		err     error
	}
	see := make(chan seen, 16)
	var hook func(ctx context.Context, r *ServerRequest, next ServerHandler) (any, error)
	middleware := func(next ServerHandler) ServerHandler {
		return func(ctx context.Context, r *ServerRequest) (any, error) {
			before := seen{info: r.RequestInfo, args: string(r.Args), headers: r.Headers}
			var result any
			if hook != nil {
				result, before.err = hook(ctx, r, next)
			} else {
				result, before.err = next(ctx, r)
			}
			see <- before
			return result, before.err
		}
	}
	ep := NewEndpoint(&EndpointOptions{Version: "1.4"})
	ep.HandleFunc("echo", func(ctx context.Context, args map[string]any) (any, error) {
		if v, ok := ctx.Value("k").(string); ok {
			return v, nil
		}
		return args, nil
	})
	ep.HandleFunc("panics", func(context.Context, map[string]any) (any, error) { panic("oops") })
	s := newStage(t, &RPCServerOptions{Middleware: []ServerMiddleware{middleware}}, ep)
	type hookFunc = func(ctx context.Context, r *ServerRequest, next ServerHandler) (any, error)
	tests := []struct {
		name, method, args string
		hook               hookFunc
		reply              string // all of it
		sees, logs         string // a part
		unseen             bool
	}{
		{name: "passes", method: "echo", args: `{"a":1}`, reply: `{"a": 1}`},
		{name: "not found", method: "nope", args: `{}`, reply: "NoSuchMethod: Endpoint does not support RPC method nope", sees: "does not support", logs: `msg="request refused" method=nope`},
		{name: "a panic is an error by then", method: "panics", args: `{}`, reply: "Panic: panic: oops", sees: "panic: oops", logs: `msg="handler panicked" method=panics`},
		{name: "wrong arguments", method: "echo", args: `[]`, reply: "ValueError: the request cannot be understood: the request's args are not an object", unseen: true, logs: `msg="request not understood" method=echo`},
		{name: "replaces the arguments", method: "echo", args: `{}`, reply: `{"b": 2}`,
			hook: func(ctx context.Context, r *ServerRequest, next ServerHandler) (any, error) {
				r.Args = json.RawMessage(`{"b":2}`)
				return next(ctx, r)
			}},
		{name: "passes on a copy and another context", method: "echo", args: `{}`, reply: `"v"`,
			hook: func(ctx context.Context, r *ServerRequest, next ServerHandler) (any, error) {
				c := *r
				return next(context.WithValue(ctx, "k", "v"), &c) //nolint:staticcheck // a key of the test's own
			}},
		{name: "answers by itself", method: "nope", args: `{}`, reply: `"mine"`,
			hook: func(context.Context, *ServerRequest, ServerHandler) (any, error) { return "mine", nil }},
		{name: "refuses", method: "echo", args: `{}`, reply: "Forbidden: no", logs: `msg="handler failed" method=echo call=true error="m.Forbidden: no"`,
			hook: func(context.Context, *ServerRequest, ServerHandler) (any, error) {
				return nil, &RemoteError{Module: "m", Class: "Forbidden", Message: "no"}
			}},
		{name: "panics", method: "echo", args: `{}`, reply: "Panic: panic: middleware", unseen: true, logs: "middleware_server_test.go",
			hook: func(context.Context, *ServerRequest, ServerHandler) (any, error) { panic("middleware") }},
		{name: "makes up a request", method: "echo", args: `{}`, reply: "errorString: " + errForeignRequest.Error(), sees: "middleware passed on",
			hook: func(ctx context.Context, _ *ServerRequest, next ServerHandler) (any, error) {
				return next(ctx, &ServerRequest{})
			}},
		{name: "twice", method: "echo", args: `{"a":1}`, reply: `{"a": 1}`,
			hook: func(ctx context.Context, r *ServerRequest, next ServerHandler) (any, error) {
				_, _ = next(ctx, r)
				return next(ctx, r)
			}},
		{name: "hides a failure", method: "panics", args: `{}`, reply: `null`, sees: "<nil>",
			hook: func(ctx context.Context, r *ServerRequest, next ServerHandler) (any, error) {
				_, _ = next(ctx, r)
				return nil, nil
			}},
	}
	for _, tt := range tests {
		hook = tt.hook // the server is idle: the reply to the last request has come
		d := callOf(tt.name, tt.method, tt.args)
		d.Headers, d.Redelivered = map[string]string{"h": "1"}, true
		s.deliver(d)
		if got := s.reply(t, tt.name); got != tt.reply {
			t.Errorf("%s: replied %s", tt.name, got)
		}
		if log := s.logged(); !strings.Contains(log, tt.logs) {
			t.Errorf("%s: %q is not in the log: %s", tt.name, tt.logs, log)
		}
		if tt.unseen {
			continue
		}
		got := wait(t, see, tt.name)
		want := RequestInfo{
			Method: tt.method, Call: true, Found: tt.method != "nope", MessageID: tt.name, Redelivered: true,
			Target: Target{Exchange: "openstack", Topic: "compute", Server: "host1"},
		}
		if got.info != want || got.args != tt.args || got.headers["h"] != "1" || !strings.Contains(fmt.Sprint(got.err), tt.sees) {
			t.Errorf("%s: saw %+v", tt.name, got)
		}
	}
	if len(see) != 0 {
		t.Error("middleware saw what cannot be understood")
	}
	stats := s.server.Stats()
	if stats.Handled != 7 || stats.Failed != 2 || stats.Refused != 2 || stats.Malformed != 1 {
		t.Errorf("%+v", stats)
	}
}

// Middleware that wraps a panic does not hide it.
func TestWrappedPanicIsLogged(t *testing.T) {
	wrap := func(next ServerHandler) ServerHandler {
		return func(ctx context.Context, r *ServerRequest) (any, error) {
			result, err := next(ctx, r)
			if err != nil {
				err = fmt.Errorf("wrapped: %w", err)
			}
			return result, err
		}
	}
	s := newStage(t, &RPCServerOptions{Middleware: []ServerMiddleware{wrap}}, computeEndpoint())
	s.deliver(callOf("a", "panic", "{}"))
	if got := s.reply(t, "a"); !strings.HasSuffix(got, "wrapped: panic: oops") {
		t.Errorf("replied %s", got)
	}
	if !strings.Contains(s.logged(), "handler panicked") {
		t.Error("not logged")
	}
}

var errBusy = errors.New("busy")

func TestExpectedErrors(t *testing.T) {
	returns := func(err error) func(context.Context, map[string]any) (any, error) {
		return func(context.Context, map[string]any) (any, error) { return nil, err }
	}
	typed := Method[struct{}, struct{}]{Name: "typed"}
	ep := NewEndpoint(nil)
	ep.HandleFunc("sentinel", returns(fmt.Errorf("now: %w", errBusy)), ExpectErrors(errors.ErrUnsupported, errBusy))
	ep.HandleFunc("remote", returns(errNotFound.Withf("x")), ExpectErrors(errNotFound))
	ep.HandleFunc("type", returns(fmt.Errorf("%w", &myError{1})), ExpectType[*myError]())
	ep.HandleFunc("both", returns(errBusy), ExpectType[*myError](), ExpectErrors(errBusy))
	ep.HandleFunc("another", returns(errors.New("another")), ExpectErrors(errBusy), ExpectType[*myError]())
	ep.HandleFunc("panics", func(context.Context, map[string]any) (any, error) { panic(errBusy) }, ExpectErrors(errBusy))
	ep.HandleRaw("raw", func(context.Context, json.RawMessage) (any, error) { return nil, errBusy }, ExpectErrors(errBusy))
	ep.HandleOthers(func(context.Context, string, json.RawMessage) (any, error) { return nil, errBusy }, ExpectErrors(errBusy))
	typed.Handle(ep, func(context.Context, struct{}) (struct{}, error) { return struct{}{}, errBusy }, ExpectErrors(errBusy))
	if err := ep.TryHandleFunc("try", returns(errBusy), ExpectErrors(errBusy)); err != nil {
		t.Fatal(err)
	}
	s := newStage(t, nil, ep)
	for method, level := range map[string]string{
		"sentinel": "DEBUG", "remote": "DEBUG", "type": "DEBUG", "both": "DEBUG", "raw": "DEBUG", "typed": "DEBUG",
		"others": "DEBUG", "try": "DEBUG", "another": "WARN", "panics": "ERROR",
	} {
		s.deliver(callOf(method, method, "{}"))
		if reply := s.reply(t, method); reply == "null" {
			t.Errorf("%s: replied %s", method, reply)
		}
		found := false
		for _, line := range s.log.all() {
			if strings.Contains(line, "msg=\"handler ") && strings.Contains(line, "method="+method+" ") {
				found = strings.Contains(line, "level="+level+" ")
			}
		}
		if !found {
			t.Errorf("%s: not logged as %s: %s", method, level, s.logged())
		}
	}
}

func TestPingEndpoint(t *testing.T) {
	own := NewEndpoint(nil)
	own.HandleFunc("oslo_rpc_server_ping", func(context.Context, map[string]any) (any, error) { return "own", nil })
	named := NewEndpoint(&EndpointOptions{Namespace: "named"})
	for name, tt := range map[string]struct {
		ping bool
		eps  []*Endpoint
		want string
	}{
		"on":           {true, []*Endpoint{echoEndpoint()}, `"pong"`},
		"no endpoints": {true, nil, `"pong"`},
		"other names":  {true, []*Endpoint{named}, `"pong"`},
		"overridden":   {true, []*Endpoint{own, echoEndpoint()}, `"own"`},
		"off":          {false, []*Endpoint{echoEndpoint()}, "NoSuchMethod: Endpoint does not support RPC method oslo_rpc_server_ping"},
		"off, own":     {false, []*Endpoint{own}, `"own"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, &RPCServerOptions{Ping: tt.ping}, tt.eps...)
			s.deliver(callOf("a", "oslo_rpc_server_ping", `{"any":1}`))
			if got := s.reply(t, "a"); got != tt.want {
				t.Errorf("replied %s", got)
			}
		})
	}
}
