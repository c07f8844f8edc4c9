// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"sync"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

func failFastCases() []Case {
	return []Case{
		{Rule: "SEND-10", Name: "FailFast waits for the first try to connect", needs: rpc(), run: failFastFirst},
		{Rule: "SEND-10", Name: "FailFast fails at once while the broker is away, and not in doubt", needs: rpc(), lacks: driver.CapDirect, hook: needsBroker, run: failFastAway},
		{Rule: "SEND-10", Name: "FailFast does not wait behind a message that does", needs: rpc(), lacks: driver.CapDirect, hook: needsBroker, run: failFastOvertakes},
		{Rule: "SEND-10", Name: "FailFast is sent again when the broker is back", needs: rpc(), lacks: driver.CapDirect, hook: needsBroker, run: failFastBack},
	}
}

func (w *world) failFast() *driver.Message {
	m := w.cast()
	m.FailFast = true
	return m
}

// failFastFirst sends before the driver can have connected.
func failFastFirst(ctx context.Context, w *world) {
	l := w.listen(ctx, w.open(ctx), w.server("one"))
	m := w.failFast()
	w.send(ctx, w.open(ctx), m)
	w.wantNext(ctx, l, m, "the topic is new")
}

// atOnce is a ctx whose end means that a message waited.
func (w *world) atOnce(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, min(w.h.timeout()/4, 5*time.Second))
}

// wantFailFast sends until the driver has noticed that its broker is away: messages before that
// may be in doubt. From then on each fails at once.
func (w *world) wantFailFast(ctx context.Context, c driver.Conn) {
	w.Helper()
	for known := 0; known < 3; {
		short, cancel := w.atOnce(ctx)
		err := c.Send(short, []*driver.Message{w.failFast()})
		waited := short.Err() != nil
		cancel()
		if err == nil {
			w.Fatalf("a FailFast message was sent while the broker was away")
		}
		if ctx.Err() != nil {
			w.Fatalf("FailFast messages did not fail as not sent while the broker was away: %v", err)
		}
		if known == 0 && driver.AsError(err).InDoubt {
			continue
		}
		known++
		if waited {
			w.Fatalf("a FailFast message waited for the broker: %v", err)
		}
		w.wantReason(err, driver.ReasonNotConnected, "a FailFast message while the broker was away")
		if driver.AsError(err).InDoubt {
			w.Errorf("a FailFast message was not sent, and is in doubt: %v", err)
		}
	}
}

// outage stops the broker. What it returns starts it again, once.
func (w *world) outage(ctx context.Context) func() {
	w.stopBroker(ctx)
	return sync.OnceFunc(func() { w.startBroker(ctx) })
}

func failFastAway(ctx context.Context, w *world) {
	c := w.open(ctx)
	w.send(ctx, c, w.nowhere()) // it is connected
	defer w.outage(ctx)()
	w.wantFailFast(ctx, c)
}

func failFastOvertakes(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	restart := w.outage(ctx)
	defer restart()
	w.wantFailFast(ctx, c)
	patient := w.cast()
	sending := later(func() (struct{}, error) { return struct{}{}, c.Send(ctx, []*driver.Message{patient}) })
	for begun := time.Now(); time.Since(begun) < 100*time.Millisecond; { // in which the other has begun to wait
		w.wantFailFast(ctx, c)
	}
	restart()
	if _, err := wait(ctx, w, sending, "a Send that waits for the broker"); err != nil {
		w.Fatalf("a message that is not FailFast: %v", err)
	}
	w.wantNext(ctx, l, patient, "the topic is new")
}

func failFastBack(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	restart := w.outage(ctx)
	defer restart()
	w.wantFailFast(ctx, c)
	restart()
	m := w.failFast()
	m.Target.Server, m.Mandatory = "one", w.h.Info().Has(driver.CapMandatory)
	var err error
	if !eventually(ctx, func() bool { err = c.Send(ctx, []*driver.Message{m}); return err == nil }) {
		w.Fatalf("a FailFast message after the broker came back: %v", err)
	}
	w.wantNext(ctx, l, m, "the topic is new")
}
