// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"log/slog"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// admit decides what becomes of a message: it returns the job that does it, or nil for a message
// that is dropped and settled.
func (sv *serving) admit(d *driver.Delivery, now time.Time) *job {
	if d.Kind != driver.Call && d.Kind != driver.Cast {
		sv.drop(d, slog.LevelWarn, "message dropped: not a request", slog.String("kind", d.Kind.String()))
		sv.settling.settle(driver.Rejected, d.Token)
		return nil
	}
	deadline, over := sv.deadline(d, now)
	if over {
		sv.expired(d)
		return nil
	}
	seen, answer := sv.seen.lookUp(d, now)
	if seen == seenNever {
		j := sv.newJob(d, now, deadline)
		sv.seen.begin(&j.inProgress)
		return j
	}
	sv.s.counters.duplicates.Add(1)
	resend := seen == seenDone && answer.size() > 0
	sv.drop(d, slog.LevelInfo, "request dropped: received before", slog.Bool("redelivered", d.Redelivered), slog.Bool("answered_again", resend))
	switch {
	case resend:
		j := sv.newJob(d, now, deadline)
		j.again = true
		j.reply.fill(answer)
		return j
	case seen == seenDone:
		sv.settling.settle(driver.Accepted, d.Token)
	}
	return nil
}

// deadline returns when nobody wants a message any more, zero when that is not known, and
// whether it has passed.
func (sv *serving) deadline(d *driver.Delivery, now time.Time) (deadline time.Time, over bool) {
	if d.TimeLeft == 0 {
		return time.Time{}, false
	}
	left := d.TimeLeft
	if left > 0 {
		left = sv.clocks.left(d.ReplyTo, d.Deadline, now, left)
	}
	return now.Add(left), left <= 0
}

// expired drops a request whose time is over. Nobody waits for an answer.
func (sv *serving) expired(d *driver.Delivery) {
	sv.s.counters.expired.Add(1)
	sv.drop(d, slog.LevelInfo, "request dropped: its time is over")
	sv.settling.settle(driver.Accepted, d.Token)
}

// drop logs, with the context of the request, that it is not run.
func (sv *serving) drop(d *driver.Delivery, level slog.Level, text string, attrs ...slog.Attr) {
	logger := sv.s.opts.Logger
	if !logger.Enabled(sv.work, level) {
		return
	}
	ctx := sv.work
	if d.Kind == driver.Call || d.Kind == driver.Cast {
		j := sv.newJob(d, time.Time{}, time.Time{})
		j.read() // what cannot be read is not logged
		ctx = &j.context
		attrs = append(attrs, shown("method", j.request().Method))
	}
	logger.LogAttrs(ctx, level, text, append(attrs, shown("message_id", d.UniqueID))...)
}
