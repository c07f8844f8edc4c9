// SPDX-License-Identifier: Apache-2.0

package notifyfaults

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/ledger"
	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
)

const (
	// incarnation is between the numbers of an application that was killed and those of the next one.
	incarnation = 10_000_000
	// window is what those listeners remember whose duplicates are judged.
	window = 20_000
	// senders of an application that waits for each notification.
	senders = 8
	// drainTimeout bounds the wait for a step towards the end of a run.
	drainTimeout = time.Minute
)

// field is a run with notifiers and listeners of all kinds.
type field struct {
	*run
	notifiers, listeners []*app // that run
	turn                 int    // whose driver is next
}

// alone says that nobody else is in the pool, and that it handles each publisher's in order.
func (s listenerSettings) alone() bool { return s.Ordered || s.Concurrency == 1 && !s.Batches }

// newField starts everybody of the ledger.
func newField(t *testing.T, r *run, pace time.Duration, sabotage map[string]string) *field {
	t.Helper()
	delay := 20 * time.Millisecond
	return fieldOf(t, r, []listenerSettings{
		{Concurrency: 16, Window: window},
		{Concurrency: 4, Window: window},
		{Pool: "one-by-one", Concurrency: 1, Window: window},
		{Pool: "by-publisher", Concurrency: 32, Ordered: true, Window: window},
		{Pool: "whims", Concurrency: 16, Requeues: 97, Delay: delay, Window: window},
		{Pool: "whims", Concurrency: 16, Requeues: 89, Delay: delay, Window: window},
		{Pool: "batches", Concurrency: 2, Batches: true, Requeues: 101, Delay: delay, Window: window},
	}, []notifierSettings{
		{Way: wayNotify, Senders: senders, Pace: pace},
		{Way: wayForget, Senders: 2, Pace: pace / 4},
		{Way: wayNotify, Senders: senders, Pace: pace},
		{Way: wayOnce, Senders: 1, Pace: pace / 8},
	}, sabotage)
}

// fieldOf starts everybody: the listeners first, since a pool begins with its first one.
func fieldOf(t *testing.T, r *run, listeners []listenerSettings, notifiers []notifierSettings, sabotage map[string]string) *field {
	t.Helper()
	proxy, err := peertest.StartAMQPProxy(r.broker.Addr())
	testbed.Must(t, err)
	t.Cleanup(func() { testbed.Must(t, proxy.Close()) })
	r.proxy = proxy
	f := &field{run: r}
	for i, s := range listeners {
		name := fmt.Sprintf("listener%d", i)
		f.listeners = append(f.listeners, f.start(settings{Settings: ledger.Settings{Role: roleListener, Name: name}, Listens: s, Sabotage: sabotage[name]}, i%2 == 0))
	}
	f.await(f.listeners...)
	for i, s := range notifiers {
		name := fmt.Sprintf("notifier%d", i)
		if s.Spool != "" {
			s.Spool = filepath.Join(r.dir, s.Spool)
		}
		f.notifiers = append(f.notifiers, f.start(settings{Settings: ledger.Settings{Role: roleNotifier, Name: name}, Notifies: s, Sabotage: sabotage[name]}, i < 2))
	}
	f.await(f.notifiers...)
	return f
}

// order lets the notifiers send so many together, and returns when each has sent some of its own;
// rest waits for the others.
func (f *field) order(count int) (rest func()) {
	f.t.Helper()
	each := make(map[*app]int64)
	for _, a := range f.notifiers {
		n := max(1, count/(len(f.notifiers)*a.Notifies.Senders))
		before := f.progress(a).Begun
		each[a] = before + int64(n*a.Notifies.Senders)
		testbed.Must(f.t, a.Do("send", n, nil))
		testbed.Eventually(f.t, startTimeout, a.id+" sends", func() bool {
			return f.progress(a).Begun >= before+(each[a]-before)/4
		})
	}
	return func() {
		f.t.Helper()
		for a, want := range each {
			if a.HasExited() { // it was killed
				continue
			}
			testbed.Eventually(f.t, notifyTimeout, fmt.Sprintf("%s is done with %d", a.id, want), func() bool {
				f.proxy.Reset()
				return f.progress(a).Done >= want
			})
		}
	}
}

func (f *field) progress(a *app) (p progress) {
	f.t.Helper()
	testbed.Must(f.t, a.Do("progress", nil, &p))
	return p
}

// end waits until everything was handled, and ends everybody.
func (f *field) end() {
	f.t.Helper()
	f.mustDrain()
	f.stopAll(endTimeout)
	f.mustLeaveNothing()
}
