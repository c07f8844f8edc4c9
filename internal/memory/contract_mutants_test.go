// SPDX-License-Identifier: Apache-2.0

package memory_test

import (
	"context"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// impatient fails the first FailFast message of each Conn, as one that has not connected yet.
type impatient struct {
	driver.Conn
	connected bool
}

func newImpatient(c driver.Conn, _ <-chan struct{}) driver.Conn { return &impatient{Conn: c} }

func (c *impatient) Send(ctx context.Context, batch []*driver.Message) error {
	if !c.connected && batch[0].FailFast {
		c.connected = true
		return driver.Errorf(driver.ReasonNotConnected, "the broker is not connected yet")
	}
	return c.Conn.Send(ctx, batch)
}

func deadlineNow(ctx context.Context, c driver.Conn, batch []*driver.Message) error {
	return changed(ctx, c, batch, func(m *driver.Message) { m.Deadline = time.Now() })
}

func unscope(ctx context.Context, c driver.Conn, batch []*driver.Message) error {
	return changed(ctx, c, batch, func(m *driver.Message) { m.Target.Scoped = false })
}

func bareReplies(ctx context.Context, c driver.Conn, batch []*driver.Message) error {
	return changed(ctx, c, batch, func(m *driver.Message) {
		if m.Kind == driver.Reply {
			m.Headers = nil
		}
	})
}

// cutHeaders sends what fits instead of refusing.
func cutHeaders(ctx context.Context, c driver.Conn, batch []*driver.Message) error {
	return changed(ctx, c, batch, func(m *driver.Message) {
		if driver.CheckHeaders(m.Headers) != nil {
			m.Headers = nil
		}
	})
}

// sourceWrapper changes what is listened to, and the messages to it.
type sourceWrapper struct {
	driver.Conn
	change func(*driver.Target)
	sends  bool
}

func (w *sourceWrapper) Listen(ctx context.Context, src driver.Source) (driver.Listener, error) {
	w.change(&src.Target)
	return w.Conn.Listen(ctx, src)
}

func (w *sourceWrapper) Send(ctx context.Context, batch []*driver.Message) error {
	return changed(ctx, w.Conn, batch, func(m *driver.Message) {
		if w.sends {
			w.change(&m.Target)
		}
	})
}

func newUnscoped(c driver.Conn, _ <-chan struct{}) driver.Conn {
	return &sourceWrapper{Conn: c, change: func(t *driver.Target) { t.Scoped = false }}
}

func newJoiner(c driver.Conn, _ <-chan struct{}) driver.Conn {
	return &sourceWrapper{Conn: c, sends: true, change: func(t *driver.Target) {
		t.Exchange, t.Topic = "", t.Exchange+"."+t.Topic
	}}
}

// newTimeless is a driver whose wire drops a message in time and does not tell how much was left.
func newTimeless(l driver.Listener, _ driver.Source) driver.Listener {
	return &pollWrapper{l, func(ctx context.Context, max int) ([]*driver.Delivery, error) {
		ds, err := l.Poll(ctx, max)
		for _, d := range ds {
			d.TimeLeft = 0
		}
		return ds, err
	}}
}

// hoarder takes ahead in a goroutine of its own, and does nothing about what it has when time
// passes or when it is stopped.
type hoarder struct {
	driver.Listener
	hoard   chan *driver.Delivery
	stopped chan struct{}
	cancel  context.CancelFunc
	ended   chan struct{}
}

func newHoarder(l driver.Listener, _ driver.Source) driver.Listener {
	ctx, cancel := context.WithCancel(context.Background())
	h := &hoarder{
		Listener: l, hoard: make(chan *driver.Delivery, 100), stopped: make(chan struct{}),
		cancel: cancel, ended: make(chan struct{}),
	}
	go func() {
		defer close(h.ended)
		for {
			ds, err := l.Poll(ctx, 10)
			if err != nil {
				return
			}
			for _, d := range ds {
				h.hoard <- d
			}
		}
	}()
	return h
}

func (h *hoarder) Poll(ctx context.Context, _ int) ([]*driver.Delivery, error) {
	closed := driver.Errorf(driver.ReasonClosed, "the listener was stopped")
	select {
	case <-h.stopped:
		return nil, closed
	default:
	}
	select {
	case d := <-h.hoard:
		return []*driver.Delivery{d}, nil
	case <-h.stopped:
		return nil, closed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (h *hoarder) Stop(context.Context) error {
	h.cancel()
	<-h.ended
	close(h.stopped)
	return nil
}

func (h *hoarder) Close(ctx context.Context) error {
	h.cancel()
	<-h.ended
	return h.Listener.Close(ctx)
}
