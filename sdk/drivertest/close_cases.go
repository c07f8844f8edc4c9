// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"runtime"

	"github.com/parleymq/parley/plugin/driver"
)

func closeCases() []Case {
	return []Case{
		{Rule: "CLOSE-1", Name: "sends in flight when Close is called succeed or fail with CLOSED", needs: rpc(), run: closeWithSends},
		{Rule: "CLOSE-2", Name: "Close leaves no goroutine", needs: rpc(), run: closeLeavesNothing},
		{Rule: "CLOSE-3", Name: "Close returns though its ctx has ended", needs: rpc(), run: closeInTime},
		{Rule: "CLOSE-4", Name: "what is not done goes back when the listener closes", needs: rpc(), run: closeGivesBack},
		{Rule: "CLOSE-4", Name: "what Poll did not return goes back when the listener closes", needs: rpc(), run: closeGivesBackUnpolled},
		{Rule: "CLOSE-4", Name: "a Poll that waits ends when the listener closes", needs: rpc(), run: closeEndsPoll},
	}
}

// closeWithSends compares what Send said with what arrived. Sends that have begun are called
// in flight: how far each has come nobody can tell.
func closeWithSends(ctx context.Context, w *world) {
	const batches, size = 16, 20
	l := w.listen(ctx, w.open(ctx), w.server("one"))
	c := w.open(ctx)
	sent := w.casts(batches * size)
	begun := make(chan struct{}, batches)
	answers := make([]<-chan answer[struct{}], batches)
	for i := range answers {
		answers[i] = later(func() (struct{}, error) {
			begun <- struct{}{}
			return struct{}{}, c.Send(ctx, sent[i*size:(i+1)*size])
		})
	}
	for range batches {
		<-begun
	}
	w.closeConn(ctx, c)

	confirmed := make(map[string]bool)
	for i, a := range answers {
		_, err := wait(ctx, w, a, "a Send when its connection was closed")
		for j, m := range sent[i*size : (i+1)*size] {
			failed := driver.MessageErr(err, j)
			if failed != nil {
				w.wantReason(failed, driver.ReasonClosed, "a Send when its connection was closed")
			}
			confirmed[m.UniqueID] = failed == nil
		}
	}
	w.wantConfirmed(ctx, l, confirmed)
}

// wantConfirmed takes everything there is and compares. What was reported as failed may have
// arrived, when the driver could not know.
func (w *world) wantConfirmed(ctx context.Context, l driver.Listener, confirmed map[string]bool) {
	w.Helper()
	last := w.cast()
	w.send(ctx, w.open(ctx), last)
	arrived := make(map[string]bool)
	for !arrived[last.UniqueID] {
		arrived[w.take(ctx, l, 1)[0].UniqueID] = true
	}
	for id, ok := range confirmed {
		if ok && !arrived[id] {
			w.Errorf("Send returned nil for %s, and it did not arrive", id)
		}
	}
}

// closeLeavesNothing opens, uses and closes a few times: what belongs to the first use of a
// process stays, what belongs to a connection must not add up.
func closeLeavesNothing(ctx context.Context, w *world) {
	use := func() {
		c := w.open(ctx)
		l := w.listen(ctx, c, w.server("one"))
		r := w.listen(ctx, c, w.replies(w.replyName()))
		m := w.cast()
		w.send(ctx, c, m)
		w.wantNext(ctx, l, m, "the topic is new")
		w.closeListener(ctx, r)
		w.closeListener(ctx, l)
		w.closeConn(ctx, c)
	}
	use()
	var before int
	eventually(ctx, func() bool { // let what is ending end
		n := runtime.NumGoroutine()
		settled := n == before
		before = n
		return settled
	})
	for range 10 {
		use()
	}
	if !eventually(ctx, func() bool { return runtime.NumGoroutine() <= before }) {
		w.Errorf("%d goroutines before ten connections were opened and closed, %d after", before, runtime.NumGoroutine())
		w.Logf("%s", stacks())
	}
}

func stacks() []byte {
	buf := make([]byte, 1<<20)
	return buf[:runtime.Stack(buf, true)]
}

func closeInTime(ctx context.Context, w *world) {
	c := w.h.Open(ctx, w.TB, w.namespace)
	l, err := c.Listen(ctx, w.server("one"))
	if err != nil {
		w.Fatalf("listen: %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	closed := later(func() (struct{}, error) { return struct{}{}, l.Close(ended) })
	_, _ = wait(ctx, w, closed, "Close of a listener with a ctx that ended")
	closed = later(func() (struct{}, error) { return struct{}{}, c.Close(ended) })
	_, _ = wait(ctx, w, closed, "Close of a connection with a ctx that ended")
}

func closeGivesBack(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	sent := w.casts(10)
	w.send(ctx, c, sent...)
	got := w.receive(ctx, l, 5)
	w.settle(ctx, l, driver.Accepted, got[0], got[2])
	w.closeListener(ctx, l)

	again := w.take(ctx, w.listen(ctx, c, w.server("one")), 8)
	w.wantSet(append(again, got[0], got[2]), sent)
}

func closeGivesBackUnpolled(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.atMostOnce())
	sent := w.casts(10)
	w.send(ctx, c, sent...)
	got := w.receive(ctx, l, 4)
	w.closeListener(ctx, l)
	rest := w.take(ctx, w.listen(ctx, c, w.server("one")), 6)
	w.wantSet(append(got, rest...), sent)
}

func closeEndsPoll(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	polled := later(func() ([]*driver.Delivery, error) { return l.Poll(ctx, 1) })
	w.closeListener(ctx, l)
	if _, err := wait(ctx, w, polled, "Poll of a closed listener"); err == nil {
		w.Errorf("Poll of a closed listener succeeded")
	}
	m := w.cast()
	w.wantNext(ctx, w.sendThenListen(ctx, c, w.server("one"), m), m, "the topic is new")
}
