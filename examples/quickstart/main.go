// SPDX-License-Identifier: Apache-2.0

// Command quickstart is the importer's example of the README: a server and a client in one
// program. It takes a transport URL; drivers are found by PARLEY_DRIVER_PATH.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/parleymq/parley/messaging"
)

type Args struct {
	Name string `json:"name"`
}

var Hello = messaging.Method[Args, string]{Name: "hello"}

func main() {
	url := "fake://"
	if len(os.Args) > 1 {
		url = os.Args[1]
	}
	if err := run(context.Background(), url); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, url string) error {
	t, err := messaging.Open(ctx, url, nil)
	if err != nil {
		return err
	}
	defer t.Close(ctx)

	ep := messaging.NewEndpoint(nil)
	Hello.Handle(ep, func(ctx context.Context, a Args) (string, error) { return "hello " + a.Name, nil })
	srv := messaging.NewRPCServer(t, messaging.Target{Topic: "greeter", Server: "host1"}, nil, ep)
	go srv.Serve(ctx)
	defer srv.Shutdown(ctx)
	<-srv.Ready()

	client := messaging.NewRPCClient(t, messaging.Target{Topic: "greeter"}, nil)
	text, err := Hello.Call(ctx, client, Args{Name: "world"})
	fmt.Println(text, err)
	return err
}
