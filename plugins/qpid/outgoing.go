// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/outbound"
)

// stage is how far a message has got.
type stage uint8

const (
	waiting stage = iota // in the queue of its lane, or put off for later
	writing              // in the hands of its lane's goroutine
	sent                 // written, and the peer has not said what became of it
	settled              // done was or is being called
)

// outgoing is one message on its way to the broker. The fields below the line change and are
// guarded by outbox.mu.
type outgoing struct {
	caller   *outbound.Caller
	index    int
	m        *driver.Message // lent until done is called; nil after it
	deadline time.Time       // the end of TimeLeft; zero when it has none
	limit    time.Time       // the end of our own patience, for a message without a deadline of its caller; zero for none
	answerBy time.Time       // when the peer must have said what became of it

	// ---
	stage    stage
	tries    int           // how often the peer gave it back, or its reply link was refused
	due      time.Time     // when it is to be sent again
	trouble  *driver.Error // why it was given back
	encoded  bool          // while it is written: m is not needed any longer
	giveUpAt time.Time     // when whoever writes it was told to give it up; zero for not told
}

// expiry is when o is given up if it has not left: the earlier of its two ends.
func (o *outgoing) expiry() time.Time {
	if o.deadline.IsZero() {
		return o.limit
	}
	return o.deadline
}

// prepare makes an outgoing of m.
func (s *settings) prepare(o *outgoing, m *driver.Message, now time.Time) error {
	switch m.Kind {
	case driver.Call, driver.Cast, driver.Notification:
	case driver.Reply, driver.Heartbeat:
		if m.ReplyTo == "" {
			return driver.Errorf(driver.ReasonConfig, "a %s without a reply address cannot be sent", m.Kind)
		}
	default:
		return driver.Errorf(driver.ReasonUnsupported, "the qpid driver cannot send a message of kind %d", m.Kind)
	}
	if m.TimeLeft < 0 {
		return outbound.Expired(nil)
	}
	o.m = m
	patience := s.patience(m.Kind)
	o.answerBy = now.Add(patience)
	switch {
	case m.TimeLeft > 0:
		o.deadline = now.Add(m.TimeLeft)
		if o.deadline.After(o.answerBy) {
			o.answerBy = o.deadline
		}
	case !o.caller.Bounded():
		o.limit = o.answerBy
	}
	return nil
}

// patience is upstream's timeout for a message of kind whose sender set none
// (oslo_messaging/_drivers/impl_amqp1.py: ProtonDriver.send, _ReplyTo).
func (s *settings) patience(kind driver.Kind) time.Duration {
	d := s.sendTimeout
	switch kind {
	case driver.Reply, driver.Heartbeat:
		d = s.replyTimeout
	case driver.Notification:
		d = s.notifyTimeout
	case driver.Call, driver.Cast:
	}
	if d <= 0 {
		return fallbackTimeout
	}
	return d
}

// fallbackTimeout stands for an option that says nothing.
const fallbackTimeout = 30 * time.Second

// overdue says why a message that has not left is given up, or nil. trouble is what keeps it.
func (o *outgoing) overdue(now time.Time, trouble *driver.Error) error {
	if o.trouble != nil {
		trouble = o.trouble // of this very message: it says more
	}
	switch {
	case o.caller.HasEnded():
		return o.caller.GiveUp(trouble)
	case !o.deadline.IsZero() && now.After(o.deadline):
		return outbound.Expired(trouble)
	case !o.limit.IsZero() && now.After(o.limit):
		if trouble != nil {
			return trouble
		}
		return driver.Errorf(driver.ReasonExpired, "the %s was not sent within the driver's own limit for a message without a timeout", o.m.Kind).
			WithHint("the options default_send_timeout, default_notify_timeout and default_reply_timeout set it")
	}
	return nil
}

// doubtful is the error of a message that may have left, and nobody waits for the peer's word any
// longer; nil while somebody does.
func (o *outgoing) doubtful(now time.Time, trouble *driver.Error) error {
	ended := o.caller.HasEnded()
	if !ended && now.Before(o.answerBy) {
		return nil
	}
	if trouble != nil {
		return outbound.InDoubt(trouble)
	}
	e := driver.Errorf(driver.ReasonExpired, "the peer did not say in time what became of the message")
	if ended && o.caller.Err() == context.Canceled {
		e.Reason = driver.ReasonCancelled
	}
	return outbound.InDoubt(e)
}
