// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/parleymq/parley/plugin/driver"
)

func TestMissingCapabilities(t *testing.T) {
	r := newRig(t, nil, func(f *faults) { f.info = driver.Info{Name: "poor"} })
	ctx := t.Context()
	c := NewRPCClient(r.Transport, Target{Topic: "t"}, nil)
	s := NewRPCServer(r.Transport, computeTarget, nil)
	for name, err := range map[string]error{
		"call":  c.Call(ctx, "m", nil, nil),
		"cast":  c.Cast(ctx, "m", nil),
		"serve": s.Serve(ctx),
	} {
		if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), `"poor"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
	some := newRig(t, nil, func(f *faults) { f.info = driver.Info{Name: "some", Capabilities: []driver.Capability{driver.CapRPC}} })
	c = NewRPCClient(some.Transport, Target{Topic: "t"}, nil)
	if err := c.With(Fanout()).Cast(ctx, "m", nil); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "fanout") {
		t.Errorf("fanout: %v", err)
	}
	if err := c.With(Mandatory()).Cast(ctx, "m", nil); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "mandatory") {
		t.Errorf("mandatory: %v", err)
	}
	if some.Info().Name != "some" || NewTransport(newLoop(), nil).Info().Name != "" {
		t.Error("Info")
	}
}

func TestCloseTransport(t *testing.T) {
	bothSenders(t, func(t *testing.T, r *rig) {
		began := make(chan struct{})
		release := make(chan struct{})
		ep := NewEndpoint(nil)
		ep.HandleFunc("hang", func(context.Context, map[string]any) (any, error) {
			close(began)
			<-release
			return nil, nil
		})
		s := NewRPCServer(r.Transport, computeTarget, nil, ep)
		served := make(chan error, 1)
		go func() { served <- s.Serve(context.Background()) }()
		wait(t, s.Ready(), "the server")
		c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)
		called := make(chan error, 1)
		go func() { called <- c.Call(context.Background(), "hang", nil, nil) }()
		wait(t, began, "the handler")

		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		closed := make(chan error, 2)
		go func() { closed <- r.Close(ctx) }()
		go func() { closed <- r.Close(ctx) }()
		if err := wait(t, called, "the call"); !errors.Is(err, ErrClosed) {
			t.Errorf("the call: %v", err)
		}
		close(release)
		if err := wait(t, served, "the server"); !errors.Is(err, ErrClosed) {
			t.Errorf("the server: %v", err)
		}
		for range 2 {
			if err := wait(t, closed, "Close"); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		for name, err := range map[string]error{
			"call":  c.Call(ctx, "m", nil, nil),
			"cast":  c.Cast(ctx, "m", nil),
			"ping":  r.Ping(ctx),
			"serve": NewRPCServer(r.Transport, computeTarget, nil).Serve(ctx),
		} {
			if name == "ping" && errors.Is(err, ErrUnsupported) {
				continue
			}
			if !errors.Is(err, ErrClosed) {
				t.Errorf("%s after Close: %v", name, err)
			}
		}
	})
}

func TestPing(t *testing.T) {
	tr := NewTransport(openMemory(t, newRig(t, nil).broker), nil)
	defer closeTransport(t, tr)
	if err := tr.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if err := NewTransport(newLoop(), nil).Ping(t.Context()); !errors.Is(err, ErrUnsupported) {
		t.Errorf("a conn that cannot: %v", err)
	}
}
