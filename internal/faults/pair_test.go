// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"testing"
	"time"
)

// pair is a server and a client, each an application of its own, with one ledger.
type pair struct {
	server, client *app
	ledger         *ledger
	tmp            string
	killed         int // drivers
}

// startPair starts the server of s, and a client with the usual number of callers.
func startPair(t *testing.T, tmp string, l *ledger, s settings) pair {
	t.Helper()
	p := pair{ledger: l, tmp: tmp, server: startApp(t, "server", tmp, l, s)}
	s.Callers, s.First = callers, 1
	p.client = startApp(t, "client", tmp, l, s)
	return p
}

// end is the application of that name.
func (p pair) end(name string) *app {
	if name == p.server.name {
		return p.server
	}
	return p.client
}

// stop stops both, checks the ledger, and that every call returned and nothing is left.
func (p pair) stop(t *testing.T, timeout time.Duration, faults int, recoveries []time.Duration) {
	t.Helper()
	p.client.stop(t, false)
	p.server.stop(t, false)
	if sum := p.ledger.check(t, timeout, faults, recoveries); sum.Unreturned > 0 {
		t.Errorf("%d calls never returned", sum.Unreturned)
	}
	mustLeaveNothing(t, p.tmp, p.killed)
}
