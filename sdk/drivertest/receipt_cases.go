// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"

	"github.com/parleymq/parley/plugin/driver"
)

func receiptCases() []Case {
	requeue := []driver.Capability{driver.CapRPC, driver.CapRequeue}
	return []Case{
		{Rule: "RECEIPT-2", Name: "what may have been run goes to no other application", needs: rpc(), only: driver.CapAckOnReceipt, run: receiptGoesNowhere},
		{Rule: "RECEIPT-2", Name: "what the core gives back goes to another application", needs: requeue, only: driver.CapAckOnReceipt, run: receiptGivenBack},
	}
}

// onReceipt is a server whose deliveries are done when they are received.
func (w *world) onReceipt(name string) driver.Source {
	src := w.server(name)
	src.AtMostOnce = true
	return src
}

// receiptGoesNowhere ends a server that has begun something and has not said so.
func receiptGoesNowhere(ctx context.Context, w *world) {
	sender, other := w.open(ctx), w.open(ctx)
	l := w.listen(ctx, w.open(ctx), w.onReceipt("one"))
	sent := w.casts(10)
	w.send(ctx, sender, sent...)
	got := w.receive(ctx, l, 4)
	w.settle(ctx, l, driver.Accepted, got[1])
	w.closeListener(ctx, l)

	next := w.listen(ctx, other, w.onReceipt("one"))
	w.wantSet(append(got, w.take(ctx, next, 6)...), sent)
	last := w.cast()
	w.send(ctx, sender, last)
	w.wantNext(ctx, next, last, "another application may have run it")
}

func receiptGivenBack(ctx context.Context, w *world) {
	sender, other := w.open(ctx), w.open(ctx)
	l := w.listen(ctx, w.open(ctx), w.onReceipt("one"))
	m := w.cast()
	w.send(ctx, sender, m)
	w.settle(ctx, l, driver.Requeued, w.receive(ctx, l, 1)...)
	w.closeListener(ctx, l)
	w.wantNext(ctx, w.listen(ctx, other, w.onReceipt("two")), m, "the topic is new")
}
