// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
)

// TestHotSwap replaces the drivers of both ends, in turn, under 64 callers. Not one call fails.
func TestHotSwap(t *testing.T) { bed.EachWire(t, testHotSwap) }

func testHotSwap(t *testing.T, w *testbed.Wire) {
	const (
		callers = 64
		timeout = 10 * time.Second
	)
	swaps := 100
	if testing.Short() || testbed.RaceEnabled() {
		swaps = 20 // the detector makes each take three times as long
	}
	swaps = times(w, swaps)
	place := w.New(t)
	s := settings{URL: place.URL, Topic: topic, Server: "s1", Timeout: timeout, Work: time.Millisecond}
	l, tmp := newLedger(), tempDir(t)
	p := pair{ledger: l, tmp: tmp, server: startApp(t, "server", tmp, l, s)}
	s.Callers, s.First = callers, 1
	p.client = startApp(t, "client", tmp, l, s)

	began := time.Now()
	var took []time.Duration
	for i := range swaps {
		testbed.Eventually(t, patience, "calls go through", func() bool { return l.answered(began) >= callers })
		victim := p.client
		if i%2 == 1 {
			victim = p.server
		}
		before := victim.driver(t)
		at := time.Now()
		if err := syscall.Kill(victim.PID(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		testbed.Eventually(t, patience, "the driver is another one", func() bool {
			now := bed.DriverOf(victim.PID())
			return now != 0 && now != before && !bed.Running(before)
		})
		took = append(took, time.Since(at))
		began = at
	}
	testbed.Eventually(t, patience, "calls go through", func() bool { return l.answered(began) >= callers })
	p.stop(t, timeout, swaps, took)
	if sum := l.judge(t, timeout); sum.OK != sum.Calls {
		t.Errorf("%d of %d calls failed", sum.Calls-sum.OK, sum.Calls)
	}
	mustLeavePlace(t, place, 0)
}
