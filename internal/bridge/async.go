// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// queuedSender makes SendAsync of Send, for drivers without it: one goroutine sends what has
// been queued meanwhile as one batch, in order. A driver that can pipeline implements
// AsyncSender itself; for one that cannot, larger batches are what helps.
type queuedSender struct {
	conn driver.Conn
	wake chan struct{} // of capacity one: something is queued

	mu    sync.Mutex
	queue []queuedMessage // guarded by mu
	ended bool            // guarded by mu
}

// queuedMessage is a message of a frame.
type queuedMessage struct {
	ctx   context.Context // of the frame it came in
	m     *driver.Message
	index int
	done  func(int, error)
	since time.Time // when it was queued
}

func newQueuedSender(conn driver.Conn) *queuedSender {
	return &queuedSender{conn: conn, wake: make(chan struct{}, 1)}
}

// SendAsync implements driver.AsyncSender. The queue is bounded by what the host may have in
// flight.
func (q *queuedSender) SendAsync(ctx context.Context, batch []*driver.Message, done func(int, error)) {
	now := time.Now()
	q.mu.Lock()
	ended := q.ended
	if !ended {
		for i, m := range batch {
			q.queue = append(q.queue, queuedMessage{ctx: ctx, m: m, index: i, done: done, since: now})
		}
	}
	q.mu.Unlock()
	if ended {
		for i := range batch {
			done(i, cancelled(ctx))
		}
		return
	}
	notify(q.wake)
}

// run sends until ctx ends; what is queued then fails.
func (q *queuedSender) run(ctx context.Context) {
	for {
		select {
		case <-q.wake:
			for batch := q.take(); len(batch) > 0; batch = q.take() {
				q.sendBatch(ctx, batch)
			}
		case <-ctx.Done():
			q.mu.Lock()
			q.ended = true
			left := q.queue
			q.queue = nil
			q.mu.Unlock()
			for _, m := range left {
				m.done(m.index, cancelled(ctx))
			}
			return
		}
	}
}

// take returns what is queued and still wanted, at most a batch.
func (q *queuedSender) take() []queuedMessage {
	q.mu.Lock()
	n := min(len(q.queue), batchMessages)
	taken := q.queue[:n:n]
	q.queue = q.queue[n:]
	q.mu.Unlock()
	batch := make([]queuedMessage, 0, n)
	for _, m := range taken {
		if m.ctx.Err() != nil {
			m.done(m.index, cancelled(m.ctx))
			continue
		}
		m.m.Waited(time.Since(m.since)) // it was made for us, of a frame
		batch = append(batch, m)
	}
	return batch
}

// sendBatch sends messages of several frames. Its ctx ends when nobody waits for any of them.
func (q *queuedSender) sendBatch(ctx context.Context, batch []queuedMessage) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var waiting atomic.Int64
	waiting.Store(int64(len(batch)))
	messages := make([]*driver.Message, len(batch))
	for i, m := range batch {
		messages[i] = m.m
		stop := context.AfterFunc(m.ctx, func() {
			if waiting.Add(-1) == 0 {
				cancel()
			}
		})
		defer stop()
	}
	err := q.send(ctx, messages)
	for i, m := range batch {
		m.done(m.index, driver.MessageErr(err, i))
	}
}

// send calls Send; a panic there is on a goroutine that nobody else would recover.
func (q *queuedSender) send(ctx context.Context, batch []*driver.Message) (err error) {
	defer func() {
		if r := recover(); r != nil {
			e := driver.Errorf(driver.ReasonDriverBug, "the driver panicked in Send: %v", r)
			e.InDoubt = true
			err = e
		}
	}()
	return q.conn.Send(ctx, batch)
}
