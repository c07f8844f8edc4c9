// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"time"

	"github.com/parleymq/parley/messaging"
)

type doArgs struct {
	N int `json:"n"`
}

// do is the one method: it tells that it ran and gives the number back.
var do = messaging.Method[doArgs, int]{Name: "do"}

// serve serves until ctx ends, and then drains.
func serve(ctx context.Context, t *messaging.Transport, s settings, p *printer) error {
	ep := messaging.NewEndpoint(nil)
	do.Handle(ep, func(ctx context.Context, a doArgs) (int, error) {
		p.print(event{Event: "exec", N: a.N, Start: time.Now().UnixNano()})
		timer := time.NewTimer(s.Work)
		defer timer.Stop()
		select {
		case <-timer.C:
			return a.N, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	})
	srv := messaging.NewRPCServer(t, messaging.Target{Topic: s.Topic, Server: s.Server}, nil, ep)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(context.WithoutCancel(ctx)) }()
	select {
	case <-srv.Ready():
		p.print(event{Event: "ready"})
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := srv.Shutdown(closing); err != nil {
		return err
	}
	if err := <-served; !errors.Is(err, messaging.ErrServerClosed) {
		return err
	}
	return nil
}
