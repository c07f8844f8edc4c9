// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// outgoing is one message on its way.
type outgoing struct {
	m        *driver.Message
	index    int
	done     func(int, error)
	size     int
	deadline time.Time // zero: none
	number   uint64    // zero until written
	settled  bool      // done was or is being called; guarded by sender.mu
	stop     func() bool

	large  *large[*outgoing] // nil for a message in one piece
	placed bool              // nothing before it in its batch holds it back; guarded by sender.mu
	after  []*outgoing       // what it holds back itself, being large; guarded by sender.mu
	given  error             // why its sender gave up while a chunk was being written; guarded by sender.mu
}

// holdsBack reports whether what follows a large message in its batch has to wait. sender.mu is
// held.
func (o *outgoing) holdsBack() bool { return !o.placed || o.number == 0 && !o.settled }

// finish calls done; the caller has set settled.
func (o *outgoing) finish(err error) {
	if o.stop != nil {
		o.stop()
	}
	o.done(o.index, err)
}

// unsent is the error of a message that never left the host.
func unsent(cause error) error {
	e := *driver.AsError(cause)
	e.InDoubt = false
	return gone(&e)
}

// inDoubt is the error of a message that was written to a process that ended.
func inDoubt(cause error) error {
	e := *driver.AsError(cause)
	e.InDoubt = true
	return gone(&e)
}

// gone gives a stream that ended with its Conn the reason that a dead process has: from a
// message's view both are the same.
func gone(e *driver.Error) *driver.Error {
	if e.Reason == driver.ReasonCancelled || e.Reason == driver.ReasonExpired {
		e.Reason, e.Message, e.Retryable = driver.ReasonDriverGone, "the connection to the driver was closed", true
	}
	return e
}

// cancelled says that ctx ended first.
func cancelled(ctx context.Context) *driver.Error {
	cause := context.Cause(ctx)
	reason := driver.ReasonOf(cause)
	if reason != driver.ReasonExpired {
		reason = driver.ReasonCancelled
	}
	return &driver.Error{Reason: reason, Message: notInTime + cause.Error(), Err: ctx.Err()}
}

// notInTime begins the texts of messages whose time ran out.
const notInTime = "the message was not sent in time: "
