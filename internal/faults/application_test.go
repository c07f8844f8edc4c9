// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"strconv"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
)

// TestKillApplication kills an application as a crash would, client and server in turn. Its
// driver ends by itself, calls go on with the next one, and the next one removes what the dead
// one could not.
func TestKillApplication(t *testing.T) { bed.EachWire(t, testKillApplication) }

func testKillApplication(t *testing.T, w *testbed.Wire) {
	const timeout = 3 * time.Second
	kills, place := times(w, 6), w.New(t)
	s := settings{URL: place.URL, Topic: topic, Server: "s1", Timeout: timeout, Work: 5 * time.Millisecond}
	l, tmp := newLedger(), tempDir(t)
	startServer := func() *app { return startApp(t, "server", tmp, l, s) }
	clients := 0
	startClient := func() *app {
		c := s
		c.Callers, c.First = callers, 1+clients*spacing
		clients++
		return startApp(t, "client", tmp, l, c)
	}
	server, client := startServer(), startClient()
	var ends, recoveries []time.Duration
	began := time.Now()
	for i := range kills {
		testbed.Eventually(t, patience, "calls go through", func() bool { return l.answered(began) >= 5*callers })
		victim := client
		if i%2 == 1 {
			victim = server
		}
		pid := victim.driver(t)
		at := time.Now()
		if w.Regiven {
			l.mayRegive(victim)
		}
		victim.Kill()
		if !testbed.Wait(driverEnd, func() bool { return !bed.Running(pid) }) {
			t.Errorf("kill %d: the driver of the %s, process %d, lives %v after it", i+1, victim.name, pid, driverEnd)
		}
		ends = append(ends, time.Since(at))
		began = time.Now()
		if victim == client {
			client = startClient()
		} else {
			server = startServer()
		}
		testbed.Eventually(t, patience, "calls succeed after kill "+strconv.Itoa(i+1), func() bool { return l.answered(began) > 0 })
		recoveries = append(recoveries, l.recovery(began))
	}
	client.stop(t, false)
	server.stop(t, false)
	l.check(t, timeout, kills, recoveries)
	t.Logf("the drivers were gone after %v", ends)
	mustLeaveNothing(t, tmp, kills)
	mustLeavePlace(t, place, kills)
}

// TestStopApplication ends applications by SIGTERM under load: with two servers, one of which
// is replaced by a third, no call fails.
func TestStopApplication(t *testing.T) { bed.EachWire(t, testStopApplication) }

func testStopApplication(t *testing.T, w *testbed.Wire) {
	const timeout = 20 * time.Second
	place := w.New(t)
	s := settings{URL: place.URL, Topic: topic, Timeout: timeout, Work: 20 * time.Millisecond}
	l, tmp := newLedger(), tempDir(t)
	serve := func(name string) *app {
		one := s
		one.Server = name
		return startApp(t, name, tmp, l, one)
	}
	first, second := serve("s1"), serve("s2")
	c := s
	c.Callers, c.First = callers, 1
	client := startApp(t, "client", tmp, l, c)
	began := time.Now()
	more := func() {
		testbed.Eventually(t, patience, "calls go through", func() bool { return l.answered(began) >= 10*callers })
		began = time.Now()
	}
	more()
	first.stop(t, true)
	more()
	third := serve("s3")
	more()
	second.stop(t, true)
	more()
	client.stop(t, true)
	third.stop(t, true)
	sum := l.check(t, timeout, 0, nil)
	if sum.OK != sum.Calls || sum.Unreturned > 0 {
		t.Errorf("%d of %d calls were answered, %d never returned", sum.OK, sum.Calls, sum.Unreturned)
	}
	mustLeaveNothing(t, tmp, 0)
	mustLeavePlace(t, place, 0)
}
