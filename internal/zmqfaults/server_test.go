// SPDX-License-Identifier: Apache-2.0

package zmqfaults

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// serve is an application that serves until it is told to stop.
func (a *application) serve(ctx context.Context) error {
	ep := messaging.NewEndpoint(nil)
	var broken atomic.Bool
	handle := func(kind string) func(context.Context, args) (string, error) {
		return func(ctx context.Context, in args) (string, error) {
			if a.Sabotage == sabotageDrop && kind == kindCast && broken.CompareAndSwap(false, true) {
				return "", nil
			}
			a.write(line{ID: in.ID, At: time.Now().UnixNano()})
			if a.Sabotage == sabotageTwice && kind == kindCall && broken.CompareAndSwap(false, true) {
				a.write(line{ID: in.ID, At: time.Now().UnixNano()})
			}
			pause(ctx, time.Duration(in.Sleep)*time.Millisecond)
			a.write(line{ID: in.ID, At: time.Now().UnixNano(), Done: true})
			return in.ID, nil
		}
	}
	work.Handle(ep, handle(kindCall))
	note.Handle(ep, handle(kindCast))
	tell.Handle(ep, handle(kindFanout))
	s := messaging.NewRPCServer(a.transport, messaging.Target{Topic: topic, Server: a.Name}, &messaging.RPCServerOptions{Concurrency: a.Concurrency}, ep)
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

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
