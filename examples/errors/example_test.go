// SPDX-License-Identifier: Apache-2.0

package errors_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"time"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingtest"
	"github.com/parleymq/parley/plugin/driver"
)

// A sentinel with a module and a class means the same on both sides of the wire, and in a
// Python peer that has a class of that name. Programs keep it in a package variable.
func errNotFound() *messaging.RemoteError {
	return &messaging.RemoteError{Module: "nova.exception", Class: "InstanceNotFound"}
}

func newEndpoint() *messaging.Endpoint {
	ep := messaging.NewEndpoint(nil)
	ep.HandleFunc("stop", func(_ context.Context, args map[string]any) (any, error) {
		// Expected says that this is part of the service: the server does not log it as a
		// failure of its own.
		return nil, messaging.Expected(errNotFound().Withf("Instance %v could not be found.", args["id"]))
	})
	ep.HandleFunc("hang", func(ctx context.Context, _ map[string]any) (any, error) {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
		return nil, ctx.Err()
	})
	return ep
}

// start returns a client and what ends everything.
func start(ctx context.Context, broker *messagingtest.Broker) (*messaging.RPCClient, func()) {
	t, err := broker.Open(ctx, &messaging.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	srv := messaging.NewRPCServer(t, messaging.Target{Topic: "compute", Server: "host1"}, nil, newEndpoint())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx) }()
	<-srv.Ready()
	stop := func() {
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
	return messaging.NewRPCClient(t, messaging.Target{Topic: "compute"}, nil), stop
}

// What the server reports is a *messaging.RemoteError, compared by module and class.
func Example_remote() {
	ctx := context.Background()
	client, stop := start(ctx, messagingtest.NewBroker())
	defer stop()

	err := client.Call(ctx, "stop", map[string]any{"id": "i-9"}, nil)
	fmt.Println("not found:", errors.Is(err, errNotFound()))
	if remote, ok := errors.AsType[*messaging.RemoteError](err); ok {
		fmt.Println(remote.Class, "says:", remote.Message)
	}
	err = client.Call(ctx, "start", nil, nil)
	fmt.Println("no such method:", errors.Is(err, messaging.ErrNoSuchMethod))

	// Output:
	// not found: true
	// InstanceNotFound says: Instance i-9 could not be found.
	// no such method: true
}

// What happens on this side is a *messaging.Error; its sentinels say what is known about the
// request.
func Example_local() {
	ctx := context.Background()
	broker := messagingtest.NewBroker()
	client, stop := start(ctx, broker)
	defer stop()

	// Nobody answered in time. The method may have run.
	err := client.With(messaging.Timeout(20*time.Millisecond)).Call(ctx, "hang", nil, nil)
	fmt.Println("no reply:", errors.Is(err, messaging.ErrNoReply), errors.Is(err, context.DeadlineExceeded))

	// Nobody can receive it. The method did not run.
	err = client.With(messaging.Topic("nobody"), messaging.Mandatory()).Call(ctx, "stop", nil, nil)
	fmt.Println("undeliverable:", errors.Is(err, messaging.ErrUndeliverable))

	// The target does not fit what it is used for. Nothing was sent.
	err = client.With(messaging.Fanout()).Call(ctx, "stop", nil, nil)
	fmt.Println("invalid target:", errors.Is(err, messaging.ErrInvalidTarget))

	// The broker is away. Tests of an application let that happen.
	broker.Fail(messagingtest.Match{}, driver.Errorf(driver.ReasonNotConnected, "the broker is away"))
	err = client.Cast(ctx, "stop", nil)
	fmt.Println("unavailable:", errors.Is(err, messaging.ErrUnavailable))

	// The connection broke at the wrong moment. Casting again might run the method twice.
	broker.InDoubt(messagingtest.Match{}, true)
	err = client.Cast(ctx, "stop", nil)
	fmt.Println("in doubt:", errors.Is(err, messaging.ErrInDoubt))

	// Output:
	// no reply: true true
	// undeliverable: true
	// invalid target: true
	// unavailable: true
	// in doubt: true
}
