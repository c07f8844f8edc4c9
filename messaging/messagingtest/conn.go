// SPDX-License-Identifier: Apache-2.0

package messagingtest

import (
	"context"

	"github.com/parleymq/parley/plugin/driver"
)

// recording is the driver of a Broker: each of its connections records.
type recording struct {
	driver.Driver
	broker *Broker
}

// Open implements driver.Driver.
func (r *recording) Open(ctx context.Context, cfg driver.Config) (driver.Conn, error) {
	c, err := r.Driver.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, broker: r.broker}, nil
}

// conn records what is sent through it and lets faults happen. It hides the AsyncSender of the
// Conn below, so that there is one way in.
type conn struct {
	driver.Conn
	broker *Broker
}

// Ping implements driver.Pinger.
func (c *conn) Ping(ctx context.Context) error {
	if p, ok := c.Conn.(driver.Pinger); ok {
		return p.Ping(ctx)
	}
	return nil
}

// Queues implements driver.QueueInspector.
func (c *conn) Queues(ctx context.Context, topics []driver.NotificationTopic, pool string) ([]driver.QueueStatus, error) {
	if q, ok := c.Conn.(driver.QueueInspector); ok {
		return q.Queues(ctx, topics, pool)
	}
	return nil, driver.Errorf(driver.ReasonUnsupported, "this driver cannot tell what waits in queues")
}

// Send sends each message by itself: a fault happens to one message, not to its batch.
func (c *conn) Send(ctx context.Context, batch []*driver.Message) error {
	errs := make([]error, len(batch))
	failed := false
	for i, m := range batch {
		errs[i] = c.sendOne(ctx, m)
		failed = failed || errs[i] != nil
	}
	switch {
	case !failed:
		return nil
	case len(errs) == 1:
		return errs[0]
	default:
		return &driver.BatchError{Errs: errs}
	}
}

func (c *conn) sendOne(ctx context.Context, m *driver.Message) error {
	s := newSent(m)
	send := func(ctx context.Context) error { return c.Conn.Send(ctx, []*driver.Message{m}) }
	if f := c.broker.takeFault(s); f != nil {
		s.Err = f(ctx, send)
	} else {
		s.Err = send(ctx)
	}
	c.broker.record(s)
	return s.Err
}
