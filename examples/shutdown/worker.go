// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"github.com/parleymq/parley/messaging"
)

// newEndpoint has the method work, which takes until there is a line in input.
func newEndpoint(input io.Reader) *messaging.Endpoint {
	ep := messaging.NewEndpoint(nil)
	ep.HandleFunc("work", func(context.Context, map[string]any) (any, error) {
		fmt.Println("working; press Enter to finish")
		_, err := bufio.NewReader(input).ReadString('\n')
		return "done", err
	})
	return ep
}

// callMyself stands for a client somewhere else. The channel is closed when it has its answer.
func callMyself(ctx context.Context, t *messaging.Transport) <-chan struct{} {
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		var reply string
		err := messaging.NewRPCClient(t, messaging.Target{Topic: "worker"}, nil).Call(ctx, "work", nil, &reply)
		fmt.Println("answered:", reply, err)
	}()
	return answered
}
