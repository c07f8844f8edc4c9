// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"slices"
	"sync"

	"github.com/parleymq/parley/plugin/driver"
)

func asyncCases() []Case {
	mandatory := []driver.Capability{driver.CapRPC, driver.CapMandatory}
	return []Case{
		{Rule: "ASYNC-1", Name: "done is called once for each message", needs: rpc(), run: asyncOnce},
		{Rule: "ASYNC-1", Name: "done names the message that failed", needs: mandatory, run: asyncPartly},
		{Rule: "ASYNC-3", Name: "the order of calls is the order of messages", needs: rpc(), run: asyncOrder},
		{Rule: "ASYNC-4", Name: "what a cancelled SendAsync reports is what happened", needs: rpc(), run: asyncCancelled},
	}
}

// openAsync returns nil when the driver has no SendAsync; the case is then not proven.
func (w *world) openAsync(ctx context.Context) (driver.Conn, driver.AsyncSender) {
	w.Helper()
	c := w.open(ctx)
	a, ok := c.(driver.AsyncSender)
	if !ok {
		w.skip("the Conn is no driver.AsyncSender")
		return nil, nil
	}
	return c, a
}

// fates collects what done is told.
type fates struct {
	mu    sync.Mutex
	calls map[int][]error // guarded by mu; by index
}

func (f *fates) done(offset int) func(int, error) {
	return func(i int, err error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.calls == nil {
			f.calls = make(map[int][]error)
		}
		f.calls[offset+i] = append(f.calls[offset+i], err)
	}
}

func (f *fates) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.calls)
}

// of returns what was reported for message i.
func (f *fates) of(i int) []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls[i])
}

// wantOnce waits for n fates and ends the case when one was reported twice. Closing the
// connection first brings out what would come late.
func (w *world) wantOnce(ctx context.Context, c driver.Conn, f *fates, n int) {
	w.Helper()
	if !eventually(ctx, func() bool { return f.count() >= n }) {
		w.Fatalf("done was called for %d of %d messages", f.count(), n)
	}
	w.closeConn(ctx, c)
	for i := range n {
		if got := f.of(i); len(got) != 1 {
			w.Fatalf("done was called %d times for message %d: %v", len(got), i, got)
		}
	}
	if f.count() != n {
		w.Fatalf("done was called for %d messages, %d were sent", f.count(), n)
	}
}

func asyncOnce(ctx context.Context, w *world) {
	c, async := w.openAsync(ctx)
	if c == nil {
		return
	}
	l := w.listen(ctx, w.open(ctx), w.server("one"))
	sent := w.casts(100)
	var f fates
	for i := 0; i < len(sent); i += 10 {
		async.SendAsync(ctx, sent[i:i+10], f.done(i))
	}
	w.wantSame(w.take(ctx, l, len(sent)), sent)
	w.wantOnce(ctx, c, &f, len(sent))
	for i := range sent {
		if err := f.of(i)[0]; err != nil {
			w.Errorf("message %d arrived, and done was told %v", i, err)
		}
	}
}

func asyncPartly(ctx context.Context, w *world) {
	c, async := w.openAsync(ctx)
	if c == nil {
		return
	}
	w.listen(ctx, w.open(ctx), w.server("one"))
	batch := w.casts(3)
	batch[1] = w.nowhere()
	batch[1].Mandatory = true
	var f fates
	async.SendAsync(ctx, batch, f.done(0))
	w.wantOnce(ctx, c, &f, len(batch))
	for i := range batch {
		err := f.of(i)[0]
		if i == 1 {
			w.wantReason(err, driver.ReasonNoRoute, "the message to nowhere")
		} else if err != nil {
			w.Errorf("message %d: %v", i, err)
		}
	}
}

func asyncOrder(ctx context.Context, w *world) {
	c, async := w.openAsync(ctx)
	if c == nil {
		return
	}
	l := w.listen(ctx, w.open(ctx), w.server("one"))
	sent := w.casts(500)
	var f fates
	for i := range sent {
		async.SendAsync(ctx, sent[i:i+1], f.done(i))
	}
	w.wantSame(w.take(ctx, l, len(sent)), sent)
	w.wantOnce(ctx, c, &f, len(sent))
}

func asyncCancelled(ctx context.Context, w *world) {
	c, async := w.openAsync(ctx)
	if c == nil {
		return
	}
	other := w.open(ctx)
	l := w.listen(ctx, other, w.server("one"))
	sent := w.casts(50)
	cancelled, cancel := context.WithCancel(ctx)
	var f fates
	for i := range sent {
		if i == len(sent)/2 {
			cancel()
		}
		async.SendAsync(cancelled, sent[i:i+1], f.done(i))
	}
	cancel()
	w.wantOnce(ctx, c, &f, len(sent))

	last := w.cast()
	w.send(ctx, other, last)
	arrived := make(map[string]bool)
	for !arrived[last.UniqueID] {
		arrived[w.take(ctx, l, 1)[0].UniqueID] = true
	}
	for i, m := range sent {
		w.wantTruth(i, f.of(i)[0], arrived[m.UniqueID])
	}
}

// wantTruth compares what done was told with what arrived.
func (w *world) wantTruth(i int, err error, arrived bool) {
	w.Helper()
	switch {
	case err == nil && !arrived:
		w.Errorf("message %d: done was told that it was sent, and it did not arrive", i)
	case err != nil && arrived && !driver.AsError(err).InDoubt:
		w.Errorf("message %d arrived, and done was told %v without InDoubt", i, err)
	case err != nil && w.direct() && driver.ReasonOf(err) == driver.ReasonNoRoute:
		// It was cancelled before the listener was found.
	case err != nil && !arrived && driver.ReasonOf(err) != driver.ReasonCancelled:
		w.Errorf("message %d was cancelled, and done was told %v", i, err)
	}
}
