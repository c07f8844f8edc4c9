// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"sync"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// conn implements driver.Conn, driver.AsyncSender, driver.Pinger and driver.QueueInspector.
type conn struct {
	vhost        *vhost
	queueLimit   int
	messageLimit int
	replyTTL     time.Duration
	direct       bool // see NewDirect
	dynamic      bool // see NewDynamic

	closed chan struct{} // closed by Close when the sends in flight had their time

	// The rest is guarded by vhost.mu.
	listeners map[*listener]struct{}
	sending   int                      // calls of Send and SendAsync in flight
	idle      chan struct{}            // made by Close, closed when sending is zero
	replies   map[string]*replyAddress // by name; see NewDynamic
}

var (
	_ driver.Conn        = (*conn)(nil)
	_ driver.AsyncSender = (*conn)(nil)
	_ driver.Pinger      = (*conn)(nil)

	_ driver.QueueInspector = (*conn)(nil)
)

func newConn(v *vhost, options driver.Options) *conn {
	return &conn{
		vhost:        v,
		queueLimit:   options.Int(optQueueLimit),
		messageLimit: options.Int(optMessageLimit),
		replyTTL:     options.Duration(optReplyTTL),
		closed:       make(chan struct{}),
		listeners:    make(map[*listener]struct{}),
		replies:      make(map[string]*replyAddress),
	}
}

// Send implements driver.Conn.
func (c *conn) Send(ctx context.Context, batch []*driver.Message) error {
	errs := make([]error, len(batch))
	var open sync.WaitGroup
	open.Add(len(batch))
	c.SendAsync(ctx, batch, func(i int, err error) {
		errs[i] = err
		open.Done()
	})
	open.Wait()
	return batchError(errs)
}

// batchError returns nil when nothing failed, and the bare error of a batch of one.
func batchError(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	for _, err := range errs {
		if err != nil {
			return &driver.BatchError{Errs: errs}
		}
	}
	return nil
}

// SendAsync implements driver.AsyncSender. It waits for room itself and is done when it
// returns: one goroutine that calls it in order is answered in order, and a full queue holds
// up its conn as a blocked broker would.
func (c *conn) SendAsync(ctx context.Context, batch []*driver.Message, done func(int, error)) {
	c.enter()
	defer c.leave()
	if c.direct {
		c.sendDirect(ctx, batch, done)
		return
	}
	for i, m := range batch {
		done(i, c.sendOne(ctx, m))
	}
}

// enter and leave count the sends in flight, for Close.
func (c *conn) enter() {
	c.vhost.mu.Lock()
	defer c.vhost.mu.Unlock()
	c.sending++
}

func (c *conn) leave() {
	c.vhost.mu.Lock()
	defer c.vhost.mu.Unlock()
	c.sending--
	if c.sending == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

func (c *conn) sendOne(ctx context.Context, m *driver.Message) error {
	if err := c.admit(ctx, m); err != nil {
		return err
	}
	e := newEntry(m, time.Now())

	c.vhost.mu.Lock()
	defer c.vhost.mu.Unlock()
	for {
		e.message.ReplyTo = c.outbound(m)
		now := time.Now()
		if e.expired(now) {
			return expired(m)
		}
		queues := c.vhost.route(&e.message, now)
		if c.direct {
			queues = attended(queues)
		}
		if len(queues) == 0 {
			if !c.waits(m) {
				return c.unroutable(m)
			}
			if err := c.waitForListener(ctx, e); err != nil {
				return err
			}
			continue
		}
		full := c.firstFull(queues, now)
		if full == nil {
			c.noteSent(m)
			putAll(queues, e)
			return nil
		}
		if err := c.waitForRoom(ctx, e, full); err != nil {
			return err
		}
	}
}

// admit refuses what must not be sent, whatever state the queues are in.
func (c *conn) admit(ctx context.Context, m *driver.Message) error {
	if err := c.alive("send"); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return driver.Errorf(driver.ReasonOf(err), "send %s: %w", describe(m), err)
	}
	if m.TimeLeft < 0 {
		return expired(m)
	}
	if err := driver.CheckHeaders(m.Headers); err != nil {
		return err
	}
	if size := m.Size(); c.messageLimit > 0 && size > c.messageLimit {
		return driver.Errorf(driver.ReasonMessageTooLarge, "send %s: %d bytes, the limit is %d",
			describe(m), size, c.messageLimit).WithHint("raise the option %s", optMessageLimit)
	}
	return nil
}

func (c *conn) alive(what string) error {
	select {
	case <-c.closed:
		return driver.Errorf(driver.ReasonClosed, "%s: the connection is closed", what)
	default:
		return nil
	}
}

func (c *conn) unroutable(m *driver.Message) error {
	if !m.Mandatory && (!c.direct || !m.FailFast || m.Target.Fanout) {
		return nil
	}
	return driver.Errorf(driver.ReasonNoRoute, "send %s: nobody has listened there", describe(m))
}

func (c *conn) firstFull(queues []*queue, now time.Time) *queue {
	for _, q := range queues {
		if q.full(c.queueLimit, now) {
			return q
		}
	}
	return nil
}

// putAll puts e into each queue. Nobody sees some of them with it and some without, because
// vhost.mu is held all the while.
func putAll(queues []*queue, e *entry) {
	for _, q := range queues {
		q.push(e.copyFor())
	}
}

// waitForRoom gives up vhost.mu until a queue may have room. It returns nil when it is worth
// looking again, and takes vhost.mu back in any case. A FailFast message waits as well: the
// broker is there (SEND-10), and only its receiver is slow.
func (c *conn) waitForRoom(ctx context.Context, e *entry, full *queue) error {
	room := c.vhost.waitRoom()
	wake, stop := alarm(earlier(e.expires, full.firstExpiry()))
	defer stop()

	c.vhost.mu.Unlock()
	defer c.vhost.mu.Lock()
	select {
	case <-room:
		return nil
	case <-wake:
		return nil
	case <-ctx.Done():
		return driver.Errorf(driver.ReasonOf(ctx.Err()), "send %s: its queue is full: %w",
			describe(&e.message), ctx.Err()).
			WithHint("listen to it, or raise the option %s", optQueueLimit)
	case <-c.closed:
		return c.alive("send " + describe(&e.message))
	}
}

// alarm returns a channel that gets a value at the time t, or never when t is zero.
func alarm(t time.Time) (wake <-chan time.Time, stop func()) {
	if t.IsZero() {
		return nil, func() {}
	}
	timer := time.NewTimer(time.Until(t))
	return timer.C, func() { timer.Stop() }
}

// Listen implements driver.Conn.
func (c *conn) Listen(ctx context.Context, src driver.Source) (driver.Listener, error) {
	if err := c.alive("listen"); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l := newListener(c, src)
	c.vhost.mu.Lock()
	defer c.vhost.mu.Unlock()
	c.vhost.sweep(time.Now())
	if c.dynamic && src.Kind == driver.SourceReplies {
		c.bindReplies(l)
	} else {
		c.vhost.bind(src, l, c.replyTTL)
	}
	c.listeners[l] = struct{}{}
	c.vhost.madeRoom() // for what waits for a listener
	return l, nil
}

// Ping implements driver.Pinger.
func (c *conn) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return c.alive("ping")
}

// Close implements driver.Conn. Sends that wait for room get ctx to finish (CLOSE-1); then
// they are told that the connection is closed.
func (c *conn) Close(ctx context.Context) error {
	select {
	case <-c.whenIdle():
	case <-ctx.Done():
	}
	c.vhost.mu.Lock()
	defer c.vhost.mu.Unlock()
	if c.alive("close") != nil {
		return nil
	}
	close(c.closed)
	for l := range c.listeners {
		l.close()
	}
	return nil
}

// whenIdle returns a channel that is closed once no send is in flight.
func (c *conn) whenIdle() <-chan struct{} {
	c.vhost.mu.Lock()
	defer c.vhost.mu.Unlock()
	idle := make(chan struct{})
	if c.sending == 0 {
		close(idle)
		return idle
	}
	if c.idle == nil {
		c.idle = idle
	}
	return c.idle
}

func expired(m *driver.Message) error {
	return driver.Errorf(driver.ReasonExpired, "send %s: its time ran out before it was sent", describe(m))
}

// describe names a message in an error: its kind and where it goes.
func describe(m *driver.Message) string {
	to := m.ReplyTo
	if m.Kind != driver.Reply && m.Kind != driver.Heartbeat {
		to = m.Target.Exchange + "/" + m.Target.Topic
	}
	if m.Target.Server != "" {
		to += "." + m.Target.Server
	}
	if m.Priority != "" {
		to += "." + m.Priority
	}
	return m.Kind.String() + " to " + to
}
