// SPDX-License-Identifier: Apache-2.0

// Command shutdown is a server that ends as a service should: told to stop by SIGTERM or Ctrl-C,
// it takes no more requests, lets those that run finish, answers them, and closes its transport.
// A second signal ends it at once.
//
// To have something to wait for, it calls itself: the call is answered when Enter is pressed.
// Drivers are found by PARLEY_DRIVER_PATH.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/parleymq/parley/messaging"
)

// patience is how long requests may go on after the signal. It is a little less than what the
// service manager waits before it kills.
const patience = 20 * time.Second

func main() {
	url := "fake://"
	if len(os.Args) > 1 {
		url = os.Args[1]
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the next one has its usual effect.
	context.AfterFunc(ctx, stop)
	if err := run(ctx, url); err != nil {
		log.Fatal(err)
	}
}

// run serves until ctx ends, and what was received by then.
func run(ctx context.Context, url string) (err error) {
	t, err := messaging.Open(ctx, url, nil)
	if err != nil {
		return err
	}
	defer func() {
		// Last, when nobody uses the transport any more; ctx has ended.
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		err = errors.Join(err, t.Close(closing))
	}()

	srv := messaging.NewRPCServer(t, messaging.Target{Topic: "worker", Server: "host1"}, nil, newEndpoint(os.Stdin))
	// Not ctx: its end is for us to hear, and Shutdown tells the server.
	served := make(chan error, 1)
	go func() { served <- srv.Serve(context.WithoutCancel(ctx)) }()

	select {
	case err := <-served:
		return err // it could not listen
	case <-srv.Ready():
	}
	called := callMyself(context.WithoutCancel(ctx), t)

	select {
	case err := <-served:
		return err // it stopped of its own accord: something is wrong
	case <-ctx.Done():
	}
	fmt.Println("stopping")
	if err := shutdown(srv, served); err != nil {
		return err
	}
	<-called
	return nil
}

// shutdown stops the server and waits for its end. When the requests take too long, their
// contexts are cancelled.
func shutdown(srv *messaging.RPCServer, served <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		log.Print("requests were cut short: ", err)
	}
	if err := <-served; !errors.Is(err, messaging.ErrServerClosed) {
		return err
	}
	return nil
}
