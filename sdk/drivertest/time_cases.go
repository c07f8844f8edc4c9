// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"errors"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

func timeCases() []Case {
	expiry := []driver.Capability{driver.CapRPC, driver.CapExpiry}
	return []Case{
		{Rule: "SEND-11", Name: "when a call was sent arrives to the millisecond, or not at all", needs: rpc(), run: deadlineArrives},
		{Rule: "SEND-11", Name: "a message that does not say when it was sent arrives so", needs: rpc(), run: deadlineUnknown},
		{Rule: "POLL-8", Name: "a call has at most the time left that it was sent with", needs: expiry, run: timeLeftIsSet},
		{Rule: "POLL-8", Name: "a call without a limit arrives without one", needs: rpc(), run: timeLeftUnlimited},
		{Rule: "POLL-8", Name: "the time that a call waits in the driver is taken off", needs: expiry, run: timeLeftInDriver},
	}
}

// call makes a call with a time left, zero for none.
func (w *world) call(left time.Duration) *driver.Message {
	m := w.cast()
	m.Kind, m.ReplyTo, m.CallID, m.TimeLeft = driver.Call, w.replyName(), "call-"+m.UniqueID, left
	return m
}

func deadlineArrives(ctx context.Context, w *world) {
	c := w.open(ctx)
	w.caller(ctx, c)
	l := w.listen(ctx, c, w.server("one"))
	m := w.call(time.Minute)
	// Not this clock's time: a driver does not compute with it.
	m.Deadline = time.UnixMilli(1_234_567_890_123).Add(456 * time.Microsecond)
	w.send(ctx, c, m)
	d := w.take(ctx, l, 1)[0]
	switch {
	case d.Deadline.IsZero():
		w.skip("the wire does not carry it")
	case d.Deadline.UnixMilli() != m.Deadline.UnixMilli():
		w.Errorf("sent at %v, delivered with %v", m.Deadline, d.Deadline)
	}
	if !sameJSON(d.Body, m.Body) {
		w.Errorf("sent %s, received %s", m.Body, d.Body)
	}
}

func deadlineUnknown(ctx context.Context, w *world) {
	c := w.open(ctx)
	w.caller(ctx, c)
	l := w.listen(ctx, c, w.server("one"))
	w.send(ctx, c, w.call(time.Minute))
	if d := w.take(ctx, l, 1)[0]; !d.Deadline.IsZero() {
		w.Errorf("sent without a time, delivered with %v", d.Deadline)
	}
}

func timeLeftIsSet(ctx context.Context, w *world) {
	c := w.open(ctx)
	w.caller(ctx, c)
	l := w.listen(ctx, c, w.server("one"))
	w.send(ctx, c, w.call(time.Minute))
	if d := w.take(ctx, l, 1)[0]; d.TimeLeft <= 0 || d.TimeLeft > time.Minute {
		w.Errorf("sent with %v left, delivered with %v", time.Minute, d.TimeLeft)
	}
}

func timeLeftUnlimited(ctx context.Context, w *world) {
	c := w.open(ctx)
	w.caller(ctx, c)
	l := w.listen(ctx, c, w.server("one"))
	w.send(ctx, c, w.call(0))
	if d := w.take(ctx, l, 1)[0]; d.TimeLeft != 0 {
		w.Errorf("sent without a limit, delivered with %v left", d.TimeLeft)
	}
}

// timeLeftInDriver leaves a call with a listener that took it and is not asked for it. The wait is
// several times the message's, so that it has been over for long wherever the call was: the broker
// drops it, or the driver says so. What comes later proves that it was dropped.
func timeLeftInDriver(ctx context.Context, w *world) {
	c := w.open(ctx)
	w.caller(ctx, c)
	l := w.listen(ctx, c, w.server("one"))
	w.send(ctx, c, w.cast())
	w.take(ctx, l, 1)
	polling, cancel := context.WithTimeout(ctx, 20*time.Millisecond) // takes more from then on
	defer cancel()
	if _, err := l.Poll(polling, 10); !endedBy(polling, err) && !errors.Is(err, context.DeadlineExceeded) {
		w.Fatalf("poll with nothing there: %v", err)
	}
	late, last := w.call(100*time.Millisecond), w.cast()
	w.send(ctx, c, late)
	over := time.NewTimer(6 * late.TimeLeft)
	defer over.Stop()
	select {
	case <-over.C:
	case <-ctx.Done():
		w.Fatalf("the case's time is shorter than the message's")
	}
	w.send(ctx, c, last)
	for {
		d := w.take(ctx, l, 1)[0]
		if d.UniqueID == last.UniqueID {
			return
		}
		if d.TimeLeft >= 0 {
			w.Errorf("a call with %v left that waited in the driver for longer was delivered with %v", late.TimeLeft, d.TimeLeft)
		}
	}
}
