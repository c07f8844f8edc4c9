// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"math"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/uplink"
)

// Queues implements driver.QueueInspector. It asks over the connection for receiving, which a broker
// that is short of memory or disk does not block.
func (c *conn) Queues(ctx context.Context, topics []driver.NotificationTopic, pool string) ([]driver.QueueStatus, error) {
	queues, err := queuesOf(topics, pool)
	if err != nil || len(queues) == 0 {
		return nil, err
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, uplink.Closed("connection")
	}
	link := c.receiverLocked()
	c.mu.Unlock()
	for {
		s, cause := link.Await(ctx, false)
		if s == nil {
			return nil, cause
		}
		err := s.inspect(ctx, queues)
		if err == nil {
			return queues, nil
		}
		if err.Reason != driver.ReasonNotConnected {
			return nil, err
		}
		select {
		case <-s.done: // ask the next one (QUEUE-4)
		case <-ctx.Done():
			return nil, err
		}
	}
}

// queuesOf returns the queues that hold topics: one for each name, or the pool's for all of them.
func queuesOf(topics []driver.NotificationTopic, pool string) ([]driver.QueueStatus, error) {
	var queues []driver.QueueStatus
	numbers := make(map[string]int)
	seen := make(map[driver.NotificationTopic]bool)
	for _, t := range topics {
		if seen[t] {
			continue
		}
		seen[t] = true
		name := pool
		if name == "" {
			name = t.Topic + "." + t.Priority
		}
		if len(name) > maxShortString {
			return nil, driver.Errorf(driver.ReasonConfig, "queue %q has a name longer than AMQP's %d bytes", name, maxShortString).
				WithHint("use shorter names for topic and pool")
		}
		n, known := numbers[name]
		if !known {
			n = len(queues)
			numbers[name] = n
			queues = append(queues, driver.QueueStatus{Name: name, Pool: pool})
		}
		queues[n].Topics = append(queues[n].Topics, t)
	}
	return queues, nil
}

// inspect fills in what the broker tells of queues. An answer that does not come is not waited for:
// the goroutine then ends with the connection.
func (s *session) inspect(ctx context.Context, queues []driver.QueueStatus) *driver.Error {
	found := make([]driver.QueueStatus, len(queues))
	copy(found, queues)
	ended := make(chan *driver.Error, 1)
	go func() {
		d := newDeclarer(s.conn, nil)
		err := d.lookAt(ctx, found)
		d.close()
		ended <- err
	}()
	select {
	case err := <-ended:
		copy(queues, found)
		return err
	case <-ctx.Done():
		return driver.Errorf(driver.ReasonNotConnected, "%s did not answer in time", s.host)
	}
}

// lookAt fills in what the broker tells of queues, until ctx ends.
func (d *declarer) lookAt(ctx context.Context, queues []driver.QueueStatus) *driver.Error {
	for i := range queues {
		q := &queues[i]
		if ctx.Err() != nil {
			return driver.Errorf(driver.ReasonNotConnected, "the broker did not answer in time")
		}
		told, err := d.look(q.Name)
		if err != nil && !isMissing(err) {
			return brokerError("inspect queue "+quote(q.Name), err)
		}
		q.Exists = err == nil
		q.Messages = uint64(max(told.Messages, 0))
		q.Consumers = uint32(min(max(told.Consumers, 0), math.MaxInt32))
	}
	return nil
}

// look asks for a queue, and changes nothing. The channel is gone when there is none.
func (d *declarer) look(name string) (told amqp.Queue, err error) {
	err = d.do(func(ch *amqp.Channel) (err error) {
		told, err = ch.QueueDeclarePassive(name, false, false, false, false, nil)
		return err
	})
	return told, err
}

// isMissing reports whether the broker has no such queue.
func isMissing(err error) bool {
	e, ok := errors.AsType[*amqp.Error](err)
	return ok && e.Server && e.Code == amqp.NotFound
}
