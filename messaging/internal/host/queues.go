// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/plugin/driver"
)

// Queues implements driver.QueueInspector.
func (c *Conn) Queues(ctx context.Context, topics []driver.NotificationTopic, pool string) (queues []driver.QueueStatus, err error) {
	err = c.ask(ctx, func(conn *bridge.Conn) error {
		queues, err = conn.Queues(ctx, topics, pool)
		return err
	})
	if err != nil {
		return nil, err
	}
	return queues, nil
}

// ask asks what changes nothing, so that what ended with a process is asked again of the next one.
func (c *Conn) ask(ctx context.Context, question func(*bridge.Conn) error) error {
	for {
		life, err := c.await(ctx, nil)
		if err != nil {
			return err
		}
		err = question(life.conn)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			if t := c.trouble(ctx); t != nil {
				return t
			}
			return err
		}
		if !c.replaced(ctx, err, life.conn.Broken()) {
			return err
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
