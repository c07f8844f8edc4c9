// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
)

// TestKillDriver kills the driver of one end ten times under 16 callers.
func TestKillDriver(t *testing.T) {
	const (
		kills   = 10
		timeout = 3 * time.Second
	)
	for _, end := range []string{"client", "server"} {
		t.Run(end, func(t *testing.T) {
			broker := bed.Broker(t)
			vhost := broker.NewVhost(t)
			s := settings{URL: broker.URL(vhost), Topic: topic, Server: "s1", Timeout: timeout, Work: 5 * time.Millisecond}
			l, tmp := newLedger(), tempDir(t)
			apps := startPair(t, tmp, l, s)
			victim := apps.client
			if end == "server" {
				victim = apps.server
			}
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
			apps.end(t, timeout, kills, recoveries)
			mustLeaveQueues(t, broker, vhost)
		})
	}
}
