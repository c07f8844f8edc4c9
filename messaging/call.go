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
// reported on it; it is used again only to send the same request once more.
type pending struct {
	msg     driver.Message
	batch   [1]*driver.Message
	replies *replies
	tries   retries
	cancel  context.CancelFunc // ends the sending

	// outcome has room for the one outcome and for the one report on a try that may be
	// followed by another, so that nobody who sends waits.
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
	// sendExhausted is in doubt, and it is not sent again.
	sendExhausted
)

// outcome is what ends a call, or a try to send it.
type outcome struct {
	delivery *driver.Delivery
	err      error // of sending, or of closing the transport
	// again: the call still waits, and the request may be sent once more.
	again bool
	// lost: err is why no reply can come any more.
	lost bool
}

// reported is the driver's word on the request (driver.AsyncSender). It runs on a goroutine of
// the driver and does not block. A request that was certainly not sent ends the call, or this
// try of it; one in doubt may still be answered.
func (p *pending) reported(_ int, err error) {
	switch {
	case err == nil:
		p.sending.Store(sendDone)
	case inDoubt(err):
		p.sending.Store(sendInDoubt)
		if p.tries.repeatable {
			p.outcome <- outcome{err: err, again: true}
			return
		}
	case p.tries.limit >= 0, p.tries.repeatable:
		p.outcome <- outcome{err: err, again: true}
		return
	default:
		p.fail(err)
		return
	}
	p.alive()
}

// fail ends the call, unless somebody else was quicker.
func (p *pending) fail(err error) { p.end(outcome{err: err}) }

func (p *pending) end(out outcome) {
	if p.replies.take(p.msg.CallID) == p {
		p.outcome <- out
	}
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

// call is Call of a method of which more is known than its name.
func (c *RPCClient) call(ctx context.Context, m declared, args, reply any) error {
	if c.callErr != nil {
		return c.callErr
	}
	o, err := c.checked(m, outgoing{op: c.operation(true, m.name), args: args, reply: reply})
	if err != nil {
		return err
	}
	if err := checkPointer(reply); err != nil {
		return o.op.errorf(CodeEncoding, nil, "%v", err)
	}
	return c.do(ctx, true, o)
}

func (c *RPCClient) sendCall(ctx context.Context, o *outgoing) error {
	p := &pending{replies: c.t.replies, tries: c.retries(o)}
	p.msg.Kind = driver.Call
	if err := c.fill(ctx, &p.msg, o); err != nil {
		return err
	}
	d, err := c.exchange(ctx, o.op, p)
	if err != nil {
		return err
	}
	return c.answer(ctx, o, d)
}

// answer turns a reply into the result of the call.
func (c *RPCClient) answer(ctx context.Context, o *outgoing, d *driver.Delivery) error {
	if len(d.Failure) > 0 {
		return c.s.errors.decode(d.Failure)
	}
	if err := c.decode(ctx, d.Body, o.reply); err != nil {
		return o.op.errorf(CodeEncoding, err, "the result does not fit a %T: %v", o.reply, err)
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
	p.outcome = make(chan outcome, 2)
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
	case out.lost:
		return nil, c.lostReply(op, out.err)
	case out.err != nil:
		return nil, sendError(ctx, op, out.err)
	default:
		return out.delivery, nil
	}
}

// run sends the request and waits. It returns the outcome, or what wait ends with.
func (p *pending) run(ctx context.Context, t *Transport) (outcome, error) {
	if err := p.open(ctx, t); err != nil {
		if p.replies.take(p.msg.CallID) == nil {
			return p.final(), nil // the transport was closed
		}
		return outcome{err: err}, nil
	}
	t.send(ctx, p)
	return p.wait(ctx, t)
}

// open makes sure that the answer is received. What keeps a call from that counts as a try to
// send it.
func (p *pending) open(ctx context.Context, t *Transport) error {
	for {
		err := p.replies.open(ctx, p.msg.FailFast)
		pause, again := p.tries.after(err)
		if err == nil || !again || !sleep(ctx, pause) {
			return err
		}
		t.counters.retries.Add(1)
	}
}

// final returns the outcome of a call that somebody has taken out of the table: he sends it at
// once.
func (p *pending) final() outcome {
	for {
		if out := <-p.outcome; !out.again {
			return out
		}
	}
}

// send hands the request to the driver; the driver answers to p.reported. Without an
// asynchronous conn it takes a goroutine, which ends with ctx and counts as a user.
func (t *Transport) send(ctx context.Context, p *pending) {
	p.sending.Store(sendInFlight)
	now := time.Now()
	deadline, _ := ctx.Deadline()
	p.msg.TimeLeft = max(deadline.Sub(now), time.Nanosecond) // zero would mean without limit
	p.msg.Deadline = deadline
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
func (p *pending) wait(ctx context.Context, t *Transport) (outcome, error) {
	if p.beat != nil {
		return p.waitLong(ctx, t)
	}
	select {
	case out := <-p.outcome:
		if !out.again {
			return out, nil
		}
		p.outcome <- out // there is room: what is on its way is the one outcome
		return p.waitLong(ctx, t)
	case <-ctx.Done():
		return p.abandon(ctx.Err())
	}
}

// waitLong is wait with tries to send the request again, and with a timer that every sign of
// life restarts, which runs from the moment the request was sent.
func (p *pending) waitLong(ctx context.Context, t *Transport) (outcome, error) {
	var silence, pause clock
	defer silence.stop()
	defer pause.stop()
	for {
		select {
		case out := <-p.outcome:
			if !out.again {
				return out, nil
			}
			p.tryAgain(ctx, out, &pause)
		case <-pause.tick():
			t.counters.retries.Add(1)
			t.send(ctx, p)
		case <-ctx.Done():
			return p.abandon(ctx.Err())
		case <-silence.tick():
			return p.abandon(errMonitor)
		case <-p.beat:
			silence.start(p.msg.MonitorTimeout)
		}
	}
}

// tryAgain starts the pause before the next try; when there is none left, or no time for it, a
// request that was not sent ends the call and one in doubt goes on waiting for its answer.
func (p *pending) tryAgain(ctx context.Context, out outcome, pause *clock) {
	err := out.err
	d, again := p.tries.after(err)
	deadline, _ := ctx.Deadline()
	switch {
	case again && time.Until(deadline) > d:
		if inDoubt(err) && p.replies.mayEnd() {
			// Where the first one is known it is not run again, and its answer goes to an address
			// that has ended. The method may run again.
			p.msg.UniqueID = newID()
		}
		pause.start(d)
	case out.lost:
		p.end(outcome{err: err, lost: true})
	case inDoubt(err), p.tries.doubtful > 0:
		p.sending.Store(sendExhausted) // this try or one before
	default:
		p.fail(err)
	}
}

// clock is a timer that need not be running.
type clock struct{ timer *time.Timer }

func (c *clock) start(d time.Duration) {
	if c.timer == nil {
		c.timer = time.NewTimer(d)
		return
	}
	c.timer.Reset(d)
}

func (c *clock) tick() <-chan time.Time {
	if c.timer == nil {
		return nil
	}
	return c.timer.C
}

func (c *clock) stop() {
	if c.timer != nil {
		c.timer.Stop()
	}
}

// abandon takes the call out of the table. An outcome that came first wins over cause.
func (p *pending) abandon(cause error) (outcome, error) {
	if cause == context.DeadlineExceeded && p.sending.Load() == sendInFlight {
		grace := time.NewTimer(reportGrace)
		defer grace.Stop()
		select {
		case out := <-p.outcome:
			if !out.again {
				return out, nil
			}
			if !inDoubt(out.err) && p.tries.doubtful == 0 {
				p.fail(out.err) // no time for another try: this is why
			}
		case <-grace.C:
		}
	}
	if p.replies.take(p.msg.CallID) == nil {
		return p.final(), nil
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
		e.Code = CodeInDoubt
		e.Message += "; the broker has not confirmed the request"
	case sendInDoubt, sendExhausted:
		e.Code = CodeInDoubt
		e.Message += "; the request may or may not have reached the broker"
	}
	if e.Code == CodeInDoubt {
		c.t.counters.inDoubt.Add(1)
	}
	e.Hint = "the method may have run; check that a server of the target is up and quick enough"
	return e
}
