// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// Cast runs method on a server of the target, or on all with [Fanout], and does not wait for
// it: it returns nil once the broker has taken the request. Whether anyone receives it is
// known only with [Mandatory], or where there is no broker: there it is a server that has taken it.
// A request that may or may not have reached the broker fails with ErrInDoubt, unless the client is
// [Repeatable]; the other errors are those of Call.
func (c *RPCClient) Cast(ctx context.Context, method string, args any) error {
	return c.cast(ctx, declared{name: method}, args)
}

// cast is Cast of a method of which more is known than its name.
func (c *RPCClient) cast(ctx context.Context, m declared, args any) error {
	if c.castErr != nil {
		return c.castErr
	}
	o, err := c.checked(m, outgoing{op: c.operation(false, m.name), args: args})
	if err != nil {
		return err
	}
	return c.do(ctx, false, o)
}

func (c *RPCClient) sendCast(ctx context.Context, o *outgoing) error {
	msg := &driver.Message{Kind: driver.Cast, UniqueID: newID()}
	if err := c.fill(ctx, msg, o); err != nil {
		return err
	}
	if c.s.target.Fanout {
		c.t.warnUnscoped(ctx, c.s.target)
	}
	bounded, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	err := c.t.sendOften(bounded, msg, c.retries(o))
	if inDoubt(err) {
		c.t.counters.inDoubt.Add(1)
	}
	return sendError(ctx, o.op, err)
}

// sendOften sends a message as often as the settings say. What one try left in doubt stays so,
// whatever the next one fails with.
func (t *Transport) sendOften(ctx context.Context, msg *driver.Message, tries retries) error {
	var doubt error
	for {
		err := driver.MessageErr(t.conn.Send(ctx, []*driver.Message{msg}), 0)
		if inDoubt(err) {
			doubt = err
		}
		pause, again := tries.after(err)
		if err == nil || !again || !sleep(ctx, pause) {
			if err != nil && doubt != nil {
				return doubt
			}
			return err
		}
		t.counters.retries.Add(1)
	}
}

// sleep waits for d; false means that there is no time for it.
func sleep(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
