// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

// numbered is how many notifications the tests of pools send.
const numbered = 100

// goSendsNumbered sends numbers from 0 on.
func (p *notePeers) goSendsNumbered(t *testing.T, topic, event string, count int) {
	t.Helper()
	n := p.goNotifier(messaging.NotifierOptions{Topics: []string{topic}})
	for i := range count {
		if err := n.Info(soon(t), event, i); err != nil {
			t.Fatal(err)
		}
	}
}

func (p *notePeers) pythonSendsNumbered(t *testing.T, topic, event string, count int) {
	t.Helper()
	p.notify(t, peertest.Event{Topics: []string{topic}, EventType: event, Numbered: count})
}

// numbers are the payloads of what Go heard, in their order.
func (h *heard) numbers(t *testing.T) []int {
	t.Helper()
	var all []int
	for _, n := range h.of("") {
		var i int
		if err := n.Decode(&i); err != nil {
			t.Fatal(err)
		}
		all = append(all, i)
	}
	return all
}

// numbersOf are the payloads of what Python handled, in their order.
func numbersOf(t *testing.T, l *peertest.PythonListener) []int {
	t.Helper()
	noted, err := l.Received(soon(t), "")
	if err != nil {
		t.Fatal(err)
	}
	var all []int
	for _, n := range noted {
		if !n.Requeued {
			all = append(all, numberOf(t, n))
		}
	}
	return all
}

func numberOf(t *testing.T, n peertest.Noted) int {
	t.Helper()
	i, ok := decodeJSON(t, []byte(n.Payload)).(int64)
	if !ok {
		t.Fatalf("the payload is %s", n.Payload)
	}
	return int(i)
}

// wantNumbers checks that all numbers below count are there once.
func wantNumbers(t *testing.T, who string, got []int, count int) {
	t.Helper()
	got = slices.Sorted(slices.Values(got))
	var want []int
	for i := range count {
		want = append(want, i)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s got %v", who, got)
	}
}

func testGoNotifiesPool(t *testing.T, p *notePeers) { testPool(t, p, "pool.go", p.goSendsNumbered) }
func testPythonNotifiesPool(t *testing.T, p *notePeers) {
	testPool(t, p, "pool.py", p.pythonSendsNumbered)
}
func testGoNotifiesPools(t *testing.T, p *notePeers) { testPools(t, p, "pools.go", p.goSendsNumbered) }
func testPythonNotifiesPools(t *testing.T, p *notePeers) {
	testPools(t, p, "pools.py", p.pythonSendsNumbered)
}

// testPool: a Python and a Go listener of one pool share, and the listeners without one get all.
func testPool(t *testing.T, p *notePeers, topic string, send func(t *testing.T, topic, event string, count int)) {
	if p.lacks(t, testbed.Need(driver.CapPools)) {
		return
	}
	pool := topic + "-shared"
	plain := p.listen(t, nil, topic)
	theirs := p.runPythonListener(t, peertest.PythonListenerOptions{Pool: pool}, topic)
	ours := p.listen(t, &messaging.NotificationListenerOptions{Pool: pool}, topic)
	send(t, topic, topic, numbered)
	testbed.Eventually(t, patience, "all notifications", func() bool {
		return len(ours.of(""))+len(numbersOf(t, theirs)) >= numbered && len(plain.of("")) >= numbered
	})
	a, b := ours.numbers(t), numbersOf(t, theirs)
	wantNumbers(t, "the pool", slices.Concat(a, b), numbered)
	if len(a) == 0 || len(b) == 0 {
		t.Errorf("Go got %d and Python %d", len(a), len(b))
	}
	wantNumbers(t, "the listener without a pool", plain.numbers(t), numbered)
}

// testPools: each of two pools gets all, one of Python and one of Go.
func testPools(t *testing.T, p *notePeers, topic string, send func(t *testing.T, topic, event string, count int)) {
	if p.lacks(t, testbed.Need(driver.CapPools)) {
		return
	}
	theirs := p.runPythonListener(t, peertest.PythonListenerOptions{Pool: topic + "-theirs"}, topic)
	ours := p.listen(t, &messaging.NotificationListenerOptions{Pool: topic + "-ours"}, topic)
	send(t, topic, topic, numbered)
	testbed.Eventually(t, patience, "all notifications in both pools", func() bool {
		return len(ours.of("")) >= numbered && len(numbersOf(t, theirs)) >= numbered
	})
	wantNumbers(t, "Go", ours.numbers(t), numbered)
	wantNumbers(t, "Python", numbersOf(t, theirs), numbered)
}

const (
	batchOf  = 100
	batchAll = 205
)

// testGoNotifiesBatches: Python's batch listener gets what Go notifies. Its timer does not begin with
// the first notification of a batch, so that a batch may be short.
func testGoNotifiesBatches(t *testing.T, p *notePeers) {
	theirs := p.runPythonListener(t, peertest.PythonListenerOptions{Batch: &peertest.PythonBatch{Size: batchOf, Timeout: 2 * time.Second}}, "batch.go")
	p.goSendsNumbered(t, "batch.go", "batch", batchAll)
	sizes := make(map[int]int)
	var got []int
	for _, n := range pythonHas(t, theirs, "batch", batchAll) {
		sizes[n.Call]++
		got = append(got, numberOf(t, n))
	}
	if !slices.IsSorted(got) {
		t.Errorf("the order is %v", got)
	}
	wantNumbers(t, "Python", got, batchAll)
	for call, size := range sizes {
		if size > batchOf {
			t.Errorf("batch %d has %d", call, size)
		}
	}
	t.Logf("Python's batches: %v", sizes)
}

// testPythonNotifiesBatches: 100, 100 and 5, as upstream has it in its own test.
func testPythonNotifiesBatches(t *testing.T, p *notePeers) {
	batches := make(chan []*messaging.Notification, batchAll)
	ep := messaging.NewNotificationEndpoint(nil)
	ep.HandleBatch(messaging.PriorityInfo, func(_ context.Context, batch []*messaging.Notification) error {
		batches <- batch
		return nil
	})
	p.listenWith(t, &messaging.NotificationListenerOptions{
		Concurrency: 1, Batch: &messaging.BatchOptions{Size: batchOf, Timeout: 5 * time.Second},
	}, ep, "batch.python")
	p.pythonSendsNumbered(t, "batch.python", "batch", batchAll)
	var h heard
	for _, want := range []int{batchOf, batchOf, batchAll - 2*batchOf} {
		select {
		case batch := <-batches:
			if len(batch) != want {
				t.Errorf("a batch of %d, want %d", len(batch), want)
			}
			for _, n := range batch {
				h.add(n)
			}
		case <-time.After(patience):
			t.Fatal("there are not three batches")
		}
	}
	if got := h.numbers(t); !slices.IsSorted(got) {
		t.Errorf("the order is %v", got)
	}
	wantNumbers(t, "Go", h.numbers(t), batchAll)
}

// testGoBatchAgain: what Python asks for again of a batch, comes again from Go's notifier.
func testGoBatchAgain(t *testing.T, p *notePeers) {
	theirs := p.runPythonListener(t, peertest.PythonListenerOptions{
		Batch: &peertest.PythonBatch{Size: 5, Timeout: time.Second}, AllowRequeue: true, Requeue: 1,
	}, "again.go")
	p.goSendsNumbered(t, "again.go", "again", 10)
	testbed.Eventually(t, patience, "all in the end", func() bool { return len(numbersOf(t, theirs)) >= 10 })
	wantNumbers(t, "Python", numbersOf(t, theirs), 10)
	noted, err := theirs.Received(soon(t), "")
	if err != nil || len(noted) <= 10 {
		t.Errorf("Python was given %d, %v", len(noted), err)
	}
}

// testPythonBatchAgain: of a batch of Python's notifications those come again that failed.
func testPythonBatchAgain(t *testing.T, p *notePeers) {
	var h, again heard
	ep := messaging.NewNotificationEndpoint(nil)
	ep.HandleBatch(messaging.PriorityInfo, func(_ context.Context, batch []*messaging.Notification) error {
		failed := make(messaging.FailedNotifications)
		for i, n := range batch {
			var number int
			if err := n.Decode(&number); err != nil {
				return err
			}
			if n.Attempt == 1 && number%2 == 0 {
				again.add(n)
				failed[i] = fmt.Errorf("number %d: %w", number, messaging.ErrRequeue)
				continue
			}
			h.add(n)
		}
		return failed
	})
	p.listenWith(t, &messaging.NotificationListenerOptions{
		Batch: &messaging.BatchOptions{Size: 5, Timeout: time.Second}, Failure: messaging.FailurePolicy{Delay: 10 * time.Millisecond},
	}, ep, "again.python")
	p.pythonSendsNumbered(t, "again.python", "again", 10)
	testbed.Eventually(t, patience, "all in the end", func() bool { return len(h.of("")) >= 10 })
	wantNumbers(t, "Go", h.numbers(t), 10)
	if got := len(again.of("")); got != 5 {
		t.Errorf("%d failed", got)
	}
	for _, n := range h.of("") {
		if n.Redelivered != (n.Attempt > 1 && p.marksAgain()) {
			t.Errorf("attempt %d, redelivered %t", n.Attempt, n.Redelivered)
		}
	}
}
