// SPDX-License-Identifier: Apache-2.0

package notifyfaults

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/ledger"
	"github.com/parleymq/parley/internal/procfs"
	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

const (
	// stormCount is how many notifications a handler fails on, stormRequeues how often each comes
	// again, and stormDelay and stormMaxDelay how soon.
	stormCount                = 1000
	stormRequeues             = 4
	stormDelay, stormMaxDelay = 25 * time.Millisecond, 100 * time.Millisecond
	stormConcurrency          = 64
	// stormCPU is what a run may take of the processor with the race detector, on a machine that does
	// other things.
	stormCPU = 10 * time.Millisecond
	// stormLimit bounds the storm.
	stormLimit = 2 * time.Minute
	// endlessTime is how long a storm without an end is looked at, and endlessCPU what it may take of
	// one processor: so much that a machine which does other things is no failure, and much less than
	// a handler without a pause takes.
	endlessTime  = 4 * time.Second
	endlessDelay = time.Second
	endlessCPU   = 0.5
)

// TestRequeueStorm gives notifications to a handler that fails always: all end as dead letters.
func TestRequeueStorm(t *testing.T) {
	t.Parallel()
	broker, vhost := sharedBroker(t)
	r := newRun(t, broker, vhost)
	storm := r.start(settings{Settings: ledger.Settings{Role: roleListener, Name: "storm"}, Listens: listenerSettings{
		Concurrency: stormConcurrency, Failing: true, MaxRequeues: stormRequeues, Delay: stormDelay, MaxDelay: stormMaxDelay,
	}}, false)
	dead := r.start(settings{Settings: ledger.Settings{Role: roleListener, Name: "dead"}, Listens: listenerSettings{Topic: deadTopic}}, false)
	notifier := r.start(settings{Settings: ledger.Settings{Role: roleNotifier, Name: "notifier"}, Notifies: notifierSettings{Way: wayForget, Senders: 1}}, false)
	r.await(storm, dead, notifier)
	before, begun := r.cpu(storm), time.Now()
	testbed.Must(t, notifier.Do("send", stormCount, nil))
	var letters []entry
	var err error
	testbed.Eventually(t, stormLimit, "all are dead letters", func() bool {
		letters, err = make(names).read(dead.Ledger)
		testbed.Must(t, err)
		return len(letters) >= stormCount
	})
	took, cpu := time.Since(begun), r.cpu(storm)-before
	r.mustDrain()
	r.stopAll(endTimeout)
	r.mustLeaveNothing()
	given, err := make(names).read(storm.Ledger)
	testbed.Must(t, err)
	runs := len(given) / 2 // each is handled, and fails
	t.Logf("%d notifications, %d runs of the handler in %v; listener and driver took %v of processor time, %.2f of one processor, %v a run; %s",
		stormCount, runs, took.Round(time.Millisecond), cpu.Round(time.Millisecond), cpu.Seconds()/took.Seconds(), cpu/time.Duration(runs), storm.said)
	if runs != stormCount*(1+stormRequeues) {
		t.Errorf("the handler ran %d times, want %d", runs, stormCount*(1+stormRequeues))
	}
	if each := cpu / time.Duration(runs); each > stormCPU {
		t.Errorf("a run takes %v of processor time, want %v at most", each, stormCPU)
	}
	mustBeLetters(t, letters)
}

// mustBeLetters looks for each notification once, with the reason.
func mustBeLetters(t *testing.T, letters []entry) {
	t.Helper()
	seen := make(map[number]bool)
	for _, e := range letters {
		for _, want := range []string{
			messaging.DeadLetterReason + `="requeued too often"`, fmt.Sprintf("%s=%q", messaging.DeadLetterError, errFails.Error()),
			fmt.Sprintf("%s=%q", messaging.DeadLetterTopic, topic), fmt.Sprintf(`%s="%d"`, messaging.DeadLetterAttempts, 1+stormRequeues),
		} {
			if !strings.Contains(e.text, want) {
				t.Fatalf("the dead letter %s has the headers %s, want %s", e.number, e.text, want)
			}
		}
		seen[e.number] = true
	}
	if len(seen) != stormCount || len(letters) != stormCount {
		t.Errorf("%d dead letters of %d notifications, want %d", len(letters), len(seen), stormCount)
	}
}

// TestEndlessStorm lets a handler fail for ever: what it costs is bounded, however many wait.
func TestEndlessStorm(t *testing.T) {
	t.Parallel()
	broker, vhost := sharedBroker(t)
	r := newRun(t, broker, vhost)
	storm := r.start(settings{Settings: ledger.Settings{Role: roleListener, Name: "storm"}, Listens: listenerSettings{
		Concurrency: stormConcurrency, Failing: true, MaxRequeues: -1, Delay: endlessDelay, MaxDelay: endlessDelay,
	}}, false)
	notifier := r.start(settings{Settings: ledger.Settings{Role: roleNotifier, Name: "notifier"}, Notifies: notifierSettings{Way: wayForget, Senders: 1}}, false)
	r.await(storm, notifier)
	testbed.Must(t, notifier.Do("send", stormCount, nil))
	testbed.Must(t, notifier.stop(startTimeout))
	before, begun := r.cpu(storm), time.Now()
	runsBefore := r.runs(storm)
	testbed.Pause(context.Background(), endlessTime)
	took, cpu, runs := time.Since(begun), r.cpu(storm)-before, r.runs(storm)-runsBefore
	r.stopAll(endTimeout)
	r.mustLeaveNothing()
	share, most := cpu.Seconds()/took.Seconds(), int((took.Seconds()/endlessDelay.Seconds()+1)*stormConcurrency)
	t.Logf("a handler that fails for ever, with a delay of %v: %d runs in %v, %.3f of one processor", endlessDelay, runs, took.Round(time.Millisecond), share)
	if runs > most {
		t.Errorf("the handler ran %d times in %v, want %d at most", runs, took, most)
	}
	if share > endlessCPU {
		t.Errorf("it took %.2f of a processor, want %.2f at most", share, endlessCPU)
	}
}

// runs is how often a handler that fails has ended.
func (r *run) runs(a *app) int {
	r.t.Helper()
	entries, err := make(names).read(a.Ledger)
	testbed.Must(r.t, err)
	return len(entries) / 2
}

// cpu is the processor time of an application and its driver.
func (r *run) cpu(a *app) time.Duration {
	r.t.Helper()
	pid, err := a.Driver()
	testbed.Must(r.t, err)
	all := procfs.All()
	return all[a.PID()].CPU + all[pid].CPU
}
