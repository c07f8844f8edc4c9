// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// The cases of TestNotifyListener in oslo_messaging/tests/notify/test_listener.py, on real drivers.

// TestListenerTopics: one topic, and two.
func TestListenerTopics(t *testing.T) {
	onNotifyWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		var b inbox
		listen(t, tr, topics("topic1", "topic2"), nil, b.endpoint())
		for i, user := range []string{"bob", "bob2"} {
			ctx := messaging.WithRequestContext(soon(t), messaging.RequestContext{"user_name": user})
			if err := notifier(tr, "testpublisher", fmt.Sprint("topic", i+1)).Info(ctx, fmt.Sprint("an_event.start", i+1), "test"); err != nil {
				t.Fatal(err)
			}
		}
		wantSet(t, "the listener", b.wait(t, 2), []string{`info an_event.start1 "test" testpublisher`, `info an_event.start2 "test" testpublisher`})
		for _, n := range b.notifications() {
			want := map[string]string{"an_event.start1": "bob", "an_event.start2": "bob2"}[n.EventType]
			if n.Context["user_name"] != want || n.MessageID == "" || n.Timestamp.IsZero() {
				t.Errorf("got %+v", n)
			}
		}
	})
}

// TestListenerExchanges: a topic in two exchanges, and none of what is in the default one. On rabbit
// a topic has one queue, whatever its exchange, as with upstream: whoever sends to the default one binds
// it there too.
func TestListenerExchanges(t *testing.T) {
	onNotifyWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		var b inbox
		listen(t, tr, []messaging.Target{{Topic: "topic", Exchange: "exchange1"}, {Topic: "topic", Exchange: "exchange2"}}, nil, b.endpoint())
		for _, exchange := range []string{"exchange1", "exchange2"} {
			n := messaging.NewNotifier(tr, &messaging.NotifierOptions{Topics: []string{"topic"}, Exchange: exchange, PublisherID: "p", Timeout: patience})
			mustNotify(t, n, messaging.PriorityInfo, "an_event.start", exchange)
		}
		want := []string{`info an_event.start "exchange1" p`, `info an_event.start "exchange2" p`}
		wantSet(t, "the listener", b.wait(t, 2), want)
		n := messaging.NewNotifier(tr, &messaging.NotifierOptions{Topics: []string{"topic"}, PublisherID: "p", Timeout: time.Second})
		err := n.Info(soon(t), "an_event.start", "default")
		if w.topicsCross() {
			want = append(want, `info an_event.start "default" p`)
		}
		if err != nil && !w.direct() { // without a broker nobody takes it
			t.Error(err)
		}
		mustNotify(t, messaging.NewNotifier(tr, &messaging.NotifierOptions{Topics: []string{"topic"}, Exchange: "exchange2", PublisherID: "p", Timeout: patience}),
			messaging.PriorityInfo, "last", nil)
		wantSet(t, "the listener", b.wait(t, len(want)+1), append(want, "info last null p"))
	})
}

func TestListenerTwoEndpoints(t *testing.T) {
	onNotifyWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		boxes := make([]inbox, 2)
		listen(t, tr, topics("testtopic"), nil, boxes[0].endpoint(), boxes[1].endpoint())
		mustNotify(t, notifier(tr, "testpublisher", "testtopic"), messaging.PriorityInfo, "an_event.start", "test")
		for i := range boxes {
			if got := boxes[i].wait(t, 1)[0]; got != `info an_event.start "test" testpublisher` {
				t.Errorf("endpoint %d got %s", i, got)
			}
		}
	})
}

func TestListenerRequeue(t *testing.T) {
	onNotifyWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		var b inbox
		ep := messaging.NewNotificationEndpoint(nil)
		ep.Handle(messaging.PriorityInfo, func(ctx context.Context, n *messaging.Notification) error {
			if err := b.handle(ctx, n); err != nil || n.Attempt == 1 {
				return messaging.ErrRequeue
			}
			return nil
		})
		l := listen(t, tr, topics("testtopic"), &messaging.NotificationListenerOptions{Failure: messaging.FailurePolicy{Delay: 10 * time.Millisecond}}, ep)
		mustNotify(t, notifier(tr, "testpublisher", "testtopic"), messaging.PriorityInfo, "an_event.start", "test")
		all := b.wait(t, 2)
		if all[0] != all[1] {
			t.Errorf("got %q", all)
		}
		testbed.Eventually(t, patience, "it is settled", func() bool { return l.Stats().Handled == 1 && l.Stats().Running == 0 })
		marked := w.wire == nil || !w.wire.Unmarked
		if second := b.notifications()[1]; second.Redelivered != marked || second.Attempt != 2 {
			t.Errorf("the second is %+v", second)
		}
	}, needRequeue)
}

func TestListenerTwoPools(t *testing.T) {
	onNotifyWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		boxes := make([]inbox, 2)
		for i := range boxes {
			listen(t, tr, topics("topic"), &messaging.NotificationListenerOptions{Pool: fmt.Sprint("pool", i+1), Concurrency: 1}, boxes[i].endpoint())
		}
		n := notifier(tr, "testpublisher", "topic")
		var want []string
		for i := range 2 {
			mustNotify(t, n, messaging.PriorityInfo, "an_event.start", fmt.Sprint("test message", i))
			want = append(want, fmt.Sprintf(`info an_event.start "test message%d" testpublisher`, i))
		}
		for i := range boxes {
			if got := boxes[i].wait(t, 2); !slices.Equal(got, want) {
				t.Errorf("pool %d got %q", i+1, got)
			}
		}
	}, needPools)
}

// TestListenerTwoPoolsThreeListeners: a pool of one gets all hundred, and the two of the other share
// them while each of them in turn is away.
func TestListenerTwoPoolsThreeListeners(t *testing.T) {
	onNotifyWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		boxes := make([]inbox, 3)
		run := func(i int, pool string) (stop func()) {
			return testbed.Serve(t, messaging.NewNotificationListener(tr, topics("topic"), &messaging.NotificationListenerOptions{Pool: pool}, boxes[i].endpoint()))
		}
		run(0, "pool1")
		stopSecond, stopThird := run(1, "pool2"), run(2, "pool2")
		n := notifier(tr, "testpublisher", "topic")
		sent := 0
		var want []string
		send := func() {
			for range 25 {
				mustNotify(t, n, messaging.PriorityInfo, "an_event.start", sent)
				want = append(want, fmt.Sprintf("info an_event.start %d testpublisher", sent))
				sent++
			}
			testbed.Eventually(t, patience, "pool2 has all", func() bool { return boxes[1].count()+boxes[2].count() >= sent })
		}
		send()
		stopSecond()
		send()
		run(1, "pool2")
		stopThird()
		send()
		run(2, "pool2")
		send()
		wantSet(t, "pool1", boxes[0].wait(t, 100), want)
		wantSet(t, "pool2", slices.Concat(boxes[1].texts(), boxes[2].texts()), want)
		for i := 1; i < 3; i++ {
			if got := boxes[i].count(); got < 25 {
				t.Errorf("listener %d got %d", i+1, got)
			}
		}
	}, needPools)
}

// TestListenerBatchTimeout: twelve are five, five, and two after a while.
func TestListenerBatchTimeout(t *testing.T) {
	onNotifyWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		b := newBatchBox(0)
		listen(t, tr, topics("testtopic"), batchesOf(5, 2*time.Second), b.endpoint())
		n := notifier(tr, "testpublisher", "testtopic")
		for i := range 12 {
			n.NotifyAndForget(soon(t), messaging.PriorityInfo, "an_event.start", i)
		}
		b.wait(t, 5, 5, 2)
	})
}

// TestListenerBatchSize: ten are five and five, however long that takes.
func TestListenerBatchSize(t *testing.T) {
	onNotifyWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		b := newBatchBox(0)
		listen(t, tr, topics("testtopic"), batchesOf(5, time.Hour), b.endpoint())
		n := notifier(tr, "testpublisher", "testtopic")
		for i := range 10 {
			mustNotify(t, n, messaging.PriorityInfo, "an_event.start", i)
		}
		b.wait(t, 5, 5)
	})
}

// TestListenerBatchException: the batch that fails comes again.
func TestListenerBatchException(t *testing.T) {
	onNotifyWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		b := newBatchBox(2)
		l := listen(t, tr, topics("testtopic"), batchesOf(5, time.Hour), b.endpoint())
		n := notifier(tr, "testpublisher", "testtopic")
		for i := range 10 {
			mustNotify(t, n, messaging.PriorityInfo, "an_event.start", i)
		}
		b.wait(t, 5, 5, 5)
		testbed.Eventually(t, patience, "all are settled", func() bool { return l.Stats().Handled == 10 && l.Stats().Running == 0 })
		if s := l.Stats(); s.Failed != 5 || s.Requeued != 5 {
			t.Errorf("the counters are %+v", s)
		}
	}, needRequeue)
}

func batchesOf(size int, timeout time.Duration) *messaging.NotificationListenerOptions {
	return &messaging.NotificationListenerOptions{
		Concurrency: 1, Batch: &messaging.BatchOptions{Size: size, Timeout: timeout}, Failure: messaging.FailurePolicy{Delay: 10 * time.Millisecond},
	}
}

func TestListenerNoTargetTopic(t *testing.T) {
	onNotifyWires(t, func(t *testing.T, w *world) {
		var b inbox
		tr := w.open(t, messaging.Options{})
		for _, targets := range [][]messaging.Target{nil, {{}}, {{Topic: "t"}, {}}} {
			if err := messaging.NewNotificationListener(tr, targets, nil, b.endpoint()).Serve(soon(t)); !errors.Is(err, messaging.ErrInvalidTarget) {
				t.Errorf("%v: %v", targets, err)
			}
		}
	})
}
