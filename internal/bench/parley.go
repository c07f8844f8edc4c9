// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/parleymq/parley/messaging"
)

// payload is the typed argument and result of echo.
type payload struct {
	Payload string `json:"payload"`
}

func echoMethod() messaging.Method[payload, payload] {
	return messaging.Method[payload, payload]{Name: "echo"}
}

func openParley(ctx context.Context, s Setup) (*messaging.Transport, error) {
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return messaging.Open(ctx, s.URL, &messaging.Options{DriverPath: s.DriverPath, AppName: "bench", Logger: logger})
}

// ParleyServer serves echo on a topic until ctx ends.
func ParleyServer(ctx context.Context, s Setup, ready func()) error {
	t, err := openParley(ctx, s)
	if err != nil {
		return err
	}
	ep := messaging.NewEndpoint(nil)
	echoMethod().Handle(ep, func(_ context.Context, a payload) (payload, error) { return a, nil })
	srv := messaging.NewRPCServer(t, messaging.Target{Topic: s.Topic, Server: s.Server}, &messaging.RPCServerOptions{Concurrency: rawPrefetch}, ep)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx) }()
	select {
	case <-srv.Ready():
		ready()
	case err := <-served:
		return errors.Join(err, t.Close(context.WithoutCancel(ctx)))
	}
	<-ctx.Done()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err = errors.Join(srv.Shutdown(stop), t.Close(stop))
	<-served //nolint:errcheck // it is what Shutdown made it
	return err
}

// ParleyClient makes calls by Parley.
type ParleyClient struct {
	transport *messaging.Transport
	client    *messaging.RPCClient
	args      payload
}

// NewParleyClient opens a transport.
func NewParleyClient(ctx context.Context, s Setup) (*ParleyClient, error) {
	t, err := openParley(ctx, s)
	if err != nil {
		return nil, err
	}
	var args payload
	if err := json.Unmarshal(Request(s.Size), &args); err != nil {
		return nil, err
	}
	c := messaging.NewRPCClient(t, messaging.Target{Topic: s.Topic, Version: "1.0"}, &messaging.RPCClientOptions{Timeout: rawTimeout})
	return &ParleyClient{transport: t, client: c, args: args}, nil
}

// Call makes one call and checks that its payload came back.
func (c *ParleyClient) Call(ctx context.Context) error {
	got, err := echoMethod().Call(ctx, c.client, c.args)
	if err == nil && got != c.args {
		return errors.New("the payload did not come back")
	}
	return err
}

// Close ends the transport and its driver.
func (c *ParleyClient) Close(ctx context.Context) error { return c.transport.Close(ctx) }
