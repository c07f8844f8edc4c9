// SPDX-License-Identifier: Apache-2.0

package qpidfaults

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// serve is an application that serves until it is told to stop.
func (a *application) serve(ctx context.Context) error {
	ep := messaging.NewEndpoint(nil)
	work.Handle(ep, func(ctx context.Context, in args) (string, error) {
		a.run(ctx, kindCall, in)
		if a.sabotaged(sabotageTwice) {
			a.write(line{ID: in.ID, At: time.Now().UnixNano()})
		}
		return in.ID, nil
	})
	note.Handle(ep, func(ctx context.Context, in args) (string, error) {
		if !a.sabotaged(sabotageDrop) {
			a.run(ctx, kindCast, in)
		}
		return "", nil
	})
	tell.Handle(ep, func(ctx context.Context, in args) (string, error) {
		if !a.sabotaged(sabotageMiss) {
			a.run(ctx, kindFanout, in)
		}
		return "", nil
	})
	s := messaging.NewRPCServer(a.transport, messaging.Target{Topic: topic, Server: a.Name}, nil, ep)
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.Background()) }()
	select {
	case <-s.Ready():
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
		return errors.New("the server is not ready in time")
	}
	return a.obey(map[string]testbed.Command{
		"stop": testbed.Say(func() (lastWords, error) {
			ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
			defer cancel()
			err := s.Shutdown(ctx)
			if serveErr := <-served; !errors.Is(serveErr, messaging.ErrServerClosed) {
				err = errors.Join(err, serveErr)
			}
			stats := s.Stats()
			return lastWords{fmt.Sprintf("%+v", stats), stats.Duplicates}, errors.Join(err, a.close())
		}),
	})
}

// run is what every handler does.
func (a *application) run(ctx context.Context, kind string, in args) {
	a.write(line{ID: in.ID, At: time.Now().UnixNano()})
	a.through(kind+" "+in.From, in.At)
	pause(ctx, time.Duration(in.Sleep)*time.Millisecond)
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
