// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"context"
	"strings"
	"testing"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
)

// carelessDriver delivers headers as they come.
type carelessDriver struct {
	driver.Driver
	headers map[string]string
}

func (d carelessDriver) Open(ctx context.Context, cfg driver.Config) (driver.Conn, error) {
	c, err := d.Driver.Open(ctx, cfg)
	return carelessConn{c, d.headers}, err
}

type carelessConn struct {
	driver.Conn
	headers map[string]string
}

func (c carelessConn) Listen(ctx context.Context, src driver.Source) (driver.Listener, error) {
	l, err := c.Conn.Listen(ctx, src)
	return carelessListener{l, c.headers}, err
}

type carelessListener struct {
	driver.Listener
	headers map[string]string
}

func (l carelessListener) Poll(ctx context.Context, max int) ([]*driver.Delivery, error) {
	ds, err := l.Listener.Poll(ctx, max)
	for _, d := range ds {
		d.Headers = l.headers
	}
	return ds, err
}

// TestBadHeadersDoNotCostTheMessage: they stay on the driver's side.
func TestBadHeadersDoNotCostTheMessage(t *testing.T) {
	for name, headers := range map[string]map[string]string{
		"no text":   {"k": "\xff"},
		"too large": {"k": strings.Repeat("v", driver.MaxHeaderBytes)},
	} {
		t.Run(name, func(t *testing.T) {
			c := newPair(t, carelessDriver{memory.New(), headers}, bridge.Limits{}).open(t, "v")
			l, err := c.Listen(within(t), driver.Source{
				Kind: driver.SourceServer, Settle: driver.SettleOnDone,
				Target: driver.Target{Exchange: "e", Topic: "t", Server: "s"},
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Send(within(t), []*driver.Message{castTo("t", "1", []byte("{}"))}); err != nil {
				t.Fatal(err)
			}
			ds, err := l.Poll(within(t), 1)
			if err != nil || len(ds) != 1 || len(ds[0].Headers) != 0 {
				t.Errorf("got %v, %v", ds, err)
			}
			if err := l.Close(within(t)); err != nil {
				t.Error(err)
			}
		})
	}
}
