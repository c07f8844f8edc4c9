// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"fmt"
	"sync"

	"github.com/parleymq/parley/plugin/driver"
)

func ledgerCases() []Case {
	return []Case{
		{Rule: "LEDGER", Name: "of ten thousand messages each arrives once, settled on done", needs: rpc(), slow: true, run: ledgerOnDone},
		{Rule: "LEDGER", Name: "of ten thousand messages each arrives once, settled on poll", needs: rpc(), slow: true, run: ledgerOnPoll},
	}
}

const (
	ledgerSize      = 10_000
	ledgerSenders   = 4
	ledgerListeners = 3
	ledgerBatch     = 50
)

func ledgerOnDone(ctx context.Context, w *world) { w.runLedger(ctx, driver.SettleOnDone) }
func ledgerOnPoll(ctx context.Context, w *world) { w.runLedger(ctx, driver.SettleOnPoll) }

// ledger counts the deliveries of each message.
type ledger struct {
	mu    sync.Mutex
	seen  map[string]int // guarded by mu; by UniqueID
	full  chan struct{}  // closed when size different messages were seen
	size  int
	extra []string // guarded by mu; seen more than once
}

func newLedger(size int) *ledger {
	return &ledger{seen: make(map[string]int, size), full: make(chan struct{}), size: size}
}

func (l *ledger) add(ds []*driver.Delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range ds {
		l.seen[d.UniqueID]++
		if l.seen[d.UniqueID] > 1 {
			l.extra = append(l.extra, d.UniqueID)
		} else if len(l.seen) == l.size {
			close(l.full)
		}
	}
}

func (w *world) runLedger(ctx context.Context, settle driver.Settle) {
	w.Helper()
	all := w.casts(ledgerSize)
	book := newLedger(len(all))
	receiving, stop := context.WithCancel(ctx)
	defer stop()
	var work []<-chan answer[struct{}]
	listeners := w.ledgerListeners(ctx, settle)
	for _, l := range listeners {
		work = append(work, later(func() (struct{}, error) {
			return struct{}{}, book.receive(receiving, l, settle)
		}))
	}
	for i := range ledgerSenders {
		c, part := w.open(ctx), all[i*len(all)/ledgerSenders:(i+1)*len(all)/ledgerSenders]
		work = append(work, later(func() (struct{}, error) {
			return struct{}{}, sendInBatches(ctx, c, part)
		}))
	}
	select {
	case <-book.full:
	case <-ctx.Done():
		book.mu.Lock()
		defer book.mu.Unlock()
		w.Fatalf("%d of %d messages arrived", len(book.seen), len(all))
	}
	stop()
	for _, a := range work {
		if _, err := wait(ctx, w, a, "a sender or listener"); err != nil {
			w.Errorf("%v", err)
		}
	}
	w.wantBalanced(ctx, book, listeners)
}

func (w *world) ledgerListeners(ctx context.Context, settle driver.Settle) []driver.Listener {
	w.Helper()
	listeners := make([]driver.Listener, 0, ledgerListeners)
	for i := range ledgerListeners {
		src := w.server(fmt.Sprintf("server%d", i))
		src.Settle = settle
		listeners = append(listeners, w.listen(ctx, w.open(ctx), src))
	}
	return listeners
}

// receive polls until ctx ends, and settles.
func (l *ledger) receive(ctx context.Context, from driver.Listener, settle driver.Settle) error {
	for {
		ds, err := from.Poll(ctx, 64)
		if endedBy(ctx, err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("poll: %w", err)
		}
		l.add(ds)
		if settle == driver.SettleOnPoll {
			continue
		}
		outcomes := make([]driver.Outcome, len(ds))
		for i, d := range ds {
			outcomes[i] = driver.Outcome{Token: d.Token, Result: driver.Accepted}
		}
		if err := from.Done(context.WithoutCancel(ctx), outcomes); err != nil {
			return fmt.Errorf("done: %w", err)
		}
	}
}

func sendInBatches(ctx context.Context, c driver.Conn, all []*driver.Message) error {
	for len(all) > 0 {
		n := min(ledgerBatch, len(all))
		if err := c.Send(ctx, all[:n]); err != nil {
			return fmt.Errorf("send %d messages: %w", n, err)
		}
		all = all[n:]
	}
	return nil
}

// wantBalanced closes the listeners, so that what they kept comes out, and proves that
// nothing is left and nothing came twice.
func (w *world) wantBalanced(ctx context.Context, book *ledger, listeners []driver.Listener) {
	w.Helper()
	for _, l := range listeners {
		w.closeListener(ctx, l)
	}
	w.wantNothingLeft(ctx, w.open(ctx), "all were received")
	book.mu.Lock()
	defer book.mu.Unlock()
	if len(book.extra) > 0 {
		w.Errorf("%d messages arrived more than once, the first is %s", len(book.extra), book.extra[0])
	}
}
