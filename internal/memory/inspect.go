// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"slices"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// Queues implements driver.QueueInspector. There is one queue for each topic, priority and pool, so
// that each of the topics has its own.
func (c *conn) Queues(ctx context.Context, topics []driver.NotificationTopic, pool string) ([]driver.QueueStatus, error) {
	if err := c.alive("inspect queues"); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if c.direct {
		return nil, driver.Errorf(driver.ReasonUnsupported, "inspect queues: what waits is with its senders")
	}
	c.vhost.mu.Lock()
	defer c.vhost.mu.Unlock()
	now := time.Now()
	var all []driver.QueueStatus
	for i, t := range topics {
		if slices.Contains(topics[:i], t) {
			continue
		}
		s := driver.QueueStatus{Name: queueName(t, pool), Pool: pool, Topics: []driver.NotificationTopic{t}}
		if q, ok := c.vhost.pools[topicName{t.Exchange, t.Topic, t.Priority}][pool]; ok {
			s.Exists, s.Messages, s.Consumers = true, q.waiting(now), q.attended()
		}
		all = append(all, s)
	}
	return all, nil
}

// queueName shows a queue of notifications to people: there is no other name here.
func queueName(t driver.NotificationTopic, pool string) string {
	name := t.Exchange + "/" + t.Topic + "." + t.Priority
	if pool != "" {
		name += "/" + pool
	}
	return name
}

// waiting counts what somebody could still take.
func (q *queue) waiting(now time.Time) uint64 {
	var n uint64
	for el := q.entries.Front(); el != nil; el = el.Next() {
		if !asEntry(el).expired(now) {
			n++
		}
	}
	return n
}

// attended counts the consumers that are not on their way out.
func (q *queue) attended() uint32 {
	var n uint32
	for _, l := range q.consumers {
		if !l.stopped {
			n++
		}
	}
	return n
}
