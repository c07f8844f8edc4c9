// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"

	"github.com/parleymq/parley/plugin/driver"
)

// Queues implements driver.QueueInspector. It changes nothing, so that what ended with a process is
// asked again of the next one.
func (c *Conn) Queues(ctx context.Context, topics []driver.NotificationTopic, pool string) ([]driver.QueueStatus, error) {
	for {
		conn, err := c.await(ctx, nil)
		if err != nil {
			return nil, err
		}
		queues, err := conn.Queues(ctx, topics, pool)
		if err == nil {
			return queues, nil
		}
		if ctx.Err() != nil {
			if t := c.trouble(ctx); t != nil {
				return nil, t
			}
			return nil, err
		}
		if !c.replaced(ctx, err, conn.Broken()) {
			return nil, err
		}
	}
}

// replaced reports whether err is that of a life that ended or is ending, and waits for its end, so
// that the next one is asked.
func (c *Conn) replaced(ctx context.Context, err error, broken <-chan struct{}) bool {
	gone := driver.ReasonOf(err) == driver.ReasonDriverGone || driver.ReasonOf(err) == driver.ReasonClosed ||
		errors.Is(err, context.Canceled)
	if !gone || c.isClosed() {
		return false
	}
	select {
	case <-broken:
		return true
	case <-ctx.Done():
		return false
	}
}
