// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"errors"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// lostCases say nothing of a driver whose reply names keep their messages.
func lostCases() []Case {
	const stable = driver.CapStableReplies
	return []Case{
		{Rule: "LOST-1", Name: "a call under way when its reply address ends is reported lost, once and in doubt", only: driver.CapRPC, lacks: stable, hook: needsBroker, run: callIsLost},
		{Rule: "LOST-2", Name: "an answered call is not lost, and the listener works on", only: driver.CapRPC, lacks: stable, hook: needsBroker, run: answeredIsNotLost},
		{Rule: "LOST-2", Name: "a call that waits for the broker goes with the next address", only: driver.CapRPC, lacks: stable, hook: needsBroker, run: unsentIsNotLost},
		{Rule: "LOST-3", Name: "Stop goes on taking replies until the calls under way are answered", only: driver.CapRPC, lacks: stable, run: stopAwaitsReplies},
		{Rule: "LOST-3", Name: "Stop without a call under way returns", only: driver.CapRPC, lacks: stable, run: stopWithoutCalls},
		{Rule: "LOST-3", Name: "Stop gives up its calls when its ctx ends", only: driver.CapRPC, lacks: stable, run: stopGivesUp},
	}
}

// caller lets the calls of a Conn have a reply address, where a name alone is none.
func (w *world) caller(ctx context.Context, c driver.Conn) {
	w.Helper()
	if !w.h.Info().Has(driver.CapStableReplies) {
		w.listen(ctx, c, w.replies(w.replyName()))
	}
}

// lostWorld is a caller with its listener of replies, and a server of another Conn.
type lostWorld struct {
	*world
	conn    driver.Conn // of the caller
	answers driver.Listener
	peer    driver.Conn
	serving driver.Listener
}

func newLostWorld(ctx context.Context, w *world) lostWorld {
	w.Helper()
	lw := lostWorld{world: w, conn: w.open(ctx), peer: w.open(ctx)}
	lw.answers = w.listen(ctx, lw.conn, w.replies(w.replyName()))
	lw.serving = w.listen(ctx, lw.peer, w.server("one"))
	return lw
}

// sendCall sends a call that its server takes.
func (w lostWorld) sendCall(ctx context.Context) *driver.Delivery {
	w.Helper()
	m := w.call(time.Minute)
	w.send(ctx, w.conn, m)
	return w.taken(ctx, m)
}

// taken is a call as its server sees it.
func (w lostWorld) taken(ctx context.Context, m *driver.Message) *driver.Delivery {
	w.Helper()
	for {
		d := w.take(ctx, w.serving, 1)[0]
		if d.CallID != m.CallID {
			continue // one that the broker gave again after it was away
		}
		if d.ReplyTo == "" {
			w.Fatalf("the call %s came without an address for its reply", d.CallID)
		}
		return d
	}
}

// answer sends the reply to a call from its server's Conn, to the address that came with it.
func (w lostWorld) answer(ctx context.Context, d *driver.Delivery) {
	w.Helper()
	w.send(ctx, w.peer, w.reply(d.ReplyTo, d.CallID, `1`))
}

func (w lostWorld) restart(ctx context.Context) {
	w.Helper()
	w.stopBroker(ctx)
	w.startBroker(ctx)
}

// next is the next delivery of the listener of replies, settled if it is a message.
func (w lostWorld) next(ctx context.Context) *driver.Delivery {
	w.Helper()
	d := w.receive(ctx, w.answers, 1)[0]
	if d.Lost == nil {
		w.settle(ctx, w.answers, driver.Accepted, d)
	}
	return d
}

// wantReply takes the next delivery, which is the answer to a call.
func (w lostWorld) wantReply(ctx context.Context, callID string) {
	w.Helper()
	d := w.next(ctx)
	switch {
	case d.Lost != nil:
		w.Fatalf("the call %s is reported lost, and %s was to be answered: %v", d.CallID, callID, d.Lost)
	case d.Kind != driver.Reply || d.CallID != callID:
		w.Fatalf("a %s to %s came, want the reply to %s", d.Kind, d.CallID, callID)
	}
}

// callAnswered proves that calls work.
func (w lostWorld) callAnswered(ctx context.Context) {
	w.Helper()
	d := w.sendCall(ctx)
	w.answer(ctx, d)
	w.wantReply(ctx, d.CallID)
}

// wantLost checks a delivery against the contract.
func (w lostWorld) wantLost(d *driver.Delivery, callID string) {
	w.Helper()
	switch {
	case d.Lost == nil:
		w.Fatalf("a %s to %s came, want the call %s to be reported lost", d.Kind, d.CallID, callID)
	case d.CallID != callID || d.Kind != driver.Reply || d.Token != 0:
		w.Errorf("lost is %s to %q with the token %d, want a reply to %q with none", d.Kind, d.CallID, d.Token, callID)
	case !d.Lost.InDoubt || d.Lost.Message == "":
		w.Errorf("lost in doubt: %t, because of %q", d.Lost.InDoubt, d.Lost.Message)
	}
}

func callIsLost(ctx context.Context, w *world) {
	lw := newLostWorld(ctx, w)
	d := lw.sendCall(ctx)
	lw.restart(ctx)
	lw.wantLost(lw.next(ctx), d.CallID)
	lw.callAnswered(ctx) // what comes next is that, so that it was reported once
}

func answeredIsNotLost(ctx context.Context, w *world) {
	lw := newLostWorld(ctx, w)
	lw.callAnswered(ctx)
	lw.restart(ctx)
	lw.callAnswered(ctx)
}

func unsentIsNotLost(ctx context.Context, w *world) {
	lw := newLostWorld(ctx, w)
	lw.callAnswered(ctx)
	w.stopBroker(ctx)
	m := w.call(time.Minute)
	sending := later(func() (struct{}, error) { return struct{}{}, lw.conn.Send(ctx, []*driver.Message{m}) })
	linger(w, sending, "the broker away")
	w.startBroker(ctx)
	if _, err := wait(ctx, w, sending, "Send"); err != nil {
		w.Fatalf("a call that waited for the broker: %v", err)
	}
	lw.answer(ctx, lw.taken(ctx, m))
	lw.wantReply(ctx, m.CallID)
}

// lingerTime is how long what should wait is given to be wrong.
const lingerTime = 200 * time.Millisecond

// linger ends the case when something returns that should wait.
func linger(w *world, waiting <-chan answer[struct{}], why string) {
	w.Helper()
	patience := time.NewTimer(lingerTime)
	defer patience.Stop()
	select {
	case a := <-waiting:
		w.Fatalf("it returned %v with %s", a.err, why)
	case <-patience.C:
	}
}

func stopAwaitsReplies(ctx context.Context, w *world) {
	lw := newLostWorld(ctx, w)
	s := w.stopper(lw.answers)
	if s == nil {
		return
	}
	one, two := lw.sendCall(ctx), lw.sendCall(ctx)
	stopped := later(func() (struct{}, error) { return struct{}{}, s.Stop(ctx) })
	linger(w, stopped, "two calls under way")
	lw.answer(ctx, two)
	lw.wantReply(ctx, two.CallID)
	lw.answer(ctx, one)
	lw.wantReply(ctx, one.CallID)
	if _, err := wait(ctx, w, stopped, "Stop after the last reply"); err != nil {
		w.Errorf("stop: %v", err)
	}
	_, err := lw.answers.Poll(ctx, 1)
	w.wantReason(err, driver.ReasonClosed, "Poll after Stop")
}

func stopWithoutCalls(ctx context.Context, w *world) {
	lw := newLostWorld(ctx, w)
	s := w.stopper(lw.answers)
	if s == nil {
		return
	}
	lw.callAnswered(ctx)
	stopped := later(func() (struct{}, error) { return struct{}{}, s.Stop(ctx) })
	if _, err := wait(ctx, w, stopped, "Stop without a call under way"); err != nil {
		w.Errorf("stop: %v", err)
	}
	_, err := lw.answers.Poll(ctx, 1)
	w.wantReason(err, driver.ReasonClosed, "Poll after Stop")
}

func stopGivesUp(ctx context.Context, w *world) {
	lw := newLostWorld(ctx, w)
	s := w.stopper(lw.answers)
	if s == nil {
		return
	}
	d := lw.sendCall(ctx)
	short, cancel := context.WithTimeout(ctx, lingerTime)
	defer cancel()
	stopped := later(func() (struct{}, error) { return struct{}{}, s.Stop(short) })
	if _, err := wait(ctx, w, stopped, "Stop whose ctx ended"); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		w.Errorf("a Stop whose ctx ended: %v", err)
	}
	for {
		ds, err := lw.answers.Poll(ctx, 10)
		for _, lost := range ds { // it may say so, or leave it to who closes it
			lw.wantLost(lost, d.CallID)
		}
		if err != nil {
			w.wantReason(err, driver.ReasonClosed, "Poll after Stop")
			return
		}
	}
}
