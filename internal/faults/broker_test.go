// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
)

// TestBroker has a broker of its own: it is stopped, killed, paused and started again.
func TestBroker(t *testing.T) {
	bed.Wires(t, testbed.NeedRestart)
	bed.Broker(t)                                                             // fails or skips where there is no RabbitMQ
	broker := peertest.RunRabbitMQ(t, &peertest.RabbitMQOptions{Plain: true}) // it stops at once
	t.Run("restart", func(t *testing.T) { testRestartBroker(t, broker) })
	t.Run("pause", func(t *testing.T) { testPauseBroker(t, broker) })
}

// testRestartBroker takes the broker down under 16 callers, by a kill and then cleanly, and
// starts it again.
func testRestartBroker(t *testing.T, broker *peertest.RabbitMQ) {
	const timeout = 2 * time.Second
	downs := []struct {
		name string
		down func() error
	}{
		{"kill", broker.Kill},
		{"stop", func() error { return broker.Stop(t.Context()) }},
	}
	s := settings{URL: broker.URL("/"), Topic: topic, Server: "s1", Timeout: timeout, Work: 5 * time.Millisecond}
	l, tmp := newLedger(), tempDir(t)
	apps := startPair(t, tmp, l, s)
	var recoveries []time.Duration
	began := time.Now()
	for _, d := range downs {
		testbed.Eventually(t, patience, "calls go through", func() bool { return l.answered(began) >= 5*callers })
		if err := d.down(); err != nil {
			t.Fatal(err)
		}
		at := time.Now() // what begins from now on succeeds when the broker is back
		testbed.Eventually(t, patience, "callers notice the "+d.name, func() bool { return l.failed(at) >= callers })
		if err := broker.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		back := time.Now()
		testbed.Eventually(t, patience, "calls succeed after the "+d.name, func() bool { return l.answered(at) > 0 })
		took := max(0, l.recovery(at)-back.Sub(at))
		if took > recoveryLimit {
			t.Errorf("calls succeeded again %v after the broker was back", took)
		}
		recoveries = append(recoveries, took)
		began = back
	}
	testbed.Eventually(t, patience, "calls go through", func() bool { return l.answered(began) >= 5*callers })
	apps.stop(t, timeout, len(downs), recoveries)
	mustLeaveQueues(t, broker, "/")
}
