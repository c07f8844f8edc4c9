// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"context"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/sdk/drivertest"
)

func TestMain(m *testing.M) {
	if majors := os.Getenv(majorsEnv); majors != "" {
		serveMajors(majors)
		return
	}
	goleak.VerifyTestMain(m)
}

// TestConformance runs the suite that the memory driver passes in process through the bridge:
// what the contract promises holds on both sides of the boundary.
func TestConformance(t *testing.T) {
	d := memory.New()
	p := newPair(t, d, bridge.Limits{})
	drivertest.Run(t, harness(p, d))
}

// TestDirectConformance is the same with a driver that has no broker.
func TestDirectConformance(t *testing.T) {
	d := memory.NewDirect()
	p := newPair(t, d, bridge.Limits{})
	drivertest.Run(t, harness(p, d))
}

// TestDynamicConformance is the same with a driver whose reply addresses end.
func TestDynamicConformance(t *testing.T) {
	d := memory.NewDynamic()
	p := newPair(t, d, bridge.Limits{})
	drivertest.Run(t, harness(p, d))
}

// TestConformanceWithoutSendAsync hides SendAsync and Stop, so that the bridge has to make
// them of Send and Close.
func TestConformanceWithoutSendAsync(t *testing.T) {
	d := plainDriver{memory.New()}
	p := newPair(t, d, bridge.Limits{})
	drivertest.Run(t, harness(p, d))
}

func harness(p *pair, d driver.Driver) drivertest.Harness {
	return drivertest.Harness{
		Info: d.Describe,
		Open: func(ctx context.Context, t drivertest.TB, namespace string) driver.Conn {
			c, err := p.peer.Open(ctx, driver.Config{VirtualHost: namespace, HasVirtualHost: true})
			if err != nil {
				t.Fatalf("open: %v", err)
			}
			return c
		},
	}
}

// plainDriver has no optional abilities.
type plainDriver struct{ driver.Driver }

func (d plainDriver) Open(ctx context.Context, cfg driver.Config) (driver.Conn, error) {
	c, err := d.Driver.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return plainConn{c}, nil
}

type plainConn struct{ driver.Conn }

func (c plainConn) Listen(ctx context.Context, src driver.Source) (driver.Listener, error) {
	l, err := c.Conn.Listen(ctx, src)
	if err != nil {
		return nil, err
	}
	return plainListener{l}, nil
}

// Ping is optional too, but the suite asks every Conn that has the method.
func (c plainConn) Ping(ctx context.Context) error { return c.Conn.(driver.Pinger).Ping(ctx) }

// Queues is what the memory driver's capability promises.
func (c plainConn) Queues(ctx context.Context, topics []driver.NotificationTopic, pool string) ([]driver.QueueStatus, error) {
	return c.Conn.(driver.QueueInspector).Queues(ctx, topics, pool)
}

type plainListener struct{ driver.Listener }
