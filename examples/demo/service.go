// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/parleymq/parley/messaging"
)

const topic = "greeter"

type helloArgs struct {
	Name string `json:"name"`
}

type newsArgs struct {
	Text string `json:"text"`
}

type none struct{}

// The service's interface, shared by client and servers.
var (
	hello = messaging.Method[helloArgs, string]{Name: "hello"} // returns the name of the server
	news  = messaging.Method[newsArgs, none]{Name: "news"}
)

// open returns a transport, and the Host that knows the process of its driver.
func open(ctx context.Context, s settings) (*messaging.Transport, *messaging.Host, error) {
	o := &messaging.HostOptions{Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))}
	if s.path != "" {
		o.DriverPath = []string{s.path}
	}
	host := messaging.NewHost(o)
	t, err := messaging.Open(ctx, s.url, &messaging.Options{Host: host, Logger: o.Logger})
	return t, host, err
}

// serve is the program of a server. It ends when its standard input does, so that it never
// outlives the demo.
func serve(ctx context.Context, s settings, name string) error {
	t, host, err := open(ctx, s)
	if err != nil {
		return err
	}
	defer t.Close(ctx)

	ep := messaging.NewEndpoint(nil)
	hello.Handle(ep, func(context.Context, helloArgs) (string, error) { return name, nil })
	news.Handle(ep, func(_ context.Context, a newsArgs) (none, error) {
		fmt.Printf("%s %q\n", saysHeard, a.Text)
		return none{}, nil
	})
	srv := messaging.NewRPCServer(t, messaging.Target{Topic: topic, Server: name}, nil, ep)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx) }()
	select {
	case <-srv.Ready():
		fmt.Printf("%s: process %d, its driver is process %d\n", saysReady, os.Getpid(), driverPID(host))
	case err := <-served:
		return err
	}
	go func() { // ends with the process at the latest
		_, _ = io.Copy(io.Discard, os.Stdin)
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = srv.Shutdown(stopping)
	}()
	<-served
	return nil
}

// driverPID is the process of the driver, zero while there is none.
func driverPID(host *messaging.Host) int {
	for _, driver := range host.Running() {
		return driver.PID
	}
	return 0
}
