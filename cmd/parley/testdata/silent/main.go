// SPDX-License-Identifier: Apache-2.0

// Command silent is a driver that takes messages and never delivers one.
package main

import (
	"context"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/sdk"
)

type silent struct{ sdk.BaseDriver }

func (silent) Open(_ context.Context, cfg driver.Config) (driver.Conn, error) {
	cfg.Report(driver.State{Phase: driver.Ready})
	return conn{}, nil
}

type conn struct{ sdk.BaseConn }

func (conn) Send(context.Context, []*driver.Message) error { return nil }

func (conn) Listen(context.Context, driver.Source) (driver.Listener, error) {
	return &listener{closed: make(chan struct{})}, nil
}

func (conn) Close(context.Context) error { return nil }

type listener struct{ closed chan struct{} }

func (l *listener) Poll(ctx context.Context, _ int) ([]*driver.Delivery, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.closed:
		return nil, driver.Errorf(driver.ReasonClosed, "the listener is closed")
	}
}

func (*listener) Done(context.Context, []driver.Outcome) error { return nil }

func (l *listener) Close(context.Context) error {
	close(l.closed)
	return nil
}

func main() {
	sdk.Serve(silent{sdk.BaseDriver{Info: driver.Info{
		Name: "silent", Version: "0.1.0", Summary: "takes messages and never delivers one", Capabilities: []driver.Capability{driver.CapRPC},
	}}}, nil)
}
