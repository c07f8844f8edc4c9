// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// What a server can be told to break.
const (
	SpoilTwice = "twice" // a run of a call is noted twice
	SpoilDrop  = "drop"  // a cast is not run
	SpoilMiss  = "miss"  // a fanout is not heard
)

// Serve is an application that serves until it is told to stop. ctx bounds the wait until it is ready.
func (a *Application) Serve(ctx context.Context, opts *messaging.RPCServerOptions) error {
	ep := messaging.NewEndpoint(nil)
	Work().Handle(ep, a.handler(Call))
	note().Handle(ep, a.handler(Cast))
	tell().Handle(ep, a.handler(Fanout))
	s := messaging.NewRPCServer(a.Transport, messaging.Target{Topic: Topic, Server: a.name}, opts, ep)
	stop, err := a.Begin(ctx, s)
	if err != nil {
		return err
	}
	return a.obey(map[string]testbed.Command{
		"stop": testbed.Say(func() (LastWords, error) {
			err := stop()
			stats := s.Stats()
			return LastWords{fmt.Sprintf("%+v", stats), stats.Duplicates}, errors.Join(err, a.Close())
		}),
	})
}

// handler is that of all requests of a kind.
func (a *Application) handler(kind string) func(context.Context, Args) (string, error) {
	return func(ctx context.Context, in Args) (string, error) {
		if kind == Cast && a.Spoils(SpoilDrop) || kind == Fanout && a.Spoils(SpoilMiss) {
			return "", nil
		}
		a.Ledger.write(Line{ID: in.ID, At: time.Now().UnixNano()})
		a.through(kind+" "+in.From, in.At)
		if kind == Call && a.Spoils(SpoilTwice) {
			a.Ledger.write(Line{ID: in.ID, At: time.Now().UnixNano()})
		}
		testbed.Pause(ctx, time.Duration(in.Sleep)*time.Millisecond)
		a.Ledger.write(Line{ID: in.ID, At: time.Now().UnixNano(), Done: true})
		return in.ID, nil
	}
}

// Begin runs a server, and returns when it is ready; ctx bounds that. The function that it returns
// ends the server and waits for it.
func (a *Application) Begin(ctx context.Context, s testbed.Server) (stop func() error, err error) {
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.WithoutCancel(ctx)) }()
	select {
	case <-s.Ready():
	case err := <-served:
		return nil, fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
		return nil, errors.New("the server is not ready in time")
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), a.limits.End)
		defer cancel()
		err := s.Shutdown(ctx)
		if serveErr := <-served; !errors.Is(serveErr, messaging.ErrServerClosed) {
			err = errors.Join(err, serveErr)
		}
		return err
	}, nil
}
