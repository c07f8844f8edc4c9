// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// The cases of NotifyTestCase in oslo_messaging/tests/functional/test_functional.py.

func TestNotifySimple(t *testing.T) {
	onNotifyWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		var b inbox
		listen(t, tr, topics("test_simple"), nil, b.endpoint())
		mustNotify(t, notifier(tr, "abc", "test_simple"), messaging.PriorityInfo, "test", "Hello World!")
		if got := b.wait(t, 1)[0]; got != `info test "Hello World!" abc` {
			t.Errorf("got %s", got)
		}
	})
}

func TestNotifyMultipleTopics(t *testing.T) {
	onNotifyWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		var b inbox
		listen(t, tr, topics("a", "b"), nil, b.endpoint())
		mustNotify(t, notifier(tr, "pub-a", "a"), messaging.PriorityInfo, "test-a", "payload-a")
		mustNotify(t, notifier(tr, "pub-b", "b"), messaging.PriorityInfo, "test-b", "payload-b")
		wantSet(t, "the listener", b.wait(t, 2), []string{`info test-a "payload-a" pub-a`, `info test-b "payload-b" pub-b`})
	})
}

func TestNotifyIndependentTopics(t *testing.T) {
	onNotifyWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		boxes := make([]inbox, 2)
		want := make([][]string, 2)
		for i := range boxes {
			listen(t, tr, topics(fmt.Sprint("topic-", i)), nil, boxes[i].endpoint())
		}
		for i := range boxes {
			n := notifier(tr, fmt.Sprint("pub-", i), fmt.Sprint("topic-", i))
			for k := range 8 {
				event := fmt.Sprint("test-", i, "-", k)
				mustNotify(t, n, messaging.PriorityInfo, event, "payload")
				want[i] = append(want[i], fmt.Sprintf(`info %s "payload" pub-%d`, event, i))
			}
		}
		for i := range boxes {
			wantSet(t, fmt.Sprint("listener ", i), boxes[i].wait(t, 8), want[i])
		}
	})
}

// TestNotifyMultipleServers: two listeners of one topic share, each in order. Eight notifications,
// as upstream has them, may go to one of two: 100 do not.
func TestNotifyMultipleServers(t *testing.T) {
	onNotifyWires(t, func(t *testing.T, w *world) {
		const count = 100
		boxes := make([]inbox, 2)
		for i := range boxes {
			listen(t, w.open(t, messaging.Options{}), topics("test-topic"), &messaging.NotificationListenerOptions{Concurrency: 1}, boxes[i].endpoint())
		}
		n := notifier(w.open(t, messaging.Options{}), "pub", "test-topic")
		var want []string
		for i := range count {
			event := fmt.Sprintf("test-%03d", i)
			mustNotify(t, n, messaging.PriorityInfo, event, i)
			want = append(want, fmt.Sprintf("info %s %d pub", event, i))
		}
		testbed.Eventually(t, patience, "all notifications", func() bool { return boxes[0].count()+boxes[1].count() >= count })
		a, b := boxes[0].texts(), boxes[1].texts()
		wantSet(t, "both", slices.Concat(a, b), want)
		for i, got := range [][]string{a, b} {
			if len(got) == 0 || !slices.IsSorted(got) {
				t.Errorf("listener %d got %d: %q", i, len(got), got)
			}
		}
	})
}

// TestNotifyAllCategories has sample too, which upstream's has not.
func TestNotifyAllCategories(t *testing.T) {
	onNotifyWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		boxes := make(map[messaging.Priority]*inbox)
		ep := messaging.NewNotificationEndpoint(nil)
		for _, p := range messaging.Priorities() {
			boxes[p] = &inbox{}
			ep.Handle(p, boxes[p].handle)
		}
		listen(t, tr, topics("test_all_categories"), nil, ep)
		n := notifier(tr, "abc", "test_all_categories")
		for p, send := range map[messaging.Priority]func(context.Context, string, any) error{
			messaging.PriorityAudit: n.Audit, messaging.PriorityDebug: n.Debug, messaging.PriorityInfo: n.Info, messaging.PriorityWarn: n.Warn,
			messaging.PriorityError: n.Error, messaging.PriorityCritical: n.Critical, messaging.PrioritySample: n.Sample,
		} {
			if err := send(soon(t), "type-"+string(p), string(p)+"-data"); err != nil {
				t.Fatal(err)
			}
		}
		for p, b := range boxes {
			if got, want := b.wait(t, 1)[0], fmt.Sprintf("%s type-%s \"%s-data\" abc", p, p, p); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	})
}

// TestNotifySimpleBatch: 205 notifications are batches of 100, 100 and 5.
func TestNotifySimpleBatch(t *testing.T) {
	onNotifyWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		b := newBatchBox(0)
		listen(t, tr, topics("test_simple_batch"), &messaging.NotificationListenerOptions{
			Concurrency: 1, Batch: &messaging.BatchOptions{Size: 100, Timeout: 2 * time.Second},
		}, b.endpoint())
		n := notifier(tr, "abc", "test_simple_batch")
		for i := range 205 {
			n.NotifyAndForget(soon(t), messaging.PriorityInfo, fmt.Sprintf("test%03d", i), "Hello World!")
		}
		b.wait(t, 100, 100, 5)
		var events []string
		for _, batch := range b.all() {
			for _, n := range batch {
				events = append(events, n.EventType)
			}
		}
		if !slices.IsSorted(events) || len(slices.Compact(events)) != 205 {
			t.Errorf("the order is %v", events)
		}
	})
}

// batchBox keeps batches.
type batchBox struct {
	inbox
	batches [][]*messaging.Notification // guarded by mu
	fails   int                         // number of the batch that fails, from 1 on
}

func newBatchBox(fails int) *batchBox { return &batchBox{fails: fails} }

func (b *batchBox) endpoint() *messaging.NotificationEndpoint {
	ep := messaging.NewNotificationEndpoint(nil)
	ep.HandleBatch(messaging.PriorityInfo, func(_ context.Context, batch []*messaging.Notification) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.batches = append(b.batches, batch)
		if len(b.batches) == b.fails {
			return fmt.Errorf("boom: %w", messaging.ErrRequeue)
		}
		return nil
	})
	return ep
}

func (b *batchBox) all() [][]*messaging.Notification {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.batches)
}

// wait waits for batches of these sizes.
func (b *batchBox) wait(t *testing.T, sizes ...int) {
	t.Helper()
	testbed.Eventually(t, patience, "the batches", func() bool { return len(b.all()) >= len(sizes) })
	var got []int
	for _, batch := range b.all() {
		got = append(got, len(batch))
	}
	if !slices.Equal(got, sizes) {
		t.Errorf("batches of %v, want %v", got, sizes)
	}
}
