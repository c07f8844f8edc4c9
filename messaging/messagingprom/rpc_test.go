// SPDX-License-Identifier: Apache-2.0

package messagingprom_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingprom"
	"github.com/parleymq/parley/messaging/messagingtest"
	"github.com/parleymq/parley/plugin/driver"
)

// TestRequestsOverABroker counts real calls on both sides.
func TestRequestsOverABroker(t *testing.T) {
	m := messagingprom.New(nil)
	broker := messagingtest.NewBroker()
	tr := broker.Transport(t, &messaging.Options{
		Logger:           slog.New(slog.DiscardHandler),
		ClientMiddleware: []messaging.ClientMiddleware{m.ClientMiddleware()},
		ServerMiddleware: []messaging.ServerMiddleware{m.ServerMiddleware()},
	})
	ep := messaging.NewEndpoint(nil)
	ep.HandleFunc("work", func(context.Context, map[string]any) (any, error) { return "done", nil })
	ep.HandleFunc("fail", func(context.Context, map[string]any) (any, error) { return nil, errors.New("failed") })
	ep.HandleFunc("panic", func(context.Context, map[string]any) (any, error) { panic("on purpose") })
	srv := messaging.NewRPCServer(tr, messaging.Target{Topic: "compute", Server: "host1"}, nil, ep)
	defer m.WatchServer("host1", srv)()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(context.WithoutCancel(t.Context())) }()
	<-srv.Ready()
	client := messaging.NewRPCClient(tr, messaging.Target{Topic: "compute"}, nil)

	for method, wantErr := range map[string]bool{"work": false, "fail": true, "panic": true, "guess": true} {
		if err := client.Call(t.Context(), method, nil, nil); (err != nil) != wantErr {
			t.Errorf("%s: %v", method, err)
		}
	}
	broker.Fail(messagingtest.Match{Kind: driver.Cast}, driver.Errorf(driver.ReasonNotConnected, "no broker"))
	if err := client.Cast(t.Context(), "work", nil); !errors.Is(err, messaging.ErrUnavailable) {
		t.Errorf("cast: %v", err)
	}
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-served; !errors.Is(err, messaging.ErrServerClosed) {
		t.Errorf("serve: %v", err)
	}

	all := text(t, m)
	for _, want := range []string{
		`parley_client_requests_total{code="ok",kind="call",method="work",topic="compute"} 1`,
		`parley_client_requests_total{code="remote",kind="call",method="fail",topic="compute"} 1`,
		`parley_client_requests_total{code="remote",kind="call",method="guess",topic="compute"} 1`,
		`parley_client_requests_total{code="unavailable",kind="cast",method="work",topic="compute"} 1`,
		`parley_server_requests_total{code="ok",kind="call",method="work",topic="compute"} 1`,
		`parley_server_requests_total{code="error",kind="call",method="fail",topic="compute"} 1`,
		`parley_server_requests_total{code="panic",kind="call",method="panic",topic="compute"} 1`,
		`parley_server_requests_total{code="remote",kind="call",method="(unknown)",topic="compute"} 1`,
		`parley_server_in_flight{kind="call",method="work",topic="compute"} 0`,
		`parley_server_received_total{server="host1"} 4`,
		`parley_server_refused_total{server="host1"} 1`,
	} {
		if !strings.Contains(all, want) {
			t.Errorf("missing: %s", want)
		}
	}
	if t.Failed() {
		t.Log(all)
	}
}
