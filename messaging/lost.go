// SPDX-License-Identifier: Apache-2.0

package messaging

import "github.com/parleymq/parley/plugin/driver"

// lost ends the call whose reply cannot come any more: the address it was to be sent to has ended
// (driver.LOST-1). A call that is gone is no news.
func (r *replies) lost(d *driver.Delivery) {
	r.mu.Lock()
	p := r.waiting[d.CallID]
	r.mu.Unlock()
	if p != nil {
		p.lose(d.Lost)
	}
}

// mayEnd reports whether the address that replies are sent to ends with a connection or a driver.
func (r *replies) mayEnd() bool {
	info, known := r.t.info()
	return known && !info.Has(driver.CapStableReplies)
}

// lose ends a call in doubt, or this try of one whose method may run again.
func (p *pending) lose(why *driver.Error) {
	e := *why
	e.InDoubt = true
	switch {
	case !p.tries.repeatable, p.sending.Load() == sendExhausted:
		p.end(outcome{err: &e, lost: true})
	case p.sending.CompareAndSwap(sendDone, sendInDoubt):
		p.outcome <- outcome{err: &e, again: true, lost: true}
	default: // a try that was not confirmed was reported as what it is
	}
}

// lostReply is the error of such a call.
func (c *RPCClient) lostReply(op operation, err error) error {
	c.t.counters.inDoubt.Add(1)
	d := driver.AsError(err)
	e := op.errorf(CodeInDoubt, err, "the request was sent and its reply is lost: %s", d.Message)
	e.Hint = d.Hint
	if e.Hint == "" {
		e.Hint = "the method may have run, or may run still; ask for what it did before calling it again"
	}
	return e
}
