// SPDX-License-Identifier: Apache-2.0

package memory_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/sdk/drivertest"
)

// mutant is a driver that is right but for one rule. The suite must find it out by that rule.
type mutant struct {
	name     string
	rule     string
	conn     func(c driver.Conn, until <-chan struct{}) driver.Conn // until: the test is over
	listener func(driver.Listener, driver.Source) driver.Listener
	away     manners       // how it behaves while the broker is away
	timeout  time.Duration // short where the suite finds out by waiting in vain
}

func mutants() []mutant {
	return []mutant{
		{name: "returns more than max", rule: "POLL-1", listener: newGreedy},
		{name: "waits to fill a batch", rule: "POLL-2", listener: newPatient, timeout: time.Second},
		{name: "loses what arrives when ctx ends", rule: "POLL-3", listener: newForgetful, timeout: time.Second},
		{name: "hides the end of ctx", rule: "POLL-3", listener: newDeaf, timeout: time.Second},
		{name: "settles on poll more than was polled for", rule: "POLL-9", listener: newEager, timeout: time.Second},
		{name: "settles on poll what is to be settled on done", rule: "CLOSE-4", listener: newHasty, timeout: time.Second},
		{name: "drops what is requeued", rule: "DONE-3", listener: newRejecter, timeout: time.Second},
		{name: "requeues what is accepted", rule: "DONE-1", listener: newReturner, timeout: time.Second},
		{name: "fails on unknown tokens", rule: "DONE-2", listener: newPedant},
		{name: "ignores mandatory", rule: "SEND-6", conn: wrapSend(ignoreMandatory)},
		{name: "sends what has expired", rule: "SEND-7", conn: wrapSend(forgetTime)},
		{name: "reports one error for the whole batch", rule: "SEND-2", conn: wrapSend(oneError)},
		{name: "confirms what it did not send", rule: "SEND-1", conn: wrapSend(confirmNothing), timeout: time.Second},
		{name: "sends a batch backwards", rule: "SEND-3", conn: wrapSend(backwards)},
		{name: "sends everything twice", rule: "LEDGER", conn: wrapSend(twice)},
		{name: "loses one in a thousand", rule: "LEDGER", conn: wrapSend(leak()), timeout: time.Second / 2},
		{name: "fixes unicode", rule: "SEND-9", conn: wrapSend(asciiOnly)},
		{name: "keeps the message it was lent", rule: "LIFE-6", conn: newKeeper},
		{name: "reports by done twice", rule: "ASYNC-1", conn: newStutterer},
		{name: "leaves a goroutine behind", rule: "CLOSE-2", conn: newLeaker, timeout: time.Second},
		{name: "fails at once while the broker is away", rule: "SEND-4", away: hurried},
		{name: "sends into nothing while the broker is away", rule: "SEND-4", away: careless, timeout: time.Second},
		{name: "ends Poll when the broker goes away", rule: "POLL-7", away: faint},
		{name: "needs to listen again after a restart", rule: "LISTEN-6", away: faint},
		{name: "waits with FailFast", rule: "SEND-10", away: patient, timeout: time.Second},
		{name: "waits with FailFast behind what waits", rule: "SEND-10", away: clumsy, timeout: time.Second},
		{name: "fails FailFast in doubt", rule: "SEND-10", away: doubting, timeout: time.Second},
		{name: "does not wait for the first try", rule: "SEND-10", conn: newImpatient, timeout: time.Second},
		{name: "sends its own time", rule: "SEND-11", conn: wrapSend(deadlineNow)},
		{name: "tells no time left", rule: "POLL-8", listener: newTimeless},
		{name: "forgets that a call waited", rule: "POLL-8", listener: newHoarder, timeout: 4 * time.Second},
		{name: "keeps until Close what it did not return", rule: "STOP-1", listener: newHoarder, timeout: time.Second},
		{name: "sends every fanout to all", rule: "LISTEN-8", conn: wrapSend(unscope), timeout: time.Second},
		{name: "listens to unscoped fanouts always", rule: "LISTEN-8", conn: newUnscoped, timeout: time.Second},
		{name: "puts exchange and topic into one name", rule: "LISTEN-8", conn: newJoiner, timeout: time.Second},
		{name: "drops headers of replies", rule: "headers", conn: wrapSend(bareReplies)},
		{name: "sends headers of any size", rule: "headers", conn: wrapSend(cutHeaders)},
		{name: "fails to settle after a restart", rule: "DONE-2", away: touchy},
		{name: "returns new messages after Stop", rule: "STOP-1", listener: newUnstoppable, timeout: time.Second},
		{name: "waits in Close for ever", rule: "CLOSE-3", conn: newStubborn, timeout: time.Second},
	}
}

func TestSuiteFindsMutants(t *testing.T) {
	for _, m := range slices.Concat(mutants(), queueMutants()) {
		t.Run(m.rule+" "+m.name, func(t *testing.T) {
			if m.rule != "CLOSE-2" { // it counts goroutines, and needs the process for itself
				t.Parallel()
			}
			over := make(chan struct{})
			t.Cleanup(func() { close(over) })
			h := withOutages(harness(memory.New()), m.away)
			h.Timeout = m.timeout
			right := h.Open
			h.Open = func(ctx context.Context, tb drivertest.TB, ns string) driver.Conn {
				return m.mutate(right(ctx, tb, ns), over)
			}
			wantFailed(t, drivertest.Check(h, m.rule), m.rule)
		})
	}
}

// TestSuitePassesTheReference proves that the mutants fail by their mutation, not by the way
// they are run.
func TestSuitePassesTheReference(t *testing.T) {
	for _, r := range drivertest.Check(withOutages(harness(memory.New()), polite)) {
		if r.Status == drivertest.Failed {
			t.Errorf("%s %s: %s", r.Rule, r.Name, strings.Join(r.Details, "; "))
		}
	}
}

func wantFailed(t *testing.T, results []drivertest.Result, rule string) {
	t.Helper()
	if len(results) == 0 {
		t.Fatalf("the suite has no case of %s", rule)
	}
	if !slices.ContainsFunc(results, func(r drivertest.Result) bool { return r.Status == drivertest.Failed }) {
		t.Errorf("the suite did not find it: %+v", results)
	}
}

func (m mutant) mutate(c driver.Conn, until <-chan struct{}) driver.Conn {
	if m.conn != nil {
		return m.conn(c, until)
	}
	if m.listener == nil {
		return c
	}
	return &listenWrapper{Conn: c, wrap: m.listener}
}

// listenWrapper hides the optional abilities of the Conn and wraps its Listeners.
type listenWrapper struct {
	driver.Conn
	wrap func(driver.Listener, driver.Source) driver.Listener
}

func (w *listenWrapper) Listen(ctx context.Context, src driver.Source) (driver.Listener, error) {
	l, err := w.Conn.Listen(ctx, src)
	if err != nil {
		return nil, err
	}
	return w.wrap(l, src), nil
}

type pollFunc func(ctx context.Context, max int) ([]*driver.Delivery, error)

// pollWrapper replaces Poll.
type pollWrapper struct {
	driver.Listener
	poll pollFunc
}

func (w *pollWrapper) Poll(ctx context.Context, max int) ([]*driver.Delivery, error) {
	return w.poll(ctx, max)
}

func newGreedy(l driver.Listener, _ driver.Source) driver.Listener {
	return &pollWrapper{l, func(ctx context.Context, max int) ([]*driver.Delivery, error) {
		return l.Poll(ctx, max+1)
	}}
}

func newPatient(l driver.Listener, _ driver.Source) driver.Listener {
	return &pollWrapper{l, func(ctx context.Context, max int) ([]*driver.Delivery, error) {
		var all []*driver.Delivery
		for len(all) < max {
			ds, err := l.Poll(ctx, max-len(all))
			if err != nil {
				return all, err
			}
			all = append(all, ds...)
		}
		return all, nil
	}}
}

// newForgetful polls in a goroutine whose result is dropped when ctx ends first: the usual
// way to lose messages.
func newForgetful(l driver.Listener, _ driver.Source) driver.Listener {
	type result struct {
		ds  []*driver.Delivery
		err error
	}
	return &pollWrapper{l, func(ctx context.Context, max int) ([]*driver.Delivery, error) {
		polled := make(chan result, 1)
		go func() {
			ds, err := l.Poll(ctx, max)
			polled <- result{ds, err}
		}()
		<-ctx.Done() // for the test: always the wrong moment
		if r := <-polled; r.err != nil {
			return nil, r.err
		}
		return nil, ctx.Err()
	}}
}

func newDeaf(l driver.Listener, _ driver.Source) driver.Listener {
	return &pollWrapper{l, func(ctx context.Context, max int) ([]*driver.Delivery, error) {
		ds, err := l.Poll(ctx, max)
		if ctx.Err() != nil {
			err = nil
		}
		return ds, err
	}}
}

func newHasty(l driver.Listener, src driver.Source) driver.Listener {
	return &pollWrapper{l, func(ctx context.Context, max int) ([]*driver.Delivery, error) {
		ds, err := l.Poll(ctx, max)
		if src.Settle == driver.SettleOnDone {
			for _, d := range ds {
				_ = l.Done(ctx, []driver.Outcome{{Token: d.Token, Result: driver.Accepted}})
			}
		}
		return ds, err
	}}
}

// newEager takes one more than Poll was asked for, and keeps it for the next Poll.
func newEager(l driver.Listener, _ driver.Source) driver.Listener {
	var kept []*driver.Delivery
	return &pollWrapper{l, func(ctx context.Context, max int) ([]*driver.Delivery, error) {
		if len(kept) == 0 {
			ds, err := l.Poll(ctx, max+1)
			if err != nil {
				return nil, err
			}
			kept = ds
		}
		n := min(max, len(kept))
		ds := kept[:n:n]
		kept = kept[n:]
		return ds, nil
	}}
}

// doneWrapper replaces what Done is told.
type doneWrapper struct {
	driver.Listener
	change func(driver.Result) driver.Result
}

func (w *doneWrapper) Done(ctx context.Context, outcomes []driver.Outcome) error {
	changed := slices.Clone(outcomes)
	for i := range changed {
		changed[i].Result = w.change(changed[i].Result)
	}
	return w.Listener.Done(ctx, changed)
}

func newRejecter(l driver.Listener, _ driver.Source) driver.Listener {
	return &doneWrapper{l, func(driver.Result) driver.Result { return driver.Rejected }}
}

func newReturner(l driver.Listener, _ driver.Source) driver.Listener {
	return &doneWrapper{l, func(driver.Result) driver.Result { return driver.Requeued }}
}

type pedant struct {
	driver.Listener
	mu   sync.Mutex
	seen map[uint64]bool // guarded by mu
}

func newPedant(l driver.Listener, _ driver.Source) driver.Listener {
	return &pedant{Listener: l, seen: make(map[uint64]bool)}
}

func (p *pedant) Done(ctx context.Context, outcomes []driver.Outcome) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range outcomes {
		if p.seen[o.Token] || o.Token > 1<<20 {
			return errors.New("no such delivery")
		}
		p.seen[o.Token] = true
	}
	return p.Listener.Done(ctx, outcomes)
}

// unstoppable takes Stop as advice.
type unstoppable struct{ driver.Listener }

func newUnstoppable(l driver.Listener, _ driver.Source) driver.Listener { return &unstoppable{l} }

func (*unstoppable) Stop(context.Context) error { return nil }

type sendFunc func(ctx context.Context, c driver.Conn, batch []*driver.Message) error

// sendWrapper replaces Send.
type sendWrapper struct {
	driver.Conn
	send sendFunc
}

func wrapSend(send sendFunc) func(driver.Conn, <-chan struct{}) driver.Conn {
	return func(c driver.Conn, _ <-chan struct{}) driver.Conn { return &sendWrapper{c, send} }
}

func (w *sendWrapper) Send(ctx context.Context, batch []*driver.Message) error {
	return w.send(ctx, w.Conn, batch)
}

// changed sends copies of the batch.
func changed(ctx context.Context, c driver.Conn, batch []*driver.Message, change func(*driver.Message)) error {
	copies := make([]*driver.Message, len(batch))
	for i, m := range batch {
		other := *m
		change(&other)
		copies[i] = &other
	}
	return c.Send(ctx, copies)
}

func ignoreMandatory(ctx context.Context, c driver.Conn, batch []*driver.Message) error {
	return changed(ctx, c, batch, func(m *driver.Message) { m.Mandatory = false })
}

func forgetTime(ctx context.Context, c driver.Conn, batch []*driver.Message) error {
	return changed(ctx, c, batch, func(m *driver.Message) { m.TimeLeft = 0 })
}

func asciiOnly(ctx context.Context, c driver.Conn, batch []*driver.Message) error {
	return changed(ctx, c, batch, func(m *driver.Message) {
		m.Body = []byte(strings.ToValidUTF8(strings.Map(func(r rune) rune {
			if r > 0xffff {
				return '?'
			}
			return r
		}, string(m.Body)), "?"))
	})
}

func oneError(ctx context.Context, c driver.Conn, batch []*driver.Message) error {
	err := c.Send(ctx, batch)
	if b, ok := errors.AsType[*driver.BatchError](err); ok {
		return b.Unwrap()[0]
	}
	return err
}

func confirmNothing(context.Context, driver.Conn, []*driver.Message) error { return nil }

func backwards(ctx context.Context, c driver.Conn, batch []*driver.Message) error {
	reversed := slices.Clone(batch)
	slices.Reverse(reversed)
	return c.Send(ctx, reversed)
}

func twice(ctx context.Context, c driver.Conn, batch []*driver.Message) error {
	if err := c.Send(ctx, batch); err != nil {
		return err
	}
	return c.Send(ctx, batch)
}

// leak returns a Send that confirms one message in a thousand without sending it.
func leak() sendFunc {
	var mu sync.Mutex
	n := 0
	return func(ctx context.Context, c driver.Conn, batch []*driver.Message) error {
		mu.Lock()
		n += len(batch)
		lose := n%1000 < len(batch)
		mu.Unlock()
		if lose && len(batch) > 1 {
			batch = batch[1:]
		}
		return c.Send(ctx, batch)
	}
}

// keeper keeps what it was lent and sends it at the next Poll.
type keeper struct {
	driver.Conn
	mu   sync.Mutex
	kept []*driver.Message // guarded by mu
}

func newKeeper(c driver.Conn, _ <-chan struct{}) driver.Conn { return &keeper{Conn: c} }

func (k *keeper) Send(_ context.Context, batch []*driver.Message) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept = append(k.kept, batch...)
	return nil
}

func (k *keeper) Listen(ctx context.Context, src driver.Source) (driver.Listener, error) {
	l, err := k.Conn.Listen(ctx, src)
	if err != nil {
		return nil, err
	}
	return &pollWrapper{l, func(ctx context.Context, max int) ([]*driver.Delivery, error) {
		k.mu.Lock()
		kept := k.kept
		k.kept = nil
		k.mu.Unlock()
		if err := k.Conn.Send(ctx, kept); err != nil {
			return nil, err
		}
		return l.Poll(ctx, max)
	}}, nil
}

type stutterer struct{ driver.Conn }

func newStutterer(c driver.Conn, _ <-chan struct{}) driver.Conn { return &stutterer{c} }

func (s *stutterer) SendAsync(ctx context.Context, batch []*driver.Message, done func(int, error)) {
	for i, m := range batch {
		err := s.Send(ctx, []*driver.Message{m})
		done(i, err)
		if err != nil {
			done(i, err)
		}
	}
	done(0, nil)
}

// newLeaker starts a goroutine for each connection that Close does not end.
func newLeaker(c driver.Conn, until <-chan struct{}) driver.Conn {
	go func() { <-until }()
	return c
}

// stubborn waits longer in Close than ctx allows.
type stubborn struct {
	driver.Conn
	until <-chan struct{}
}

func newStubborn(c driver.Conn, until <-chan struct{}) driver.Conn { return &stubborn{c, until} }

func (s *stubborn) Close(ctx context.Context) error {
	if ctx.Err() != nil {
		<-s.until
	}
	return s.Conn.Close(ctx)
}
