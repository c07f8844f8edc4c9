// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"
	"sync"

	"github.com/parleymq/parley/plugin/driver"
)

// conn is one logical connection: a link for sending, opened at once, and a link for
// receiving, opened with the first Listener.
//
// There are two because RabbitMQ stops reading from a connection that publishes when it runs
// short of memory or disk; acknowledgements on the same socket would then stop too, and with
// them the consumers that could bring relief.
type conn struct {
	set     *settings
	state   *stateReporter
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
	c := &conn{set: s, state: newStateReporter(s.report)}
	c.sending = newLink("send", s, c.state)
	c.pub = newPublisher(s, c.sending)
	c.sending.start()
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
	w := newWaiter(len(batch))
	c.pub.sendAsync(ctx, batch, true, w.done)
	select {
	case <-w.all:
	case <-ctx.Done():
		c.pub.sweep() // settles all of this ctx now
		<-w.all
	}
	return w.result()
}

// waiter collects the results of a batch.
type waiter struct {
	all chan struct{}

	mu   sync.Mutex
	left int     // guarded by mu
	errs []error // nil while all is well; guarded by mu
	n    int
}

func newWaiter(n int) *waiter { return &waiter{all: make(chan struct{}), left: n, n: n} }

func (w *waiter) done(i int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		if w.errs == nil {
			w.errs = make([]error, w.n)
		}
		w.errs[i] = err
	}
	if w.left--; w.left == 0 {
		close(w.all)
	}
}

// result is nil, the error of a batch of one, or a *driver.BatchError.
func (w *waiter) result() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.errs == nil {
		return nil
	}
	if w.n == 1 {
		return w.errs[0]
	}
	return &driver.BatchError{Errs: w.errs}
}

// Listen implements driver.Conn.
func (c *conn) Listen(ctx context.Context, src driver.Source) (driver.Listener, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, closedError("connection")
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
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
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
		c.receiving.start()
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
	s, cause := c.sending.await(ctx, false)
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
		ctx, cancel = context.WithTimeout(ctx, closeTimeout)
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
		receiving.stop(ctx)
	}
	c.sending.stop(ctx)
	c.pub.finish()
	for _, l := range listeners {
		<-l.ended
	}
	c.state.end()
	return nil
}
