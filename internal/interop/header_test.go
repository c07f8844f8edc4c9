// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"reflect"
	"sync"
	"testing"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// headers are what tracing sends beside a request, and more than it would.
func headers() map[string]string {
	return map[string]string{
		"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"baggage":     "user=\u00e4lice", "empty": "",
	}
}

// withHeaders is middleware that sets headers.
func withHeaders(next messaging.ClientHandler) messaging.ClientHandler {
	return func(ctx context.Context, r *messaging.ClientRequest) error {
		for name, value := range headers() {
			r.SetHeader(name, value)
		}
		return next(ctx, r)
	}
}

// testGoSendsHeaders: Python serves a request with headers like any other.
func testGoSendsHeaders(t *testing.T, p *peers) {
	tr, sent := p.calling, func() map[string]any { return nil }
	if p.broker != nil {
		proxy := peertest.RunAMQPProxy(t, p.broker.Addr())
		tr, _ = bed.Open(t, p.broker.URLAt(proxy.Addr(), p.vhost))
		sent = func() map[string]any {
			table, _ := published(t, proxy, "").Properties["headers"].(map[string]any)
			return table
		}
	}
	c := messaging.NewRPCClient(tr, messaging.Target{Topic: pythonTopic, Server: "py1"}, &messaging.RPCClientOptions{
		Timeout: patience, Middleware: []messaging.ClientMiddleware{withHeaders},
	})
	var name string
	if err := c.Call(soon(t), "whoami", nil, &name); err != nil || name != "py1" {
		t.Errorf("got %q, %v", name, err)
	}
	// Otherwise nothing is proven.
	if table := sent(); p.broker != nil {
		for header, value := range headers() {
			if table[header] != value {
				t.Errorf("the header %s was sent as %v", header, table[header])
			}
		}
	}
	if err := c.Cast(soon(t), "record", note("headers")); err != nil {
		t.Fatal(err)
	}
	if err := c.With(messaging.Fanout()).Cast(soon(t), "record", note("headers")); err != nil {
		t.Fatal(err)
	}
	p.pythonCounts(t, "headers").want(t, map[string]int{"py1": 2, "py2": 1})
}

// testPythonGetsHeaders: Python is answered by a Go server whose requests to other servers have
// headers (the relay), and by one that looks at those of requests: Python's have none.
func testPythonGetsHeaders(t *testing.T, p *peers) {
	if got, err := p.callText(t, peertest.Request{Method: "relay", Args: viaPython("ping", nil)}); err != nil || got != "pong" {
		t.Errorf("through a relay: got %q, %v", got, err)
	}
	const topic = "headers"
	var mu sync.Mutex
	var seen []map[string]string
	looking := func(next messaging.ServerHandler) messaging.ServerHandler {
		return func(ctx context.Context, r *messaging.ServerRequest) (any, error) {
			mu.Lock()
			seen = append(seen, r.Headers)
			mu.Unlock()
			return next(ctx, r)
		}
	}
	testbed.Serve(t, messaging.NewRPCServer(p.calling, messaging.Target{Topic: topic, Server: "go5"},
		&messaging.RPCServerOptions{Middleware: []messaging.ServerMiddleware{looking}}, endpoints(&recorder{server: "go5"})...))
	if got, err := p.callText(t, peertest.Request{Topic: topic, Method: "whoami"}); err != nil || got != "go5" {
		t.Errorf("got %q, %v", got, err)
	}
	// One of ours, to see that the server looks at the right place.
	c := messaging.NewRPCClient(p.calling, messaging.Target{Topic: topic}, &messaging.RPCClientOptions{
		Middleware: []messaging.ClientMiddleware{withHeaders},
	})
	if err := c.Call(soon(t), "whoami", nil, nil); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != 2 || len(seen[0]) != 0 || !reflect.DeepEqual(seen[1], headers()) {
		t.Errorf("the server saw the headers %v", seen)
	}
}
