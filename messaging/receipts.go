// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"log/slog"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// receipts acknowledges requests as they come, for a driver whose messages nobody but their
// senders keep (driver.CapAckOnReceipt). It is used by the goroutine that polls.
type receipts struct {
	sv *serving

	// Of the batch at hand, for their memory.
	jobs     []*job
	outcomes []driver.Outcome
}

// startBatch decides on all of a batch, acknowledges it, and starts what is to be run.
func (r *receipts) startBatch(batch []*driver.Delivery, now time.Time) {
	if len(batch) == 0 {
		return
	}
	r.jobs = r.jobs[:0]
	for _, d := range batch {
		r.jobs = append(r.jobs, r.sv.admit(d, now))
		r.note(d, receiptOf(d))
	}
	r.tell()
	for i, j := range r.jobs {
		r.jobs[i] = nil
		r.sv.begin(j)
	}
}

// receiptOf is what is said of a request before anything is done for it. What is dropped because
// it came before, or too late, has come to its end all the same.
func receiptOf(d *driver.Delivery) driver.Result {
	if d.Kind != driver.Call && d.Kind != driver.Cast {
		return driver.Rejected
	}
	return driver.Accepted
}

// giveBackBatch gives back what was not acknowledged yet, as long as it was never begun here: a
// request that an earlier process of the driver had delivered may have been.
func (r *receipts) giveBackBatch(batch []*driver.Delivery) {
	sv := r.sv
	if !sv.s.t.Info().Has(driver.CapRequeue) {
		sv.startBatch(batch) // nobody else would get it
		return
	}
	sv.s.counters.received.Add(uint64(len(batch)))
	for _, d := range batch {
		if seen, _ := sv.seen.lookUp(d, time.Now()); seen != seenNever {
			sv.s.counters.duplicates.Add(1)
			r.note(d, driver.Accepted)
			continue
		}
		sv.s.counters.returned.Add(1)
		r.note(d, driver.Requeued)
	}
	r.tell()
}

func (r *receipts) note(d *driver.Delivery, result driver.Result) {
	if d.Token != 0 {
		r.outcomes = append(r.outcomes, driver.Outcome{Token: d.Token, Result: result})
	}
}

// tell settles what was noted, in one call. It does not wait (RECEIPT-1), and its failure is the
// driver's: what it does not hear of it gives again, and it is recognised.
func (r *receipts) tell() {
	if len(r.outcomes) == 0 {
		return
	}
	sv := r.sv
	if err := sv.in.listener.Done(sv.replyCtx, r.outcomes); err != nil {
		sv.s.opts.Logger.LogAttrs(sv.replyCtx, slog.LevelDebug, "acknowledging requests failed",
			slog.Int("requests", len(r.outcomes)), errorAttr(err))
	}
	r.outcomes = r.outcomes[:0]
}
