// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
)

// TestDeleteQueues deletes the queues that client and server live on, under 16 callers: the
// calls under way end by their deadline, and those after it succeed.
func TestDeleteQueues(t *testing.T) {
	const timeout = 2 * time.Second
	bed.Wires(t, testbed.NeedManagement, testbed.NeedAMQP)
	broker := bed.Broker(t)
	vhost := broker.NewVhost(t)
	s := settings{URL: broker.URL(vhost), Topic: topic, Server: "s1", Timeout: timeout, Work: 5 * time.Millisecond}
	l, tmp := newLedger(), tempDir(t)
	apps := startPair(t, tmp, l, s)
	var recoveries []time.Duration
	began := time.Now()
	for _, prefix := range []string{
		"reply_",           // of the client
		topic,              // all of the server's
		topic + "_fanout_", // the one that nobody else can know of
		"",                 // every queue there is
	} {
		testbed.Eventually(t, patience, "calls go through", func() bool { return l.answered(began) >= 10*callers })
		names := testbed.Queues(t, broker, vhost, prefix)
		if len(names) == 0 {
			t.Fatalf("no queue begins with %q", prefix)
		}
		testbed.DeleteQueues(t, broker, vhost, names...)
		at := time.Now()
		testbed.Eventually(t, patience, "calls succeed without "+prefix, func() bool { return l.answered(at) > 0 })
		took := l.recovery(at)
		if took > recoveryLimit {
			t.Errorf("calls succeeded again %v after %v were deleted", took, names)
		}
		recoveries = append(recoveries, took)
		began = at
	}
	// All callers, not only one.
	testbed.Eventually(t, patience, "calls go through", func() bool { return l.answered(began) >= 10*callers })
	apps.stop(t, timeout, len(recoveries), recoveries)
	mustLeaveQueues(t, broker, vhost)
}
