// SPDX-License-Identifier: Apache-2.0

package memory_test

import (
	"context"
	"errors"
	"sync"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/sdk/drivertest"
)

// A broker in memory is never away. To try the suite's cases of outages, and to prove that
// they find wrong drivers, the harness here puts a switch between the suite and the driver.
// It proves the cases, not the driver.

// manners say how a driver behaves while its broker is away.
type manners uint8

const (
	polite   manners = iota // as the contract says
	hurried                 // Send fails at once
	careless                // Send returns nil
	faint                   // Poll fails, then and from then on
	touchy                  // Done fails for what was delivered before
	patient                 // Send waits with every message
	clumsy                  // Send waits for the slowest message of all that are under way
	doubting                // Send fails at once, and does not know what it did
)

// outage is the switch of one harness.
type outage struct {
	manners manners

	mu    sync.Mutex
	back  chan struct{} // guarded by mu; closed when the broker is back, nil while it is there
	count int           // guarded by mu; of outages so far
	begun chan struct{} // guarded by mu; closed when the next outage begins
}

// withOutages adds StopBroker and StartBroker to a harness.
func withOutages(h drivertest.Harness, m manners) drivertest.Harness {
	o := &outage{manners: m, begun: make(chan struct{})}
	open := h.Open
	h.Open = func(ctx context.Context, t drivertest.TB, ns string) driver.Conn {
		c := open(ctx, t, ns)
		async, _ := c.(driver.AsyncSender)
		pinger, _ := c.(driver.Pinger)
		return &shakyConn{Conn: c, AsyncSender: async, Pinger: pinger, outage: o}
	}
	h.StopBroker = func(context.Context, drivertest.TB, string) { o.begin() }
	h.StartBroker = func(context.Context, drivertest.TB, string) { o.end() }
	return h
}

func (o *outage) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.back = make(chan struct{})
	o.count++
	close(o.begun)
	o.begun = make(chan struct{})
}

func (o *outage) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.back)
	o.back = nil
}

// state returns what to wait for while the broker is away, and how often it was.
func (o *outage) state() (back <-chan struct{}, begun <-chan struct{}, count int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.back, o.begun, o.count
}

type shakyConn struct {
	driver.Conn
	driver.AsyncSender
	driver.Pinger
	outage *outage
	mu     sync.Mutex // held by a clumsy Send
}

func (c *shakyConn) Send(ctx context.Context, batch []*driver.Message) error {
	back, _, _ := c.outage.state()
	if back == nil {
		return c.Conn.Send(ctx, batch)
	}
	away := driver.Errorf(driver.ReasonNotConnected, "the broker is away")
	switch c.outage.manners {
	case hurried:
		return away
	case careless:
		return nil
	case doubting:
		away.InDoubt = true
	case clumsy:
		c.mu.Lock()
		defer c.mu.Unlock()
	default:
	}
	// The suite's batches are of one message while the broker is away.
	if c.outage.manners != patient && batch[0].FailFast {
		return away
	}
	select {
	case <-back:
		return c.Conn.Send(ctx, batch)
	case <-ctx.Done():
		return away
	}
}

func (c *shakyConn) Listen(ctx context.Context, src driver.Source) (driver.Listener, error) {
	l, err := c.Conn.Listen(ctx, src)
	if err != nil {
		return nil, err
	}
	stopper, _ := l.(driver.Stopper)
	_, _, count := c.outage.state()
	return &shakyListener{Listener: l, Stopper: stopper, outage: c.outage, since: count}, nil
}

type shakyListener struct {
	driver.Listener
	driver.Stopper
	outage *outage
	since  int // outages before it
}

func (l *shakyListener) Poll(ctx context.Context, max int) ([]*driver.Delivery, error) {
	if l.outage.manners != faint {
		return l.Listener.Poll(ctx, max)
	}
	_, begun, count := l.outage.state()
	if count > l.since {
		return nil, errors.New("the connection is broken")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-begun:
			cancel()
		case <-ctx.Done():
		}
	}()
	ds, err := l.Listener.Poll(ctx, max)
	cancel()
	<-watched
	return ds, err
}

func (l *shakyListener) Done(ctx context.Context, outcomes []driver.Outcome) error {
	if _, _, count := l.outage.state(); l.outage.manners == touchy && count > l.since {
		return errors.New("the connection of this delivery is broken")
	}
	return l.Listener.Done(ctx, outcomes)
}

// Queues waits while the broker is away; a hurried one does not.
func (c *shakyConn) Queues(ctx context.Context, topics []driver.NotificationTopic, pool string) ([]driver.QueueStatus, error) {
	if back, _, _ := c.outage.state(); back != nil {
		away := driver.Errorf(driver.ReasonNotConnected, "the broker is away")
		if c.outage.manners == hurried {
			return nil, away
		}
		select {
		case <-back:
		case <-ctx.Done():
			return nil, away
		}
	}
	return c.Conn.(driver.QueueInspector).Queues(ctx, topics, pool)
}
