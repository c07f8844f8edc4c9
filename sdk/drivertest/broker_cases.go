// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// brokerCases say nothing of a driver without a broker: what can be away there is a peer.
func brokerCases() []Case {
	return []Case{
		{Rule: "SEND-4", Name: "Send waits for a broker that is away, until its ctx ends", needs: rpc(), lacks: driver.CapDirect, hook: needsBroker, run: sendWhileAway},
		{Rule: "SEND-4", Name: "a Send that waits succeeds when the broker is back", needs: rpc(), lacks: driver.CapDirect, hook: needsBroker, run: sendUntilBack},
		{Rule: "LISTEN-6", Name: "a listener works again when the broker is back", needs: rpc(), lacks: driver.CapDirect, hook: needsBroker, run: listenOverRestart},
		{Rule: "POLL-7", Name: "Poll waits while the broker is away", needs: rpc(), lacks: driver.CapDirect, hook: needsBroker, run: pollOverRestart},
		{Rule: "DONE-2", Name: "settling a delivery of a broken connection harms nothing", needs: rpc(), lacks: driver.CapDirect, hook: needsBroker, run: doneAfterRestart},
	}
}

func (w *world) stopBroker(ctx context.Context)  { w.h.StopBroker(ctx, w.TB, w.namespace) }
func (w *world) startBroker(ctx context.Context) { w.h.StartBroker(ctx, w.TB, w.namespace) }

func sendWhileAway(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	w.stopBroker(ctx)
	defer w.startBroker(ctx)
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	err := c.Send(short, []*driver.Message{w.cast()})
	w.wantReason(err, driver.ReasonNotConnected, "a Send whose ctx ended while the broker was away")
	if short.Err() == nil {
		w.Errorf("Send did not wait for the broker until its ctx ended")
	}
	w.closeListener(ctx, l)
}

func sendUntilBack(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	w.stopBroker(ctx)
	m := w.cast()
	sending := later(func() (struct{}, error) { return struct{}{}, c.Send(ctx, []*driver.Message{m}) })
	w.startBroker(ctx)
	if _, err := wait(ctx, w, sending, "Send"); err != nil {
		w.Fatalf("a Send that waited for the broker: %v", err)
	}
	w.wantNext(ctx, l, m, "the topic is new")
}

func listenOverRestart(ctx context.Context, w *world) {
	c := w.open(ctx)
	l, r := w.listen(ctx, c, w.server("one")), w.listen(ctx, c, w.replies(w.replyName()))
	w.stopBroker(ctx)
	w.startBroker(ctx)
	m, answered := w.castTo("one"), w.reply(w.replyName(), "call-1", `1`)
	m.Mandatory, answered.Mandatory = w.h.Info().Has(driver.CapMandatory), w.h.Info().Has(driver.CapMandatory)
	w.sendUntilRouted(ctx, c, m)
	w.sendUntilRouted(ctx, c, answered)
	w.wantNext(ctx, l, m, "the topic is new")
	w.wantNext(ctx, r, answered, "the reply name is new")
}

// sendUntilRouted sends until the listeners have declared again what they need.
func (w *world) sendUntilRouted(ctx context.Context, c driver.Conn, m *driver.Message) {
	w.Helper()
	var err error
	if !eventually(ctx, func() bool {
		err = c.Send(ctx, []*driver.Message{m})
		return err == nil || driver.ReasonOf(err) != driver.ReasonNoRoute
	}) || err != nil {
		w.Fatalf("send after the broker came back: %v", err)
	}
}

func pollOverRestart(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	polled := later(func() ([]*driver.Delivery, error) { return l.Poll(ctx, 1) })
	w.stopBroker(ctx)
	w.startBroker(ctx)
	m := w.castTo("one")
	m.Mandatory = w.h.Info().Has(driver.CapMandatory)
	w.sendUntilRouted(ctx, c, m)
	ds, err := wait(ctx, w, polled, "a Poll over a restart of the broker")
	if err != nil {
		w.Fatalf("a Poll over a restart of the broker: %v", err)
	}
	w.wantSame(ds, []*driver.Message{m})
	w.settle(ctx, l, driver.Accepted, ds...)
}

func doneAfterRestart(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	w.send(ctx, c, w.cast())
	got := w.receive(ctx, l, 1)
	w.stopBroker(ctx)
	w.startBroker(ctx)
	w.settle(ctx, l, driver.Accepted, got...)
	last := w.castTo("one")
	last.Mandatory = w.h.Info().Has(driver.CapMandatory)
	w.sendUntilRouted(ctx, c, last)
	// The broker may have given the first message again, and that is right.
	for w.take(ctx, l, 1)[0].UniqueID != last.UniqueID {
	}
}
