// SPDX-License-Identifier: Apache-2.0

package untyped_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingtest"
)

// newEndpoint registers two methods: one gets its arguments as a map, the other as they came.
func newEndpoint(refreshed chan<- string) *messaging.Endpoint {
	ep := messaging.NewEndpoint(nil)
	ep.HandleFunc("add", func(_ context.Context, args map[string]any) (any, error) {
		a, _ := args["a"].(int64) // integers are exact: int64, or *big.Int when they are larger
		b, _ := args["b"].(int64)
		return map[string]any{"sum": a + b}, nil
	})
	ep.HandleRaw("refresh", func(_ context.Context, args json.RawMessage) (any, error) {
		refreshed <- string(args)
		return nil, nil
	})
	return ep
}

func Example() {
	ctx := context.Background()
	t, err := messagingtest.NewBroker().Open(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	refreshed := make(chan string, 1)
	srv := messaging.NewRPCServer(t, messaging.Target{Topic: "calc", Server: "host1"}, nil, newEndpoint(refreshed))
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx) }()
	<-srv.Ready()

	// A call waits for its answer, which is decoded into whatever the caller has for it.
	client := messaging.NewRPCClient(t, messaging.Target{Topic: "calc"}, nil)
	var sum struct{ Sum int }
	err = client.Call(ctx, "add", map[string]any{"a": 2, "b": 3}, &sum)
	fmt.Println("sum:", sum.Sum, err)

	var anything any
	err = client.Call(ctx, "add", map[string]any{"a": 1 << 60, "b": 1}, &anything)
	fmt.Println("anything:", anything, err)

	// A cast is not answered. With derives a client that differs; here it addresses every
	// server of the topic.
	err = client.With(messaging.Fanout()).Cast(ctx, "refresh", map[string]any{"all": true})
	fmt.Println("cast:", err)
	fmt.Println("refreshed with", <-refreshed)

	if err := srv.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	if err := <-served; !errors.Is(err, messaging.ErrServerClosed) {
		log.Fatal(err)
	}
	if err := t.Close(ctx); err != nil {
		log.Fatal(err)
	}

	// Output:
	// sum: 5 <nil>
	// anything: map[sum:1152921504606846977] <nil>
	// cast: <nil>
	// refreshed with {"all": true}
}
