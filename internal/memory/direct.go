// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"slices"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// NewDirect returns a Driver with nothing in it that behaves as one without a broker does
// (driver.CapDirect, driver.CapAckOnReceipt): a message is taken when somebody listens for it. It
// is for tests of the core and of the conformance suite. Unlike everything else here it has
// goroutines, for messages that wait; each ends with its message.
func NewDirect() *Driver {
	d := New()
	d.direct = true
	return d
}

// attended returns the queues that somebody takes from.
func attended(queues []*queue) []*queue {
	return slices.DeleteFunc(queues, func(q *queue) bool {
		return !slices.ContainsFunc(q.consumers, func(l *listener) bool { return !l.stopped })
	})
}

// waits reports whether a message that nobody listens for waits. vhost.mu must be held.
func (c *conn) waits(m *driver.Message) bool {
	switch {
	case !c.direct || m.Mandatory || m.FailFast || m.Target.Fanout:
		return false
	case m.Kind == driver.Reply || m.Kind == driver.Heartbeat:
		return c.vhost.queues[address{reply: m.ReplyTo}] != nil
	default:
		return true
	}
}

// waitForListener gives up vhost.mu until somebody may listen. It returns nil when it is worth
// looking again, and takes vhost.mu back in any case.
func (c *conn) waitForListener(ctx context.Context, e *entry) error {
	listened := c.vhost.waitRoom()
	wake, stop := alarm(e.expires)
	defer stop()

	c.vhost.mu.Unlock()
	defer c.vhost.mu.Lock()
	select {
	case <-listened:
		return nil
	case <-wake:
		return nil
	case <-ctx.Done():
		err := driver.Errorf(driver.ReasonNoRoute, "send %s: nobody listened in time", describe(&e.message))
		err.Err = ctx.Err()
		return err
	case <-c.closed:
		return c.alive("send " + describe(&e.message))
	}
}

// sendDirect sends what somebody listens for, and leaves each target that is waited for to a
// goroutine, so that nothing is held up and the order within a target stays.
func (c *conn) sendDirect(ctx context.Context, batch []*driver.Message, done func(int, error)) {
	waiting := make(map[string][]int)
	var targets []string
	for i, m := range batch {
		to := describe(m)
		if waiting[to] == nil && !c.mustWait(m) {
			done(i, c.sendOne(ctx, m))
			continue
		}
		if waiting[to] == nil {
			targets = append(targets, to)
		}
		waiting[to] = append(waiting[to], i)
	}
	for _, to := range targets {
		c.enter()
		go func() {
			defer c.leave()
			for _, i := range waiting[to] {
				done(i, c.sendOne(ctx, batch[i]))
			}
		}()
	}
}

// mustWait reports whether nobody listens for m now, and it is to wait.
func (c *conn) mustWait(m *driver.Message) bool {
	c.vhost.mu.Lock()
	defer c.vhost.mu.Unlock()
	return c.waits(m) && len(attended(c.vhost.route(m, time.Now()))) == 0
}
