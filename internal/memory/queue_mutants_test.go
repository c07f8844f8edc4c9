// SPDX-License-Identifier: Apache-2.0

package memory_test

import (
	"context"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

func queueMutants() []mutant {
	return []mutant{
		{name: "tells a queue twice", rule: "QUEUE-1", conn: inspects(func(c driver.Conn, q question) ([]driver.QueueStatus, error) {
			queues, err := q.ask(c)
			return append(queues, queues...), err
		})},
		{name: "ignores the pool", rule: "QUEUE-1", timeout: time.Second, conn: inspects(func(c driver.Conn, q question) ([]driver.QueueStatus, error) {
			q.pool = ""
			return q.ask(c)
		})},
		{name: "makes what it looks for", rule: "QUEUE-2", conn: inspects(makeQueues)},
		{name: "fails for a queue that does not exist", rule: "QUEUE-2", conn: inspects(func(c driver.Conn, q question) ([]driver.QueueStatus, error) {
			queues, err := q.ask(c)
			for _, s := range queues {
				if !s.Exists {
					return nil, driver.Errorf(driver.ReasonInternal, "there is no queue %s", s.Name)
				}
			}
			return queues, err
		})},
		{name: "counts what is with a listener", rule: "QUEUE-3", timeout: time.Second, conn: inspects(func(c driver.Conn, q question) ([]driver.QueueStatus, error) {
			queues, err := q.ask(c)
			for i := range queues {
				queues[i].Messages++
			}
			return queues, err
		})},
		{name: "does not wait for the broker", rule: "QUEUE-4", away: hurried},
		{name: "counts no consumers", rule: "QUEUE-5", timeout: time.Second, conn: inspects(func(c driver.Conn, q question) ([]driver.QueueStatus, error) {
			queues, err := q.ask(c)
			for i := range queues {
				queues[i].Consumers = 0
			}
			return queues, err
		})},
		{name: "gives back to every pool", rule: "DONE-3", timeout: time.Second, conn: func(c driver.Conn, _ <-chan struct{}) driver.Conn {
			return &listenWrapper{Conn: c, wrap: func(l driver.Listener, src driver.Source) driver.Listener {
				return &resender{Listener: l, conn: c, src: src, given: make(map[uint64]*driver.Delivery)}
			}}
		}},
		{name: "drops headers of notifications", rule: "headers", conn: wrapSend(func(ctx context.Context, c driver.Conn, batch []*driver.Message) error {
			return changed(ctx, c, batch, func(m *driver.Message) {
				if m.Kind == driver.Notification {
					m.Headers = nil
				}
			})
		})},
		{name: "sends every notification as 2.0", rule: "notifications", conn: wrapSend(func(ctx context.Context, c driver.Conn, batch []*driver.Message) error {
			return changed(ctx, c, batch, func(m *driver.Message) { m.Format = driver.NotificationV2 })
		})},
	}
}

// question is what Queues was asked.
type question struct {
	ctx    context.Context //nolint:containedctx // it is one call
	topics []driver.NotificationTopic
	pool   string
}

func (q question) ask(c driver.Conn) ([]driver.QueueStatus, error) {
	return c.(driver.QueueInspector).Queues(q.ctx, q.topics, q.pool)
}

// inspectWrapper answers Queues in another way.
type inspectWrapper struct {
	driver.Conn
	answer func(driver.Conn, question) ([]driver.QueueStatus, error)
}

func (w *inspectWrapper) Queues(ctx context.Context, topics []driver.NotificationTopic, pool string) ([]driver.QueueStatus, error) {
	return w.answer(w.Conn, question{ctx, topics, pool})
}

func inspects(answer func(driver.Conn, question) ([]driver.QueueStatus, error)) func(driver.Conn, <-chan struct{}) driver.Conn {
	return func(c driver.Conn, _ <-chan struct{}) driver.Conn { return &inspectWrapper{c, answer} }
}

func makeQueues(c driver.Conn, q question) ([]driver.QueueStatus, error) {
	l, err := c.Listen(q.ctx, driver.Source{
		Kind: driver.SourceNotifications, Settle: driver.SettleOnDone, Notifications: q.topics, Pool: q.pool,
	})
	if err != nil {
		return nil, err
	}
	if err := l.Close(q.ctx); err != nil {
		return nil, err
	}
	return q.ask(c)
}

// resender sends a requeued notification again, to all its pools.
type resender struct {
	driver.Listener
	conn  driver.Conn
	src   driver.Source
	given map[uint64]*driver.Delivery
}

func (w *resender) Poll(ctx context.Context, max int) ([]*driver.Delivery, error) {
	ds, err := w.Listener.Poll(ctx, max)
	for _, d := range ds {
		w.given[d.Token] = d
	}
	return ds, err
}

func (w *resender) Done(ctx context.Context, outcomes []driver.Outcome) error {
	for i, o := range outcomes {
		if d := w.given[o.Token]; d != nil && d.Kind == driver.Notification && o.Result == driver.Requeued {
			outcomes[i].Result = driver.Accepted
			if err := w.conn.Send(ctx, []*driver.Message{&d.Message}); err != nil {
				return err
			}
		}
	}
	return w.Listener.Done(ctx, outcomes)
}
