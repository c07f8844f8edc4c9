// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
)

// confirmStage is three servers on one topic and a client with 16 callers. The confirms of the
// client go through one proxy, those of the servers' replies through another.
type confirmStage struct {
	t                *testing.T
	broker           *peertest.RabbitMQ
	vhost, tmp       string
	timeout          time.Duration
	calling, serving *peertest.AMQPProxy
	ledger           *ledger
	client           *app
	servers          []*app
	began            time.Time
}

func newConfirmStage(t *testing.T, timeout, work time.Duration) *confirmStage {
	t.Helper()
	bed.Wires(t, testbed.NeedProxy)
	broker := bed.Broker(t)
	st := &confirmStage{
		t: t, broker: broker, vhost: broker.NewVhost(t), tmp: tempDir(t), timeout: timeout,
		calling: peertest.RunAMQPProxy(t, broker.Addr()), serving: peertest.RunAMQPProxy(t, broker.Addr()),
		ledger: newLedger(),
	}
	s := settings{URL: broker.URLAt(st.serving.Addr(), st.vhost), Topic: topic, Timeout: timeout, Work: work}
	st.servers = startServers(t, 3, st.tmp, st.ledger, s)
	s.URL = broker.URLAt(st.calling.Addr(), st.vhost)
	s.Callers, s.First = callers, 1
	st.client = startApp(t, "client", st.tmp, st.ledger, s)
	st.began = time.Now()
	return st
}

// more waits until n calls were answered that began after the last more.
func (st *confirmStage) more(n int) {
	st.t.Helper()
	testbed.Eventually(st.t, patience, "calls go through", func() bool { return st.ledger.answered(st.began) >= n })
	st.began = time.Now()
}

// end stops everything and judges. Whatever happened to the confirms, no request was published
// twice.
func (st *confirmStage) end(faults int) summary {
	st.t.Helper()
	st.client.stop(st.t, false)
	for _, s := range st.servers {
		s.stop(st.t, false)
	}
	sum := st.ledger.check(st.t, st.timeout, faults, nil)
	if sum.Unreturned > 0 {
		st.t.Errorf("%d calls never returned", sum.Unreturned)
	}
	if n := mustPublishOnce(st.t, st.calling); n > sum.Calls {
		st.t.Errorf("%d calls were published as %d requests", sum.Calls, n)
	}
	mustLeaveNothing(st.t, st.tmp, 0)
	mustLeaveQueues(st.t, st.broker, st.vhost)
	return sum
}

// TestLateConfirms lets the broker's confirms come late, in part later than the calls last. A
// driver that publishes again what was not confirmed gets one call run by several servers:
// upstream's does, once by each of three.
func TestLateConfirms(t *testing.T) {
	const timeout = 2 * time.Second
	for _, tt := range []struct {
		name  string
		delay time.Duration
		calls int
	}{
		{"within the timeout", 300 * time.Millisecond, 1000},
		{"after the timeout", timeout + timeout/4, 1000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			st := newConfirmStage(t, timeout, 5*time.Millisecond)
			st.more(callers)
			st.calling.DelayConfirms(tt.delay)
			st.serving.DelayConfirms(tt.delay)
			held := time.Now()
			st.more(tt.calls)
			// Long enough that what was published first was given up or confirmed.
			testbed.Eventually(t, patience, "confirms are due", func() bool { return time.Since(held) > tt.delay+timeout/4 })
			st.more(callers)
			if sum := st.end(0); sum.lost() > 0 {
				t.Errorf("%d calls got no answer, though every request arrived", sum.lost())
			}
		})
	}
}

// TestCutBeforeConfirm cuts the client's connections again and again while confirms are
// outstanding: the requests have reached the broker, and the driver does not know. They are
// run once, and their answers come through the next connection.
func TestCutBeforeConfirm(t *testing.T) {
	const cuts = 5
	st := newConfirmStage(t, 3*time.Second, 50*time.Millisecond)
	for range cuts {
		st.more(5 * callers)
		st.calling.HoldConfirms()
		st.more(2 * callers) // whose confirms did not come
		st.calling.CutAll()
		st.calling.ReleaseConfirms()
	}
	st.more(5 * callers)
	if sum := st.end(cuts); sum.FailedAndRun > 0 {
		t.Errorf("%d calls were run and got no answer", sum.FailedAndRun)
	}
}

// TestCutBeforeArrival cuts the client's connections while requests are on their way, so that
// the broker does not get them. The driver cannot tell this from the above: the calls end in
// doubt by their deadline, and their requests are not sent again.
func TestCutBeforeArrival(t *testing.T) {
	const (
		cuts    = 2
		timeout = 2 * time.Second
	)
	st := newConfirmStage(t, timeout, 5*time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range cuts {
		st.more(5 * callers)
		st.calling.PauseClients()
		seen := len(published(t, st.calling))
		kept := 0
		_, err := st.calling.WaitFor(ctx, func(m peertest.Method) bool {
			if isRequest(m) {
				kept++
			}
			return kept >= seen+callers/2
		})
		if err != nil {
			t.Fatal(err)
		}
		st.calling.CutAll()
		st.calling.Resume()
	}
	st.more(5 * callers)
	if sum := st.end(cuts); sum.InDoubt == 0 {
		t.Error("no call ended in doubt: the test proves nothing")
	}
}
