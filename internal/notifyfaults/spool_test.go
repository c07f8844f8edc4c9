// SPDX-License-Identifier: Apache-2.0

package notifyfaults

import (
	"context"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
)

const (
	// spoolShare is the part of the notifications of a run that the runs with a spool have.
	spoolShare = 4
	// shortAway and longAway are how long the broker is away.
	shortAway, longAway = 3 * time.Second, time.Minute
)

// TestSpool sends numbered notifications while the broker is away and the applications that send
// them are killed, before it is back and while what was stored is sent: everything that was accepted
// arrives, in order.
func TestSpool(t *testing.T) {
	t.Parallel()
	count, away, pace := wanted(t)/spoolShare, shortAway, 4*time.Millisecond
	if count*spoolShare >= longCount {
		away, pace = longAway, 0
	}
	r := newRun(t, startBroker(t), "/")
	f := fieldOf(t, r, []listenerSettings{
		{Concurrency: 16, Window: window},
		{Pool: "one-by-one", Concurrency: 1, Window: window},
		{Pool: "by-publisher", Concurrency: 32, Ordered: true, Window: window},
	}, []notifierSettings{
		{Way: wayNotify, Senders: senders, Pace: pace, Spool: "spool0"},
		{Way: wayForget, Senders: 1, Pace: pace / 4, Spool: "spool1"},
		{Way: wayNotify, Senders: senders, Pace: pace, Spool: "spool2"},
	}, nil)
	slice := count / 6
	f.order(slice)()
	rest := f.order(slice)
	f.away(rest, away, slice)
	f.faults[len(f.faults)-1].until = time.Now()
	f.killEach("while it is being replayed", func() {})
	f.order(slice)()
	for _, a := range f.notifiers {
		testbed.Eventually(t, notifyTimeout, a.id+" sends what it has stored", func() bool { return f.waiting(a) == 0 })
	}
	f.end()
	rep, err := f.judge()
	testbed.Must(t, err)
	t.Log(rep)
	for _, a := range f.notifiers {
		t.Log(a.id, a.said)
	}
	if len(rep.broken) > 0 {
		t.Error("promises were broken")
	}
	if rep.accepted < count/2 {
		t.Errorf("%d of %d were accepted", rep.accepted, count)
	}
}

// away takes the broker down while rest is being sent, kills the notifiers, lets the next ones send
// more, and starts it again when it was down for so long.
func (f *field) away(rest func(), long time.Duration, slice int) {
	f.t.Helper()
	one := &fault{kind: "the broker is away", at: time.Now()}
	f.faults = append(f.faults, one)
	testbed.Must(f.t, f.broker.Kill())
	rest()
	f.order(slice)()
	stored := 0
	for _, a := range f.notifiers {
		stored += f.waiting(a)
	}
	if stored == 0 {
		f.t.Error("nothing is stored while the broker is away")
	}
	f.killEach("while the broker is away", func() { _ = f.order(slice) })
	f.order(slice)()
	testbed.Pause(context.Background(), long-time.Since(one.at))
	for _, a := range f.notifiers {
		f.t.Logf("%s has %d stored, %v after the broker went", a.id, f.waiting(a), time.Since(one.at).Round(time.Millisecond))
	}
	testbed.Must(f.t, f.broker.Restart(f.t.Context()))
	f.t.Logf("the broker was away for %v, %d were stored when the applications were killed", time.Since(one.at).Round(time.Millisecond), stored)
}

// killEach kills each notifier while the load goes on, and starts it again.
func (f *field) killEach(when string, load func()) {
	f.t.Helper()
	load()
	for i, victim := range f.notifiers {
		f.faults = append(f.faults, &fault{kind: "kill a notifier " + when, note: victim.id, at: time.Now()})
		testbed.Must(f.t, victim.KillWithDriver())
		s := victim.settings
		s.Notifies.First += incarnation
		f.notifiers[i] = f.start(s, victim.proxied)
		f.await(f.notifiers[i])
	}
}

// waiting is how many notifications the spool of an application has.
func (f *field) waiting(a *app) int {
	f.t.Helper()
	n := 0
	testbed.Must(f.t, a.Do("waiting", nil, &n))
	return n
}
