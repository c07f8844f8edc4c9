// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

// requeued is how many notifications the tests of requeueing send.
const requeued = 10

func testGoRequeuesGo(t *testing.T, p *notePeers) {
	testGoRequeues(t, p, "back.go1", p.goSendsNumbered)
}
func testGoRequeuesPython(t *testing.T, p *notePeers) {
	testGoRequeues(t, p, "back.go2", p.pythonSendsNumbered)
}
func testPythonRequeuesGo(t *testing.T, p *notePeers) {
	testPythonRequeues(t, p, "back.py1", p.goSendsNumbered)
}
func testPythonRequeuesPython(t *testing.T, p *notePeers) {
	testPythonRequeues(t, p, "back.py2", p.pythonSendsNumbered)
}

// testGoRequeues: what a Go listener always gives back, Python gets in the end.
func testGoRequeues(t *testing.T, p *notePeers, topic string, send func(t *testing.T, topic, event string, count int)) {
	var ours heard
	ep := messaging.NewNotificationEndpoint(nil)
	ep.Handle(messaging.PriorityInfo, func(_ context.Context, n *messaging.Notification) error {
		ours.add(n)
		return fmt.Errorf("not for this one: %w", messaging.ErrRequeue)
	})
	l := p.listenWith(t, &messaging.NotificationListenerOptions{
		Failure: messaging.FailurePolicy{MaxRequeues: -1, Delay: 5 * time.Millisecond, MaxDelay: 50 * time.Millisecond},
	}, ep, topic)
	send(t, topic, topic, requeued)
	testbed.Eventually(t, patience, "a first attempt of each", func() bool { return len(ours.of("")) >= requeued })
	theirs := p.runPythonListener(t, peertest.PythonListenerOptions{}, topic)
	testbed.Eventually(t, patience, "all at Python", func() bool { return len(numbersOf(t, theirs)) >= requeued })
	wantNumbers(t, "Python", numbersOf(t, theirs), requeued)
	if s := l.Stats(); s.Requeued < requeued || s.Duplicates != 0 || s.Dropped != 0 {
		t.Errorf("the counters are %+v", s)
	}
	testbed.Eventually(t, patience, "nothing left", func() bool { return l.Stats().Running == 0 })
}

// testPythonRequeues: what a Python listener always gives back, Go gets in the end.
func testPythonRequeues(t *testing.T, p *notePeers, topic string, send func(t *testing.T, topic, event string, count int)) {
	theirs := p.runPythonListener(t, peertest.PythonListenerOptions{AllowRequeue: true, Requeue: -1}, topic)
	send(t, topic, topic, requeued)
	if _, err := theirs.WaitReceived(soon(t), "", requeued); err != nil {
		t.Fatal(err)
	}
	ours := p.listen(t, nil, topic)
	testbed.Eventually(t, patience, "all at Go", func() bool { return len(ours.of("")) >= requeued })
	wantNumbers(t, "Go", ours.numbers(t), requeued)
	for _, n := range ours.of("") {
		if n.Redelivered != p.marksAgain() || n.Attempt != 1 {
			t.Errorf("number %s: redelivered %t, attempt %d", n.Payload, n.Redelivered, n.Attempt)
		}
	}
}

// testGoDeadLetters: what Go gives up, Python reads on the dead-letter topic, and Go with the reason.
func testGoDeadLetters(t *testing.T, p *notePeers) {
	testDeadLetters(t, p, "bad.go", p.goSendsNumbered)
}

func testPythonDeadLetters(t *testing.T, p *notePeers) {
	testDeadLetters(t, p, "bad.py", p.pythonSendsNumbered)
}

func testDeadLetters(t *testing.T, p *notePeers, topic string, send func(t *testing.T, topic, event string, count int)) {
	const count = 3
	dead := topic + ".dead"
	pools := p.wire.Has(driver.CapPools)
	var ours *heard
	var theirPool string
	if pools { // without them the letters are Python's alone
		theirPool = dead + "-theirs"
		ours = p.listen(t, &messaging.NotificationListenerOptions{Pool: dead + "-ours"}, dead)
	}
	theirs := p.runPythonListener(t, peertest.PythonListenerOptions{Pool: theirPool}, dead)
	ep := messaging.NewNotificationEndpoint(nil)
	ep.Handle(messaging.PriorityInfo, func(context.Context, *messaging.Notification) error { return errors.New("no disk, héllo") })
	l := p.listenWith(t, &messaging.NotificationListenerOptions{
		Failure: messaging.FailurePolicy{DeadLetterTopic: dead, RequeueErrors: true, MaxRequeues: 1, Delay: time.Millisecond},
	}, ep, topic)
	send(t, topic, topic, count)
	noted := pythonHas(t, theirs, topic, count)
	wantNumbers(t, "Python", numbersOf(t, theirs), count)
	testbed.Eventually(t, patience, "all settled", func() bool { return l.Stats().Running == 0 })
	if s := l.Stats(); s.DeadLettered != count || s.Dropped != 0 || s.Requeued != count {
		t.Errorf("the counters are %+v", s)
	}
	if pools {
		sameLetters(t, topic, ours.wait(t, topic, count), noted)
		wantNumbers(t, "Go", ours.numbers(t), count)
	}
}

// sameLetters compares the dead letters that Go and Python got.
func sameLetters(t *testing.T, topic string, letters []*messaging.Notification, noted []peertest.Noted) {
	t.Helper()
	var ids []string
	for _, n := range letters {
		ids = append(ids, n.MessageID)
		h := n.Headers
		if h[messaging.DeadLetterReason] == "" || h[messaging.DeadLetterError] != "no disk, héllo" || h[messaging.DeadLetterTopic] != topic || h[messaging.DeadLetterAttempts] != "2" {
			t.Errorf("the headers are %v", h)
		}
	}
	for _, n := range noted {
		if !slices.Contains(ids, n.Metadata["message_id"]) || n.Level != "info" {
			t.Errorf("Python got %+v", n)
		}
	}
}
