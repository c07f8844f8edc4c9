// SPDX-License-Identifier: Apache-2.0

package notifyfaults

import (
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
)

// perFault is how many notifications are sent for each fault of a long run.
const perFault = 5000

// TestLedger sends numbered notifications to five pools while things break.
func TestLedger(t *testing.T) {
	t.Parallel()
	count := wanted(t)
	kinds, pace := shortFaults(), 8*time.Millisecond
	if count >= longCount {
		kinds, pace = nil, 0
		for i := range count/perFault - 1 {
			kinds = append(kinds, longFaults()[i%len(longFaults())])
		}
	}
	f := newField(t, newRun(t, startBroker(t), "/"), pace, nil)
	begun := time.Now()
	slice := count / (len(kinds) + 1)
	f.order(slice)()
	for _, kind := range kinds {
		rest := f.order(slice)
		f.make(kind)
		rest()
	}
	sent := time.Now()
	f.end()
	rep, err := f.judge()
	testbed.Must(t, err)
	t.Logf("sent in %v, handled and ended %v later\n%v", sent.Sub(begun).Round(time.Millisecond), time.Since(sent).Round(time.Millisecond), rep)
	if len(rep.broken) > 0 {
		t.Error("promises were broken")
	}
	if rep.accepted < count/2 {
		t.Errorf("%d of %d were accepted", rep.accepted, count)
	}
}

// TestLedgerFindsWhatIsBroken breaks each promise once, on purpose.
func TestLedgerFindsWhatIsBroken(t *testing.T) {
	t.Parallel()
	broker, vhost := sharedBroker(t)
	f := newField(t, newRun(t, broker, vhost), time.Millisecond, map[string]string{
		"listener0": sabotageStray, "listener2": sabotageSwap, "listener3": sabotageTwice, "listener6": sabotageLose, "notifier0": sabotageFail,
	})
	f.order(400)()
	f.end()
	rep, err := f.judge()
	testbed.Must(t, err)
	t.Log(rep)
	for what, n := range map[string]int{
		"stray": rep.stray, "out of order": rep.disorder, "duplicates within the window": rep.inWindow, "lost": rep.lost["batches"], "wrongly failed": rep.wrong,
	} {
		if n != 1 {
			t.Errorf("%s: %d were found, want the one that was made", what, n)
		}
	}
	if len(rep.broken) != 5+1 { // what is said to have failed for sure was handled
		t.Errorf("%d broken promises were found", len(rep.broken))
	}
}
