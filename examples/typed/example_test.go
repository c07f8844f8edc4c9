// SPDX-License-Identifier: Apache-2.0

package typed_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/parleymq/parley/examples/typed"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingtest"
)

func Example() {
	ctx := context.Background()
	// A program says messaging.Open(ctx, "rabbit://user:password@broker/", nil).
	t, err := messagingtest.NewBroker().Open(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}

	// The server.
	manager := &typed.Manager{Host: "host1"}
	srv := messaging.NewRPCServer(t, messaging.Target{Topic: "compute", Server: "host1"}, nil, manager.Endpoint())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx) }()
	<-srv.Ready()

	// The client. The version is the interface's that it was written for; a method that came
	// later brings its own.
	client := messaging.NewRPCClient(t, messaging.Target{Topic: "compute", Version: "2.0"}, nil)
	methods := typed.NewMethods()
	reply, err := methods.Start.Call(ctx, client, typed.StartArgs{InstanceID: "i-1", Flavor: "small"})
	fmt.Println(reply.State, "on", reply.Host, err)

	list, err := methods.List.Call(ctx, client, struct{}{})
	fmt.Println(list.IDs, err)

	// While old servers are about, the cap keeps newer methods from being called.
	_, err = methods.List.Call(ctx, client.With(messaging.VersionCap("2.2")), struct{}{})
	fmt.Println("above the cap:", errors.Is(err, messaging.ErrVersionCap))

	// Shutdown waits for the handlers; then nobody uses the transport.
	if err := srv.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("stopped:", errors.Is(<-served, messaging.ErrServerClosed))
	if err := t.Close(ctx); err != nil {
		log.Fatal(err)
	}

	// Output:
	// running on host1 <nil>
	// [i-1] <nil>
	// above the cap: true
	// stopped: true
}
