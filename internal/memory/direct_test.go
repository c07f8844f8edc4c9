// SPDX-License-Identifier: Apache-2.0

package memory_test

import (
	"context"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/sdk/drivertest"
)

// TestDirectConformance runs the suite as a driver without a broker does.
func TestDirectConformance(t *testing.T) {
	drivertest.Run(t, harness(memory.NewDirect()))
}

// Drivers without a broker that are right but for one rule.
func TestSuiteFindsDirectMutants(t *testing.T) {
	for _, m := range []mutant{
		{name: "fails at once what nobody listens for", rule: "DIRECT-1", conn: wrapSend(failAtOnce)},
		{name: "drops what nobody listens for", rule: "DIRECT-1", conn: wrapSend(dropUnheard), timeout: time.Second},
		{name: "delivers what has failed", rule: "DIRECT-1", conn: newGrudge},
		{name: "sends one after the other", rule: "DIRECT-2", conn: newQueued, timeout: time.Second},
		{name: "waits with FailFast", rule: "DIRECT-3", conn: wrapSend(forgetFailFast), timeout: time.Second},
		{name: "waits with mandatory", rule: "DIRECT-4", conn: wrapSend(ignoreMandatory), timeout: time.Second},
		{name: "gives to others what may have been run", rule: "RECEIPT-2", conn: newForgiving},
	} {
		t.Run(m.rule+" "+m.name, func(t *testing.T) {
			t.Parallel()
			over := make(chan struct{})
			t.Cleanup(func() { close(over) })
			h := harness(memory.NewDirect())
			h.Timeout = m.timeout
			right := h.Open
			h.Open = func(ctx context.Context, tb drivertest.TB, ns string) driver.Conn {
				return m.mutate(right(ctx, tb, ns), over)
			}
			wantFailed(t, drivertest.Check(h, m.rule), m.rule)
		})
	}
}

func failAtOnce(ctx context.Context, c driver.Conn, batch []*driver.Message) error {
	return changed(ctx, c, batch, func(m *driver.Message) { m.FailFast = true })
}

func forgetFailFast(ctx context.Context, c driver.Conn, batch []*driver.Message) error {
	return changed(ctx, c, batch, func(m *driver.Message) { m.FailFast = false })
}

// dropUnheard takes what a broker would take.
func dropUnheard(ctx context.Context, c driver.Conn, batch []*driver.Message) error {
	err := failAtOnce(ctx, c, batch)
	if driver.ReasonOf(err) == driver.ReasonNoRoute {
		return nil
	}
	return err
}

// grudge forgets that a message failed, and goes on sending it until the test is over: the suite
// may take any time to come back and look.
type grudge struct {
	driver.Conn
	until <-chan struct{}
}

func newGrudge(c driver.Conn, until <-chan struct{}) driver.Conn { return &grudge{c, until} }

func (c *grudge) Send(ctx context.Context, batch []*driver.Message) error {
	err := c.Conn.Send(ctx, batch)
	if driver.ReasonOf(err) == driver.ReasonNoRoute {
		again := *batch[0]
		again.TimeLeft = 0
		kept, cancel := context.WithCancel(context.WithoutCancel(ctx))
		go func() { // ends with the test
			<-c.until
			cancel()
		}()
		go func() { _ = c.Conn.Send(kept, []*driver.Message{&again}) }() // ends with kept, or when somebody listens
	}
	return err
}

// queued sends a batch when the one before it has ended.
type queued struct {
	driver.Conn
	turn chan struct{}
}

func newQueued(c driver.Conn, _ <-chan struct{}) driver.Conn {
	return &queued{c, make(chan struct{}, 1)}
}

func (c *queued) Send(ctx context.Context, batch []*driver.Message) error {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	return c.Conn.Send(ctx, batch)
}

// forgiving does not know that a delivery may have been run.
type forgiving struct{ driver.Conn }

func newForgiving(c driver.Conn, _ <-chan struct{}) driver.Conn { return &forgiving{c} }

func (c *forgiving) Listen(ctx context.Context, src driver.Source) (driver.Listener, error) {
	src.AtMostOnce = false
	return c.Conn.Listen(ctx, src)
}
