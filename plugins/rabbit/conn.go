// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"
	"sync"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/outbound"
	"github.com/parleymq/parley/plugins/internal/uplink"
)

// conn is one logical connection: a link for sending, opened at once, and a link for
// receiving, opened with the first Listener.
//
// There are two because RabbitMQ stops reading from a connection that publishes when it runs
// short of memory or disk; acknowledgements on the same socket would then stop too, and with
// them the consumers that could bring relief.
type conn struct {
	set     *settings
	state   *uplink.States
	sending *link
	pub     *publisher

	mu        sync.Mutex
	receiving *link       // nil before the first Listen; guarded by mu
	listeners []*listener // guarded by mu
	closed    bool        // guarded by mu
}

var (
	_ driver.Conn           = (*conn)(nil)
	_ driver.AsyncSender    = (*conn)(nil)
	_ driver.Pinger         = (*conn)(nil)
	_ driver.QueueInspector = (*conn)(nil)
)

func openConn(s *settings) *conn {
	c := &conn{set: s, state: uplink.NewStates(s.report)}
	c.sending = newLink("send", s, c.state)
	c.pub = newPublisher(s, c.sending)
	c.sending.Start()
	c.pub.start()
	return c
}

// SendAsync implements driver.AsyncSender.
func (c *conn) SendAsync(ctx context.Context, batch []*driver.Message, done func(int, error)) {
	c.pub.sendAsync(ctx, batch, false, done)
}

// Send implements driver.Conn.
func (c *conn) Send(ctx context.Context, batch []*driver.Message) error {
	if len(batch) == 0 {
		return nil
	}
	w := outbound.NewResults(len(batch))
	c.pub.sendAsync(ctx, batch, true, w.Done)
	select {
	case <-w.All():
	case <-ctx.Done():
		c.pub.sweep() // settles all of this ctx now
		<-w.All()
	}
	return w.Err()
}

// Listen implements driver.Conn.
func (c *conn) Listen(ctx context.Context, src driver.Source) (driver.Listener, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, uplink.Closed("connection")
	}
	if err := c.checkPurposes(src); err != nil {
		c.mu.Unlock()
		return nil, err
	}
	l, err := newListener(c, c.receiverLocked(), src)
	if err != nil {
		c.mu.Unlock()
		return nil, err
	}
	c.listeners = append(c.listeners, l)
	c.mu.Unlock()
	if err := l.open(ctx); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), uplink.CloseTimeout)
		defer cancel()
		_ = l.Close(ctx) // why it did not open says more
		return nil, err
	}
	return l, nil
}

// receiverLocked returns the link for receiving.
func (c *conn) receiverLocked() *link {
	if c.receiving == nil {
		c.receiving = newLink("receive", c.set, c.state)
		c.receiving.Start()
	}
	return c.receiving
}

func (c *conn) forget(l *listener) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listeners = slices.DeleteFunc(c.listeners, func(other *listener) bool { return other == l })
}

// Ping implements driver.Pinger: opening a channel asks the broker and changes nothing.
func (c *conn) Ping(ctx context.Context) error {
	s, cause := c.sending.Await(ctx, false)
	if s == nil {
		return cause
	}
	answer := make(chan error, 1)
	go func() { // ends with the answer or with the connection
		ch, err := s.conn.Channel()
		if err == nil {
			err = ch.Close()
		}
		answer <- err
	}()
	select {
	case err := <-answer:
		if err != nil {
			return brokerError("ping", err)
		}
		return nil
	case <-ctx.Done():
		return driver.Errorf(driver.ReasonNotConnected, "%s did not answer in time", s.host)
	}
}

// Close implements driver.Conn.
func (c *conn) Close(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, uplink.CloseTimeout)
		defer cancel()
	}
	c.mu.Lock()
	c.closed = true
	receiving, listeners := c.receiving, slices.Clone(c.listeners) // forget changes the list in place
	c.mu.Unlock()
	c.pub.close(ctx)
	for _, l := range listeners { // those that the core did not close (CLOSE-1)
		l.stopRunning()
	}
	for _, l := range listeners { // they want to tell the broker
		select {
		case <-l.ended:
		case <-ctx.Done():
		}
	}
	if receiving != nil {
		receiving.Stop(ctx)
	}
	c.sending.Stop(ctx)
	c.pub.finish()
	for _, l := range listeners {
		<-l.ended
	}
	c.state.End()
	return nil
}
