// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"slices"

	"github.com/parleymq/parley/plugin/driver"
)

func doneCases() []Case {
	requeue := []driver.Capability{driver.CapRPC, driver.CapRequeue}
	return []Case{
		{Rule: "DONE-1", Name: "deliveries are settled in any order while Poll waits", needs: rpc(), run: doneAnyOrder},
		{Rule: "DONE-1", Name: "what was accepted or rejected does not come again", needs: rpc(), run: doneForGood},
		{Rule: "DONE-2", Name: "settling twice harms nothing", needs: rpc(), run: doneTwice},
		{Rule: "DONE-2", Name: "settling what was never delivered harms nothing", needs: rpc(), run: doneUnknown},
		{Rule: "DONE-3", Name: "a requeued message comes again", needs: requeue, run: doneRequeue},
		{Rule: "DONE-3", Name: "a requeued message can go to another listener", needs: requeue, run: doneRequeueOther},
		{Rule: "DONE-3", Name: "without the capability a requeued message is rejected", needs: rpc(), lacks: driver.CapRequeue, run: doneRequeueRejects},
	}
}

func doneAnyOrder(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	w.send(ctx, c, w.casts(10)...)
	got := w.receive(ctx, l, 10)
	polled := later(func() ([]*driver.Delivery, error) { return l.Poll(ctx, 1) })
	slices.Reverse(got)
	for _, d := range got {
		w.settle(ctx, l, driver.Accepted, d)
	}
	m := w.cast()
	w.send(ctx, c, m)
	ds, err := wait(ctx, w, polled, "Poll")
	if err != nil {
		w.Fatalf("poll, while others called Done: %v", err)
	}
	w.wantSame(ds, []*driver.Message{m})
	w.settle(ctx, l, driver.Accepted, ds...)
	w.closeListener(ctx, l)
	w.wantNothingLeft(ctx, c, "it was accepted")
}

// wantNothingLeft proves that the case's topic is empty.
func (w *world) wantNothingLeft(ctx context.Context, c driver.Conn, unwanted string) {
	w.Helper()
	m := w.cast()
	l := w.sendThenListen(ctx, c, w.server("one"), m)
	w.wantNext(ctx, l, m, unwanted)
	if w.direct() {
		w.wantQuiet(ctx, l, unwanted)
	}
}

// wantQuiet gives senders that wait for a listener the time to see this one, and wants nothing of
// them.
func (w *world) wantQuiet(ctx context.Context, l driver.Listener, unwanted string) {
	w.Helper()
	short, cancel := shortly(ctx)
	defer cancel()
	d, err := l.Poll(short, 1)
	if len(d) > 0 {
		w.Fatalf("received %s at last: %s", d[0].UniqueID, unwanted)
	}
	if short.Err() == nil {
		w.Fatalf("Poll ended before its ctx: %v", err)
	}
}

func doneForGood(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	w.send(ctx, c, w.casts(4)...)
	got := w.receive(ctx, l, 4)
	w.settle(ctx, l, driver.Accepted, got[:2]...)
	w.settle(ctx, l, driver.Rejected, got[2:]...)
	w.closeListener(ctx, l)
	w.wantNothingLeft(ctx, c, "it was settled")
}

func doneTwice(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	w.send(ctx, c, w.cast())
	got := w.take(ctx, l, 1)
	for _, r := range []driver.Result{driver.Accepted, driver.Rejected, driver.Requeued} {
		w.settle(ctx, l, r, got...)
	}
	w.settle(ctx, l, driver.Accepted, slices.Concat(got, got)...)
	m := w.cast()
	w.send(ctx, c, m)
	w.wantNext(ctx, l, m, "it was accepted before it was requeued")
}

func doneUnknown(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	if err := l.Done(ctx, []driver.Outcome{{Token: 1 << 40, Result: driver.Accepted}}); err != nil {
		w.Errorf("done with a token that was never given: %v", err)
	}
	m := w.cast()
	w.send(ctx, c, m)
	w.wantNext(ctx, l, m, "the topic is new")
}

func doneRequeue(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	m := w.cast()
	w.send(ctx, c, m)
	for range 3 {
		got := w.receive(ctx, l, 1)
		w.wantSame(got, []*driver.Message{m})
		w.settle(ctx, l, driver.Requeued, got...)
	}
	again := w.take(ctx, l, 1)
	w.wantSame(again, []*driver.Message{m})
	if !again[0].Redelivered {
		w.Logf("a requeued message came again without Redelivered: a hint, but a useful one")
	}
	w.closeListener(ctx, l)
	w.wantNothingLeft(ctx, c, "it was accepted")
}

func doneRequeueOther(ctx context.Context, w *world) {
	a, b := w.open(ctx), w.open(ctx)
	one := w.listen(ctx, a, w.server("one"))
	m := w.cast()
	w.send(ctx, a, m)
	got := w.receive(ctx, one, 1)
	two := w.listen(ctx, b, w.server("two"))
	w.settle(ctx, one, driver.Requeued, got...)
	w.closeListener(ctx, one)
	w.wantNext(ctx, two, m, "the topic is new")
}

func doneRequeueRejects(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	w.send(ctx, c, w.cast())
	w.settle(ctx, l, driver.Requeued, w.receive(ctx, l, 1)...)
	w.closeListener(ctx, l)
	w.wantNothingLeft(ctx, c, "it was rejected")
}
