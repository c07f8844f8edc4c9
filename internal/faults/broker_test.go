// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
)

// TestRestartBroker kills a broker of its own under 16 callers and starts it again.
func TestRestartBroker(t *testing.T) {
	const (
		restarts = 1
		timeout  = 2 * time.Second
	)
	bed.Broker(t) // fails or skips where there is no RabbitMQ
	broker := peertest.RunRabbitMQ(t, nil)
	s := settings{URL: broker.URL("/"), Topic: topic, Server: "s1", Timeout: timeout, Work: 5 * time.Millisecond}
	l, tmp := newLedger(), tempDir(t)
	server := startApp(t, "server", tmp, l, s)
	s.Callers, s.First = callers, 1
	client := startApp(t, "client", tmp, l, s)
	var recoveries []time.Duration
	began := time.Now()
	for range restarts {
		testbed.Eventually(t, patience, "calls go through", func() bool { return l.answered(began) >= 5*callers })
		at := time.Now()
		if err := broker.Kill(); err != nil {
			t.Fatal(err)
		}
		testbed.Eventually(t, patience, "callers notice", func() bool { return l.failed(at) >= callers })
		if err := broker.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		back := time.Now()
		testbed.Eventually(t, patience, "calls succeed again", func() bool { return l.answered(at) > 0 })
		took := max(0, l.recovery(at)-back.Sub(at))
		if took > recoveryLimit {
			t.Errorf("calls succeeded again %v after the broker was back", took)
		}
		recoveries = append(recoveries, took)
		began = back
	}
	testbed.Eventually(t, patience, "calls go through", func() bool { return l.answered(began) >= 5*callers })
	client.stop(t, false)
	server.stop(t, false)
	if sum := l.check(t, timeout, restarts, recoveries); sum.Unreturned > 0 {
		t.Errorf("%d calls never returned", sum.Unreturned)
	}
	mustLeaveNothing(t, tmp)
	mustLeaveQueues(t, broker, "/")
}
