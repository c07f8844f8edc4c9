// SPDX-License-Identifier: Apache-2.0

package messagingotel_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingotel"
	"github.com/parleymq/parley/messaging/messagingtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// endpoint has methods that end in each way, and one that calls on.
func endpoint(client *messaging.RPCClient) *messaging.Endpoint {
	ep := messaging.NewEndpoint(nil)
	ep.HandleFunc("work", func(context.Context, map[string]any) (any, error) { return "done", nil })
	ep.HandleFunc("fail", func(context.Context, map[string]any) (any, error) { return nil, errors.New("hunter2") })
	ep.HandleFunc("panic", func(context.Context, map[string]any) (any, error) { panic("hunter2") })
	ep.HandleFunc("forward", func(ctx context.Context, _ map[string]any) (any, error) {
		return nil, client.Call(ctx, "work", nil, nil)
	})
	return ep
}

// run lets do use a traced client of a traced server, and returns the spans by kind and name,
// once the server has ended.
func run(t *testing.T, do func(*messaging.RPCClient)) map[string][]sdktrace.ReadOnlySpan {
	t.Helper()
	o, spans := traced()
	tr := messagingtest.NewBroker().Transport(t, &messaging.Options{
		Logger:           slog.New(slog.DiscardHandler),
		ClientMiddleware: []messaging.ClientMiddleware{messagingotel.ClientMiddleware(o)},
		ServerMiddleware: []messaging.ServerMiddleware{messagingotel.ServerMiddleware(o)},
	})
	client := messaging.NewRPCClient(tr, messaging.Target{Topic: "compute"}, nil)
	srv := messaging.NewRPCServer(tr, messaging.Target{Topic: "compute", Server: "host1"}, nil, endpoint(client))
	served := make(chan error, 1)
	go func() { served <- srv.Serve(context.WithoutCancel(t.Context())) }()
	<-srv.Ready()
	do(client)
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-served; !errors.Is(err, messaging.ErrServerClosed) {
		t.Errorf("serve: %v", err)
	}
	return byName(spans)
}

func byName(spans *tracetest.SpanRecorder) map[string][]sdktrace.ReadOnlySpan {
	all := make(map[string][]sdktrace.ReadOnlySpan)
	for _, s := range spans.Ended() {
		name := s.SpanKind().String() + " " + s.Name()
		all[name] = append(all[name], s)
	}
	return all
}

// one returns the only span of a kind and name.
func one(t *testing.T, all map[string][]sdktrace.ReadOnlySpan, name string) sdktrace.ReadOnlySpan {
	t.Helper()
	if len(all[name]) != 1 {
		t.Fatalf("%d spans %q, want 1; all: %v", len(all[name]), name, all)
	}
	return all[name][0]
}

func isBelow(child, parent sdktrace.ReadOnlySpan) bool {
	return child.Parent().SpanID() == parent.SpanContext().SpanID() && child.SpanContext().TraceID() == parent.SpanContext().TraceID()
}

// TestOneTraceAcrossCalls: a call whose handler calls on is one trace of four spans.
func TestOneTraceAcrossCalls(t *testing.T) {
	all := run(t, func(c *messaging.RPCClient) {
		if err := c.Call(t.Context(), "forward", nil, nil); err != nil {
			t.Error(err)
		}
	})
	names := []string{"client compute/forward", "server compute/forward", "client compute/work", "server compute/work"}
	for i, name := range names[1:] {
		if !isBelow(one(t, all, name), one(t, all, names[i])) {
			t.Errorf("%s is not below %s", name, names[i])
		}
	}
	if one(t, all, names[1]).Parent().IsRemote() != true {
		t.Error("the server's parent is not remote")
	}
}

func TestCastIsTraced(t *testing.T) {
	all := run(t, func(c *messaging.RPCClient) {
		if err := c.Cast(t.Context(), "work", nil); err != nil {
			t.Error(err)
		}
		// What is answered was received after the cast, so that the server knows of it.
		if err := c.Call(t.Context(), "work", nil, nil); err != nil {
			t.Error(err)
		}
	})
	if !isBelow(one(t, all, "consumer compute/work"), one(t, all, "producer compute/work")) {
		t.Error("the consumer's span is not below the producer's")
	}
	if id := attributes(one(t, all, "consumer compute/work"))["messaging.message.id"]; id == "" {
		t.Error("the consumer's span has no message id")
	}
}

func TestFailuresAreTraced(t *testing.T) {
	for _, tc := range []struct {
		method, server, wantServer, wantClient string
	}{
		{"fail", "compute/fail", "*errors.errorString", "errors.errorString"},
		{"unknown", "oslo_messaging", "oslo_messaging.rpc.dispatcher.NoSuchMethod", "oslo_messaging.rpc.dispatcher.NoSuchMethod"},
		// The server has made an error of it before the middleware sees it.
		{"panic", "compute/panic", "panic", "runtime.Panic"},
	} {
		t.Run(tc.method, func(t *testing.T) {
			all := run(t, func(c *messaging.RPCClient) {
				if err := c.Call(t.Context(), tc.method, nil, nil); err == nil {
					t.Error("the call did not fail")
				}
			})
			expectFailure(t, one(t, all, "server "+tc.server), tc.wantServer)
			expectFailure(t, one(t, all, "client compute/"+tc.method), tc.wantClient)
		})
	}
}

func expectFailure(t *testing.T, s sdktrace.ReadOnlySpan, want string) {
	t.Helper()
	if s.Status().Code != codes.Error || s.Status().Description != want {
		t.Errorf("%s ended with %+v, want %s", s.Name(), s.Status(), want)
	}
}

// TestUntracedPeer: a server without the middleware is none the worse for the headers.
func TestUntracedPeer(t *testing.T) {
	o, spans := traced()
	broker := messagingtest.NewBroker()
	srv := messaging.NewRPCServer(broker.Transport(t, nil), messaging.Target{Topic: "compute", Server: "host1"}, nil, endpoint(nil))
	served := make(chan error, 1)
	go func() { served <- srv.Serve(t.Context()) }()
	t.Cleanup(func() {
		if err := <-served; !errors.Is(err, messaging.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	<-srv.Ready()
	client := messaging.NewRPCClient(broker.Transport(t, nil), messaging.Target{Topic: "compute"}, &messaging.RPCClientOptions{
		Middleware: []messaging.ClientMiddleware{messagingotel.ClientMiddleware(o)},
	})
	if err := client.Call(t.Context(), "work", nil, nil); err != nil {
		t.Error(err)
	}
	if s := only(t, spans); s.SpanKind() != trace.SpanKindClient || s.Status().Code != codes.Unset {
		t.Errorf("span %s with %+v", s.Name(), s.Status())
	}
}
