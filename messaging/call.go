// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// reportGrace is how long a call whose time ran out waits for the driver to say why its
// request was not sent. It turns "no reply" into "the broker is away" where that is the truth.
const reportGrace = 50 * time.Millisecond

// pending is a call that waits for its answer. The driver keeps its message until it has
// reported on it, which may be after the call returned: it is never used again.
type pending struct {
	msg     driver.Message
	batch   [1]*driver.Message
	replies *replies
	cancel  context.CancelFunc // ends the sending

	// outcome has room for the one outcome, so that nobody who sends it waits.
	outcome chan outcome
	// beat wakes a monitored call; nil without Monitor.
	beat chan struct{}

	sending atomic.Uint32 // one of the states below
}

// The states of sending a request.
const (
	sendInFlight uint32 = iota
	sendDone
	sendInDoubt
)

// outcome is what ends a call.
type outcome struct {
	delivery *driver.Delivery
	err      error // of sending, or of closing the transport
}

// reported is the driver's word on the request (driver.AsyncSender). It runs on a goroutine of
// the driver and does not block. A request that was certainly not sent ends the call; one in
// doubt may still be answered.
func (p *pending) reported(_ int, err error) {
	switch {
	case err == nil:
		p.sending.Store(sendDone)
	case inDoubt(err):
		p.sending.Store(sendInDoubt)
	default:
		if p.replies.take(p.msg.CallID) == p {
			p.outcome <- outcome{err: err}
		}
		return
	}
	p.alive()
}

// alive restarts the monitor.
func (p *pending) alive() {
	if p.beat == nil {
		return
	}
	select {
	case p.beat <- struct{}{}:
	default:
	}
}

// call is Call with the version that the method exists since.
func (c *RPCClient) call(ctx context.Context, method, since string, args, reply any) error {
	op := operation{"call", method, c.s.target}
	if c.callErr != nil {
		return c.callErr
	}
	if err := checkPointer(reply); err != nil {
		return op.errorf(CodeEncoding, nil, "%v", err)
	}
	p := &pending{replies: c.t.replies}
	p.msg.Kind = driver.Call
	if err := c.fill(ctx, &p.msg, op, since, args); err != nil {
		return err
	}
	if err := c.t.enter(op); err != nil {
		return err
	}
	defer c.t.leave()
	d, err := c.exchange(ctx, op, p)
	if err != nil {
		return err
	}
	return answer(op, d, reply)
}

// answer turns a reply into the result of the call.
func answer(op operation, d *driver.Delivery, reply any) error {
	if len(d.Failure) > 0 {
		return decodeFailure(d.Failure)
	}
	if err := decodeInto(d.Body, reply); err != nil {
		return op.errorf(CodeEncoding, err, "the result does not fit a %T: %v", reply, err)
	}
	return nil
}

// exchange sends the request and waits for the reply. When it returns, nobody waits for the
// call any more.
func (c *RPCClient) exchange(ctx context.Context, op operation, p *pending) (*driver.Delivery, error) {
	start := time.Now()
	bounded, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	p.cancel = cancel
	p.outcome = make(chan outcome, 1)
	if c.s.monitor > 0 {
		p.beat = make(chan struct{}, 1)
	}
	p.msg.UniqueID, p.msg.CallID = newIDs()
	p.msg.ReplyTo = c.t.replies.name
	p.msg.MonitorTimeout = c.s.monitor
	if err := c.t.replies.add(p); err != nil {
		return nil, err
	}
	out, err := p.run(bounded, c.t)
	switch {
	case err != nil:
		return nil, c.gaveUp(op, p, err, time.Since(start))
	case out.err != nil:
		return nil, c.sendError(ctx, op, CodeNoReply, out.err)
	default:
		return out.delivery, nil
	}
}

// run sends the request and waits. It returns the outcome, or what wait ends with.
func (p *pending) run(ctx context.Context, t *Transport) (outcome, error) {
	if err := p.replies.open(ctx); err != nil {
		if p.replies.take(p.msg.CallID) == nil {
			return <-p.outcome, nil // the transport was closed
		}
		return outcome{err: err}, nil
	}
	deadline, _ := ctx.Deadline()
	p.msg.TimeLeft = max(time.Until(deadline), time.Nanosecond) // zero would mean without limit
	t.send(ctx, p)
	return p.wait(ctx)
}

// send hands the request to the driver; the driver answers to p.reported. Without an
// asynchronous conn it takes a goroutine, which ends with ctx and counts as a user.
func (t *Transport) send(ctx context.Context, p *pending) {
	p.batch[0] = &p.msg
	if t.async != nil {
		t.async.SendAsync(ctx, p.batch[:], p.reported)
		return
	}
	t.enterAgain()
	go func() {
		defer t.leave()
		p.reported(0, driver.MessageErr(t.conn.Send(ctx, p.batch[:]), 0))
	}()
}

// errMonitor ends a call whose server went silent.
var errMonitor = errors.New("no heartbeat")

// wait returns the outcome, or why it ends without one: the error of ctx, or errMonitor. In
// both cases the call is not in the table any more.
func (p *pending) wait(ctx context.Context) (outcome, error) {
	if p.beat != nil {
		return p.waitMonitored(ctx)
	}
	select {
	case out := <-p.outcome:
		return out, nil
	case <-ctx.Done():
		return p.abandon(ctx.Err())
	}
}

// waitMonitored is wait with a timer that every sign of life restarts. It runs from the
// moment the request was sent.
func (p *pending) waitMonitored(ctx context.Context) (outcome, error) {
	var silence <-chan time.Time
	var timer *time.Timer
	for {
		select {
		case out := <-p.outcome:
			return out, nil
		case <-ctx.Done():
			return p.abandon(ctx.Err())
		case <-silence:
			return p.abandon(errMonitor)
		case <-p.beat:
			if timer != nil {
				timer.Reset(p.msg.MonitorTimeout)
				continue
			}
			timer = time.NewTimer(p.msg.MonitorTimeout)
			defer timer.Stop()
			silence = timer.C
		}
	}
}

// abandon takes the call out of the table. An outcome that came first wins over cause.
func (p *pending) abandon(cause error) (outcome, error) {
	if cause == context.DeadlineExceeded && p.sending.Load() == sendInFlight {
		grace := time.NewTimer(reportGrace)
		defer grace.Stop()
		select {
		case out := <-p.outcome:
			return out, nil
		case <-grace.C:
		}
	}
	if p.replies.take(p.msg.CallID) == nil {
		return <-p.outcome, nil // whoever took it sends at once
	}
	return outcome{}, cause
}

// gaveUp is the error of a call that ended without an outcome.
func (c *RPCClient) gaveUp(op operation, p *pending, cause error, after time.Duration) error {
	if cause == context.Canceled {
		return cause
	}
	e := op.errorf(CodeNoReply, cause, "no reply within %s", after.Round(time.Millisecond))
	if cause == errMonitor {
		e.Message = fmt.Sprintf("no sign of life from the server for %s", c.s.monitor)
	}
	switch p.sending.Load() {
	case sendInFlight:
		e.Message += "; the broker has not confirmed the request"
	case sendInDoubt:
		e.Message += "; the request may or may not have reached the broker"
	}
	e.Hint = "the method may have run; check that a server of the target is up and quick enough"
	return e
}
