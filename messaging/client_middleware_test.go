// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/parleymq/parley/plugin/driver"
)

// named is client middleware that notes when it runs.
func named(name string, log *[]string) ClientMiddleware {
	return func(next ClientHandler) ClientHandler {
		return func(ctx context.Context, r *ClientRequest) error {
			*log = append(*log, name+" before")
			err := next(ctx, r)
			*log = append(*log, fmt.Sprint(name, " after ", err))
			return err
		}
	}
}

func TestClientMiddlewareOrder(t *testing.T) {
	var log []string
	r := newRig(t, &Options{ClientMiddleware: []ClientMiddleware{named("a", &log), named("b", &log)}})
	serve(t, r.Transport, computeTarget, nil, echoEndpoint())
	c := NewRPCClient(r.Transport, Target{Topic: "compute"}, &RPCClientOptions{Middleware: []ClientMiddleware{named("c", &log)}})
	if err := c.With(Version("1.0")).Call(t.Context(), "echo", nil, nil); err != nil {
		t.Fatal(err)
	}
	want := "[a before b before c before c after <nil> b after <nil> a after <nil>]"
	if fmt.Sprint(log) != want {
		t.Errorf("%v", log)
	}
}

func TestClientMiddlewareSees(t *testing.T) {
	var seen []ClientRequest
	var sent []driver.Message
	r := newRig(t, nil, func(f *faults) {
		f.onSend = func(_ context.Context, m *driver.Message) (bool, error) {
			sent = append(sent, *m)
			return false, nil
		}
	})
	serve(t, r.Transport, computeTarget, nil, echoEndpoint())
	c := NewRPCClient(r.Transport, Target{Topic: "compute", Version: "1.0"}, &RPCClientOptions{
		Middleware: []ClientMiddleware{func(next ClientHandler) ClientHandler {
			return func(ctx context.Context, r *ClientRequest) error {
				r.SetHeader("traceparent", "00-1")
				r.Args = map[string]any{"replaced": true}
				err := next(ctx, r)
				seen = append(seen, *r)
				return err
			}
		}},
	})
	var reply any
	if err := (Method[map[string]any, map[string]any]{Name: "echo", Since: "1.0"}).Cast(t.Context(), c, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Call(t.Context(), "echo", nil, &reply); err != nil {
		t.Fatal(err)
	}
	if cast := seen[0]; cast.Call || cast.Method != "echo" || cast.Target.Version != "1.0" || cast.Target.Topic != "compute" {
		t.Errorf("cast: %+v", cast)
	}
	if call := seen[1]; !call.Call || fmt.Sprint(*call.Reply.(*any)) != "map[replaced:true]" {
		t.Errorf("call: %+v", call)
	}
	for _, m := range sent[:2] {
		if m.Kind != driver.Reply && m.Headers["traceparent"] != "00-1" {
			t.Errorf("sent %s with headers %v", m.Kind, m.Headers)
		}
	}
}

// Middleware may answer itself, and may try again: each try is a request of its own.
func TestClientMiddlewareDecides(t *testing.T) {
	r := newRig(t, nil)
	ids := make(map[string]bool)
	ep := NewEndpoint(nil)
	ep.HandleFunc("flaky", func(ctx context.Context, _ map[string]any) (any, error) {
		ids[strconv.Itoa(len(ids))] = true
		if len(ids) < 3 {
			return nil, errors.New("not yet")
		}
		return "done", nil
	})
	serve(t, r.Transport, computeTarget, nil, ep)
	again := func(next ClientHandler) ClientHandler {
		return func(ctx context.Context, r *ClientRequest) (err error) {
			for range 5 {
				if err = next(ctx, r); err == nil {
					return nil
				}
			}
			return err
		}
	}
	refuse := errors.New("refused here")
	guard := func(next ClientHandler) ClientHandler {
		return func(ctx context.Context, r *ClientRequest) error {
			if r.Method == "forbidden" {
				return refuse
			}
			return next(ctx, r)
		}
	}
	c := NewRPCClient(r.Transport, Target{Topic: "compute"}, &RPCClientOptions{Middleware: []ClientMiddleware{guard, again}})
	var reply string
	if err := c.Call(t.Context(), "flaky", nil, &reply); err != nil || reply != "done" || len(ids) != 3 {
		t.Errorf("%q, %v after %d tries", reply, err, len(ids))
	}
	if err := c.Call(t.Context(), "forbidden", nil, nil); err != refuse {
		t.Errorf("%v", err)
	}
	if n := r.Stats(); n.Calls != 3 || n.Waiting != 0 || n.Retries != 0 {
		t.Errorf("%+v", n)
	}
}
