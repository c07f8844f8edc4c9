// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"fmt"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
)

// TestStopServers stops one of three servers by SIGTERM, starts it again and goes on with the
// next one, again and again under 64 callers. Every call gets its answer, nothing runs twice, and
// no call waits for a server that is on its way out.
//
// Upstream's servers take requests while they stop, and do not run them: the callers of every
// stop wait for their whole timeout.
func TestStopServers(t *testing.T) { bed.EachWire(t, testStopServers) }

func testStopServers(t *testing.T, w *testbed.Wire) {
	const (
		servers = 3
		timeout = 20 * time.Second
		// longest is far below the timeout, and far above a call on a machine that starts
		// and ends processes meanwhile.
		longest = 3 * time.Second
	)
	stops, place := times(w, 20), w.New(t)
	s := settings{URL: place.URL, Topic: topic, Timeout: timeout, Work: 20 * time.Millisecond}
	l, tmp := newLedger(), tempDir(t)
	running := startServers(t, servers, tmp, l, s)
	c := s
	c.Callers, c.First = crowd, 1
	client := startApp(t, "client", tmp, l, c)
	began := time.Now()
	more := func() {
		testbed.Eventually(t, patience, "calls go through", func() bool { return l.answered(began) >= 2*crowd })
		began = time.Now()
	}
	for i := range stops {
		more()
		one := running[i%servers]
		one.stop(t, true)
		running[i%servers] = startServer(t, one.name, tmp, l, s)
	}
	more()
	client.stop(t, true)
	for _, one := range running {
		one.stop(t, true)
	}
	sum := l.check(t, timeout, stops, nil)
	if lost := sum.lost(); lost > 0 {
		t.Errorf("%d of %d calls got no answer", lost, sum.Calls+sum.Unreturned)
	}
	if sum.LongestMS > millis(longest) {
		t.Errorf("a call took %v ms: it waited for a server that stopped", sum.LongestMS)
	}
	mustLeaveNothing(t, tmp, 0)
	mustLeavePlace(t, place, 0)
}

// startServers starts servers s1, s2 and so on.
func startServers(t *testing.T, n int, tmp string, l *ledger, s settings) []*app {
	t.Helper()
	servers := make([]*app, n)
	for i := range servers {
		servers[i] = startServer(t, fmt.Sprintf("s%d", i+1), tmp, l, s)
	}
	return servers
}

func startServer(t *testing.T, name, tmp string, l *ledger, s settings) *app {
	t.Helper()
	s.Server, s.Callers = name, 0
	return startApp(t, name, tmp, l, s)
}
