// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"

	"github.com/parleymq/parley/plugin/driver"
)

// Caller is who sent a batch, and what its messages have in common: whom to tell, and how long it
// waits.
type Caller struct {
	done    func(index int, err error)
	ended   <-chan struct{}
	cause   func() error
	bounded bool
	sync    bool
}

// NewCaller returns that of a call with ctx whose results go to done. sync is true for Send, which
// says why the broker is away (SEND-4), and false for SendAsync.
func NewCaller(ctx context.Context, sync bool, done func(index int, err error)) *Caller {
	_, bounded := ctx.Deadline()
	return &Caller{done: done, ended: ctx.Done(), cause: ctx.Err, bounded: bounded, sync: sync}
}

// Done tells what became of a message.
func (c *Caller) Done(index int, err error) { c.done(index, err) }

// Bounded reports whether the caller's ctx has a deadline.
func (c *Caller) Bounded() bool { return c.bounded }

// HasEnded reports whether the caller's ctx ended.
func (c *Caller) HasEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// Err is the error of the caller's ctx, nil while it has not ended.
func (c *Caller) Err() error { return c.cause() }

// GiveUp is the error of a message that has not left when its ctx ended; trouble is what kept it,
// or nil. Send says that (SEND-4); SendAsync says that it was given up, and the cause in words
// (ASYNC-4).
func (c *Caller) GiveUp(trouble *driver.Error) error {
	if c.sync && trouble != nil {
		return trouble
	}
	return Ended(c.cause(), trouble)
}
