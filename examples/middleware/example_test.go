// SPDX-License-Identifier: Apache-2.0

package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/parleymq/parley/examples/middleware"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingtest"
)

// serve runs a server of a small service until stop is called.
func serve(ctx context.Context, t *messaging.Transport, o *messaging.RPCServerOptions) (stop func()) {
	ep := messaging.NewEndpoint(nil)
	ep.HandleFunc("list", func(context.Context, map[string]any) (any, error) { return []any{"i-1"}, nil })
	ep.HandleFunc("delete", func(context.Context, map[string]any) (any, error) { return "deleted", nil })
	srv := messaging.NewRPCServer(t, messaging.Target{Topic: "compute", Server: "host1"}, o, ep)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx) }()
	<-srv.Ready()
	return func() {
		if err := srv.Shutdown(ctx); err != nil {
			log.Fatal(err)
		}
		if err := <-served; !errors.Is(err, messaging.ErrServerClosed) {
			log.Fatal(err)
		}
		if err := t.Close(ctx); err != nil {
			log.Fatal(err)
		}
	}
}

// Middleware of one's own: the server asks who may, the client logs what is slow.
func Example_own() {
	ctx := context.Background()
	// A program says messaging.Open(ctx, "rabbit://user:password@broker/", nil).
	t, err := messagingtest.NewBroker().Open(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer serve(ctx, t, &messaging.RPCServerOptions{
		Middleware: []messaging.ServerMiddleware{middleware.AdminOnly("delete")},
	})()
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: withoutTimes}))
	client := messaging.NewRPCClient(t, messaging.Target{Topic: "compute"}, &messaging.RPCClientOptions{
		Middleware: []messaging.ClientMiddleware{middleware.LogSlow(logger, time.Nanosecond)},
	})

	err = client.Call(ctx, "delete", nil, nil)
	fmt.Println("forbidden:", errors.Is(err, middleware.Forbidden()))

	ctx = messaging.WithRequestContext(ctx, messaging.RequestContext{"is_admin": true})
	var answer string
	err = client.Call(ctx, "delete", nil, &answer)
	fmt.Println(answer, err)

	// Output:
	// level=WARN msg="slow request" method=delete error="example.exception.Forbidden: delete is for administrators"
	// forbidden: true
	// level=WARN msg="slow request" method=delete error=<nil>
	// deleted <nil>
}

// withoutTimes leaves out what differs from run to run.
func withoutTimes(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey || a.Key == "took" {
		return slog.Attr{}
	}
	return a
}

// Tracing and metrics, given to the transport, are around everything made on it.
func Example_observed() {
	ctx := context.Background()
	registry := prometheus.NewRegistry()
	spans := tracetest.NewSpanRecorder() // a program has an exporter here
	options, metrics, err := middleware.Observed(registry, sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)))
	if err != nil {
		log.Fatal(err)
	}
	options.Logger = slog.New(slog.DiscardHandler)
	t, err := messagingtest.NewBroker().Open(ctx, options)
	if err != nil {
		log.Fatal(err)
	}
	unwatch := metrics.Watch("main", t) // what the transport counts by itself
	stop := serve(ctx, t, nil)

	client := messaging.NewRPCClient(t, messaging.Target{Topic: "compute"}, nil)
	if err := client.Call(ctx, "list", nil, nil); err != nil {
		log.Fatal(err)
	}
	err = client.Call(ctx, "resize", nil, nil)
	fmt.Println("no such method:", errors.Is(err, messaging.ErrNoSuchMethod))
	stop()

	printRequests(registry)
	unwatch()
	for _, span := range spans.Ended() {
		fmt.Println(span.SpanKind(), span.Name(), "has a parent:", span.Parent().IsValid())
	}

	// Unordered output:
	// no such method: true
	// parley_client_requests_total ok list 1
	// parley_client_requests_total remote resize 1
	// parley_server_requests_total ok list 1
	// parley_server_requests_total remote (unknown) 1
	// server compute/list has a parent: true
	// client compute/list has a parent: false
	// server oslo_messaging has a parent: true
	// client compute/resize has a parent: false
}

// printRequests prints what a scrape would find: a program serves promhttp.Handler() instead.
func printRequests(registry *prometheus.Registry) {
	families, err := registry.Gather()
	if err != nil {
		log.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if m.GetCounter().GetValue() == 0 || len(m.GetLabel()) != 4 {
				continue // only the requests that there were
			}
			fmt.Println(family.GetName(), m.GetLabel()[0].GetValue(), m.GetLabel()[2].GetValue(), m.GetCounter().GetValue())
		}
	}
}
