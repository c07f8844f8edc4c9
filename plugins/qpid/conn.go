// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/outbound"
	"github.com/parleymq/parley/plugins/internal/uplink"
)

// conn is one logical connection to a broker: one AMQP connection, which the link keeps, with the
// outbox's sender links and the listeners' receiver links on it.
type conn struct {
	set    *settings
	states *uplink.States
	link   *link
	book   *replyBook
	out    *outbox
	in     *listeners
}

var (
	_ driver.Conn        = (*conn)(nil)
	_ driver.AsyncSender = (*conn)(nil)
	_ driver.Pinger      = (*conn)(nil)
)

func openConn(s *settings) *conn {
	states := uplink.NewStates(s.report)
	c := &conn{set: s, states: states, link: newLink(s, states), book: newReplyBook()}
	c.out = newOutbox(s, c.link, c.book)
	c.in = newListeners(s, c.link, c.book)
	c.link.Start()
	return c
}

// SendAsync implements driver.AsyncSender.
func (c *conn) SendAsync(ctx context.Context, batch []*driver.Message, done func(int, error)) {
	c.out.sendAsync(ctx, batch, false, done)
}

// Send implements driver.Conn.
func (c *conn) Send(ctx context.Context, batch []*driver.Message) error {
	if len(batch) == 0 {
		return nil
	}
	w := outbound.NewResults(len(batch))
	c.out.sendAsync(ctx, batch, true, w.Done)
	select {
	case <-w.All():
	case <-ctx.Done():
		c.out.sweep() // settles what of this ctx is not being written, now
		<-w.All()
	}
	return w.Err()
}

// Listen implements driver.Conn.
func (c *conn) Listen(ctx context.Context, src driver.Source) (driver.Listener, error) {
	return c.in.listen(ctx, src)
}

// Ping implements driver.Pinger: beginning and ending a session asks the peer and changes nothing.
func (c *conn) Ping(ctx context.Context) error {
	s, cause := c.link.Await(ctx, false)
	if s == nil {
		return cause
	}
	switch err := s.pool.ping(ctx); {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return driver.Errorf(driver.ReasonNotConnected, "%s did not answer in time", s.host)
	default:
		return linkError("ping "+s.host, err)
	}
}

// Close implements driver.Conn.
func (c *conn) Close(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, uplink.CloseTimeout)
		defer cancel()
	}
	c.out.close(ctx)
	c.in.close(ctx)
	c.link.Stop(ctx)
	c.out.finish()
	c.in.wait()
	c.states.End()
	return nil
}
