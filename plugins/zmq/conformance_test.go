// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"testing"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/sdk/drivertest"
)

// TestConformance runs the suite that every driver runs, by each way of connecting.
func TestConformance(t *testing.T) {
	for _, transport := range []string{transportIPC, transportTCP} {
		t.Run(transport, func(t *testing.T) {
			dir := t.TempDir()
			drivertest.Run(t, drivertest.Harness{
				Info: newDriver().Describe,
				Open: func(ctx context.Context, tb drivertest.TB, namespace string) driver.Conn {
					cfg := configFor(tb, dir+"/"+namespace, map[string]string{optTransport: transport, optMaxMessage: "2097152"})
					c, err := newDriver().Open(ctx, cfg)
					if err != nil {
						tb.Fatalf("open: %v", err)
					}
					return c
				},
				MessageLimit: 2 << 20,
			})
		})
	}
}

// configFor is the configuration of zmq://DIR with options.
func configFor(tb drivertest.TB, dir string, options map[string]string) driver.Config {
	tb.Helper()
	o, err := driver.ValidateOptions(optionSpecs(), options)
	if err != nil {
		tb.Fatalf("options: %v", err)
	}
	return driver.Config{
		Driver: "zmq", VirtualHost: dir[1:], HasVirtualHost: true, Options: o, AppName: "test",
		Logger: testLogger(tb), Report: func(driver.State) {},
	}
}

// testLogger writes to the test's log.
func testLogger(tb drivertest.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(logWriter{tb}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type logWriter struct{ tb drivertest.TB }

func (w logWriter) Write(p []byte) (int, error) {
	w.tb.Helper()
	w.tb.Logf("%s", p)
	return len(p), nil
}
