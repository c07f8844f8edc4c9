// SPDX-License-Identifier: Apache-2.0

// Command driver is the driver author's example of the README: a driver that writes what it is
// to send into its log. Built as parley-driver-log it is found under the URL log://.
package main

import (
	"context"
	"log/slog"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/sdk"
)

type logDriver struct{ sdk.BaseDriver }

func (logDriver) Open(_ context.Context, cfg driver.Config) (driver.Conn, error) {
	return logConn{log: cfg.Logger}, nil
}

type logConn struct {
	sdk.BaseConn
	log *slog.Logger
}

func (c logConn) Send(ctx context.Context, batch []*driver.Message) error {
	for _, m := range batch {
		c.log.InfoContext(ctx, "sent", "kind", m.Kind.String(), "topic", m.Target.Topic, "bytes", len(m.Body))
	}
	return nil
}

func main() {
	info := driver.Info{Name: "log", Version: "0.1.0", Summary: "writes messages to the log", Capabilities: []driver.Capability{driver.CapRPC}}
	sdk.Serve(logDriver{sdk.BaseDriver{Info: info}}, nil)
}
