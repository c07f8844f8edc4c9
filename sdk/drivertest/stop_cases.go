// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"

	"github.com/parleymq/parley/plugin/driver"
)

func stopCases() []Case {
	return []Case{
		{Rule: "STOP-1", Name: "a stopped listener takes nothing more and then says CLOSED", needs: rpc(), run: stopTakesNothing},
		{Rule: "STOP-1", Name: "what a stopped listener settled by Done did not return goes to others", needs: rpc(), run: stopGivesBack},
		{Rule: "STOP-2", Name: "Done works after Stop", needs: rpc(), run: stopThenDone},
		{Rule: "STOP-3", Name: "Stop wakes a Poll that waits, and may be called again", needs: rpc(), run: stopWakes},
	}
}

// stopper returns nil when l has no Stop; the case is then not proven.
func (w *world) stopper(l driver.Listener) driver.Stopper {
	s, ok := l.(driver.Stopper)
	if !ok {
		w.skip("the Listener is no driver.Stopper")
		return nil
	}
	return s
}

func (w *world) stop(ctx context.Context, s driver.Stopper) {
	w.Helper()
	if err := s.Stop(ctx); err != nil {
		w.Fatalf("stop: %v", err)
	}
}

// stopTakesNothing counts: what the stopped listener still returned and what the next one
// got is each message once.
func stopTakesNothing(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.atMostOnce())
	s := w.stopper(l)
	if s == nil {
		return
	}
	sent := w.casts(20)
	w.send(ctx, c, sent[:10]...)
	got := w.receive(ctx, l, 3)
	w.stop(ctx, s)
	others := w.sendAside(ctx, c, sent[10:]...)
	for {
		ds, err := l.Poll(ctx, 100)
		if err != nil {
			w.wantReason(err, driver.ReasonClosed, "Poll after Stop")
			break
		}
		got = append(got, ds...)
	}
	if len(got) > 10 {
		w.Errorf("a listener that was stopped when 10 messages were sent returned %d", len(got))
	}
	w.closeListener(ctx, l)
	next := w.listen(ctx, c, w.server("one"))
	others()
	rest := w.take(ctx, next, len(sent)-len(got))
	w.wantSet(append(got, rest...), sent)
}

// stopGivesBack is a server that drains: it holds what it returned, and the rest must not wait
// for it to close.
func stopGivesBack(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	s := w.stopper(l)
	if s == nil {
		return
	}
	sent := w.casts(20)
	w.send(ctx, c, sent[:1]...)
	got, err := l.Poll(ctx, 20) // asks the broker for more ahead
	if err != nil {
		w.Fatalf("poll: %v", err)
	}
	w.send(ctx, c, sent[1:]...)
	got = append(got, w.receive(ctx, l, 3)...)
	w.stop(ctx, s)
	for {
		ds, err := l.Poll(ctx, 100)
		if err != nil {
			w.wantReason(err, driver.ReasonClosed, "Poll after Stop")
			break
		}
		got = append(got, ds...)
	}
	other := w.listen(ctx, w.open(ctx), w.server("one"))
	rest := w.take(ctx, other, len(sent)-len(got))
	w.wantSet(append(got, rest...), sent)
	w.settle(ctx, l, driver.Accepted, got...)
	w.closeListener(ctx, l)
	w.closeListener(ctx, other)
	w.wantNothingLeft(ctx, c, "it was accepted after Stop")
}

func stopThenDone(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	s := w.stopper(l)
	if s == nil {
		return
	}
	w.send(ctx, c, w.casts(3)...)
	got := w.receive(ctx, l, 3)
	w.stop(ctx, s)
	w.settle(ctx, l, driver.Accepted, got...)
	w.closeListener(ctx, l)
	w.wantNothingLeft(ctx, c, "it was accepted after Stop")
}

func stopWakes(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	s := w.stopper(l)
	if s == nil {
		return
	}
	polled := later(func() ([]*driver.Delivery, error) { return l.Poll(ctx, 1) })
	w.stop(ctx, s)
	_, err := wait(ctx, w, polled, "Poll of a stopped listener")
	w.wantReason(err, driver.ReasonClosed, "Poll of a stopped listener")
	w.stop(ctx, s)
}
