// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
)

// TestKillDriver kills the driver of one end again and again under 16 callers.
func TestKillDriver(t *testing.T) { eachEnd(t, testKillDriver) }

// eachEnd runs a test on each wire for the driver of the client and for that of the server.
func eachEnd(t *testing.T, test func(t *testing.T, w *testbed.Wire, end string)) {
	t.Helper()
	for _, end := range []string{"client", "server"} {
		t.Run(end, func(t *testing.T) {
			bed.EachWire(t, func(t *testing.T, w *testbed.Wire) { test(t, w, end) })
		})
	}
}

func testKillDriver(t *testing.T, w *testbed.Wire, end string) {
	const timeout = 3 * time.Second
	kills, place := times(w, 10), w.New(t)
	s := settings{URL: place.URL, Topic: topic, Server: "s1", Timeout: timeout, Work: 5 * time.Millisecond}
	l, tmp := newLedger(), tempDir(t)
	apps := startPair(t, tmp, l, s)
	victim := apps.end(end)
	var recoveries []time.Duration
	began := time.Now()
	for i := range kills {
		testbed.Eventually(t, patience, "calls go through", func() bool { return l.answered(began) >= 5*callers })
		pid := victim.driver(t)
		at := time.Now()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		testbed.Eventually(t, patience, "calls succeed after kill "+strconv.Itoa(i+1), func() bool { return l.answered(at) > 0 })
		took := l.recovery(at)
		if took > recoveryLimit {
			t.Errorf("after kill %d calls succeeded again after %v", i+1, took)
		}
		recoveries = append(recoveries, took)
		began = at
	}
	testbed.Eventually(t, patience, "calls go through", func() bool { return l.answered(began) >= 10*callers })
	apps.killed = kills
	apps.stop(t, timeout, kills, recoveries)
	mustLeavePlace(t, place, kills)
}

// TestFreezeDriver stops the driver of one end from running under 16 callers, as a machine that
// hangs does, and lets it go on when every call that it had is over.
func TestFreezeDriver(t *testing.T) { eachEnd(t, testFreezeDriver) }

func testFreezeDriver(t *testing.T, w *testbed.Wire, end string) {
	const timeout = time.Second
	place := w.New(t)
	s := settings{URL: place.URL, Topic: topic, Server: "s1", Timeout: timeout, Work: 5 * time.Millisecond}
	l, tmp := newLedger(), tempDir(t)
	apps := startPair(t, tmp, l, s)
	began := time.Now()
	testbed.Eventually(t, patience, "calls go through", func() bool { return l.answered(began) >= 5*callers })
	pid := apps.end(end).driver(t)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume := sync.OnceFunc(func() {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(resume)
	frozen := time.Now()
	testbed.Eventually(t, patience, "callers notice it", func() bool { return l.failed(frozen) >= callers })
	resume()
	at := time.Now()
	testbed.Eventually(t, patience, "calls succeed again", func() bool { return l.answered(at) > 0 })
	took := l.recovery(at)
	if took > recoveryLimit {
		t.Errorf("calls succeeded again after %v", took)
	}
	testbed.Eventually(t, patience, "calls go through", func() bool { return l.answered(at) >= 10*callers })
	if now := apps.end(end).driver(t); now != pid {
		t.Errorf("the process changed from %d to %d", pid, now)
	}
	apps.stop(t, timeout, 1, []time.Duration{took})
	mustLeavePlace(t, place, 0)
}
