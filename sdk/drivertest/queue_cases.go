// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

func queueCases() []Case {
	needs := []driver.Capability{driver.CapQueues, driver.CapNotifications}
	pools := append(slices.Clone(needs), driver.CapPools)
	return []Case{
		{Rule: "QUEUE-1", Name: "each queue is told once, with its topics, in their order", needs: needs, run: queuesNamed},
		{Rule: "QUEUE-1", Name: "a pool has a queue, or queues, of its own", needs: pools, run: queuesOfPool},
		{Rule: "QUEUE-2", Name: "a queue that does not exist is told as such, and is not made", needs: needs, run: queuesMissing},
		{Rule: "QUEUE-2", Name: "looking takes nothing and disturbs nothing that is under way", needs: needs, run: queuesHarmless},
		{Rule: "QUEUE-3", Name: "what a listener has is not counted, and what it gives back is", needs: needs, run: queuesCount},
		{Rule: "QUEUE-4", Name: "it ends with ctx, and not otherwise, while the broker is away", needs: needs, hook: needsBroker, run: queuesAway},
		{Rule: "QUEUE-5", Name: "a listener whose Poll waits is counted until it closes", needs: needs, run: queuesConsumers},
	}
}

func (w *world) inspector(c driver.Conn) driver.QueueInspector {
	w.Helper()
	i, ok := c.(driver.QueueInspector)
	if !ok {
		w.Fatalf("the driver declares the capability %q, and its Conn is no driver.QueueInspector", driver.CapQueues)
	}
	return i
}

func (w *world) queues(ctx context.Context, c driver.Conn, src driver.Source) []driver.QueueStatus {
	w.Helper()
	queues, err := w.inspector(c).Queues(ctx, src.Notifications, src.Pool)
	if err != nil {
		w.Fatalf("inspect queues: %v", err)
	}
	return queues
}

// counted sums up the queues of a source.
func (w *world) counted(ctx context.Context, c driver.Conn, src driver.Source) (exist int, messages uint64, consumers uint32) {
	w.Helper()
	for _, q := range w.queues(ctx, c, src) {
		if q.Exists {
			exist++
		}
		messages += q.Messages
		consumers += q.Consumers
	}
	return exist, messages, consumers
}

// wantMessages waits until so many are told to wait in the queues of a source.
func (w *world) wantMessages(ctx context.Context, c driver.Conn, src driver.Source, want uint64) {
	w.Helper()
	var got uint64
	if !eventually(ctx, func() bool { _, got, _ = w.counted(ctx, c, src); return got == want }) {
		w.Fatalf("%d messages are told to wait, want %d", got, want)
	}
}

func (w *world) wantConsumers(ctx context.Context, c driver.Conn, src driver.Source, want uint32) {
	w.Helper()
	var got uint32
	if !eventually(ctx, func() bool { _, _, got = w.counted(ctx, c, src); return got == want }) {
		w.Fatalf("%d consumers are told, want %d", got, want)
	}
}

// wantTopics checks QUEUE-1: every topic is in one queue, and the queues are in the order of the
// topics.
func (w *world) wantTopics(queues []driver.QueueStatus, src driver.Source) {
	w.Helper()
	var topics []driver.NotificationTopic
	names := make(map[string]bool)
	for _, q := range queues {
		if names[q.Name] || q.Name == "" || q.Pool != src.Pool || len(q.Topics) == 0 {
			w.Errorf("the queue %+v has no name, or that of another one, or no topic, or another pool than %q", q, src.Pool)
		}
		names[q.Name] = true
		topics = append(topics, q.Topics...)
	}
	if !slices.Equal(topics, src.Notifications) {
		w.Errorf("the queues hold %+v, want %+v", topics, src.Notifications)
	}
}

func queuesNamed(ctx context.Context, w *world) {
	c := w.open(ctx)
	src := w.events("", w.topic, w.topic+"-second")
	w.listen(ctx, c, src)
	asked := src
	asked.Notifications = append(slices.Clone(src.Notifications), src.Notifications[0]) // twice
	queues := w.queues(ctx, c, asked)
	w.wantTopics(queues, src)
	for _, q := range queues {
		if !q.Exists {
			w.Errorf("%+v is listened to, and is told not to exist", q)
		}
	}
	if none := w.queues(ctx, c, driver.Source{}); len(none) != 0 {
		w.Errorf("without topics it told of %+v", none)
	}
}

func queuesOfPool(ctx context.Context, w *world) {
	c := w.open(ctx)
	none, red, blue := w.events("", w.topic), w.events("red", w.topic), w.events("blue", w.topic)
	w.listen(ctx, c, none)
	reader := w.listen(ctx, c, red)
	sent := w.eventsSent(ctx, c, 4)
	w.wantSet(w.take(ctx, reader, len(sent)), sent)
	w.wantMessages(ctx, c, none, 4)
	w.wantMessages(ctx, c, red, 0)
	w.wantTopics(w.queues(ctx, c, red), red)
	if exist, _, _ := w.counted(ctx, c, blue); exist != 0 {
		w.Errorf("%d queues of a pool exist that nobody ever listened to", exist)
	}
}

func queuesMissing(ctx context.Context, w *world) {
	c := w.open(ctx)
	known, unknown := w.events("", w.topic), w.events("", "nowhere-"+w.namespace)
	w.listen(ctx, c, known)
	mixed := known
	mixed.Notifications = append(slices.Clone(unknown.Notifications), known.Notifications...)
	for range 2 { // it was not made by looking
		for _, q := range w.queues(ctx, c, mixed) {
			if want := q.Topics[0].Topic == w.topic; q.Exists != want || q.Messages != 0 || !want && q.Consumers != 0 {
				w.Errorf("got %+v, want that it exists: %t", q, want)
			}
		}
	}
}

// queuesHarmless looks at what there is and at what there is not while messages flow.
func queuesHarmless(ctx context.Context, w *world) {
	c := w.open(ctx)
	src := w.events("", w.topic)
	l := w.listen(ctx, c, src)
	mixed := src
	mixed.Notifications = append(slices.Clone(w.events("", "nowhere-"+w.namespace).Notifications), src.Notifications...)
	const n = 200
	sent := make([]*driver.Message, n)
	for i := range sent {
		sent[i] = w.event(w.topic, "info")
	}
	flow := later(func() (struct{}, error) {
		for _, m := range sent {
			if err := c.Send(ctx, []*driver.Message{m}); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	inspect := w.inspector(c)
	var failed error
	for range 20 {
		if _, err := inspect.Queues(ctx, mixed.Notifications, ""); err != nil && failed == nil {
			failed = err
		}
	}
	if _, err := wait(ctx, w, flow, "sending while somebody looks"); err != nil {
		w.Fatalf("send while somebody looks: %v", err)
	}
	if failed != nil {
		w.Fatalf("inspect queues while messages are sent: %v", failed)
	}
	got := w.take(ctx, l, n)
	w.wantSame(got, sent)
	for _, d := range got {
		if d.Redelivered {
			w.Errorf("%s came as redelivered: somebody took it before", d.UniqueID)
		}
	}
}

func queuesCount(ctx context.Context, w *world) {
	c := w.open(ctx)
	src := w.events("", w.topic)
	l := w.listen(ctx, c, src)
	sent := w.eventsSent(ctx, c, 6)
	w.wantMessages(ctx, c, src, 6)
	got := w.receive(ctx, l, len(sent))
	w.wantMessages(ctx, c, src, 0)
	w.settle(ctx, l, driver.Accepted, got[:2]...)
	w.closeListener(ctx, l)
	w.wantMessages(ctx, c, src, 4)
}

func queuesConsumers(ctx context.Context, w *world) {
	a, b := w.open(ctx), w.open(ctx)
	src := w.events("", w.topic)
	src.Notifications = src.Notifications[:1]
	w.wantConsumers(ctx, a, src, 0)
	one, two := w.listen(ctx, a, src), w.listen(ctx, b, src)
	pollOne := later(func() ([]*driver.Delivery, error) { return one.Poll(ctx, 1) })
	pollTwo := later(func() ([]*driver.Delivery, error) { return two.Poll(ctx, 1) })
	w.wantConsumers(ctx, a, src, 2)
	w.closeListener(ctx, two)
	_, err := wait(ctx, w, pollTwo, "Poll of a closed listener")
	w.wantReason(err, driver.ReasonClosed, "Poll of a closed listener")
	w.wantConsumers(ctx, a, src, 1)
	w.closeListener(ctx, one)
	_, err = wait(ctx, w, pollOne, "Poll of a closed listener")
	w.wantReason(err, driver.ReasonClosed, "Poll of a closed listener")
	w.wantConsumers(ctx, a, src, 0)
}

// awayPatience is how long Queues is let wait for a broker that is away.
const awayPatience = 300 * time.Millisecond

func queuesAway(ctx context.Context, w *world) {
	c := w.open(ctx)
	src := w.events("", w.topic)
	w.send(ctx, c, w.event(w.topic, "info"))
	w.h.StopBroker(ctx, w.TB, w.namespace)
	short, cancel := context.WithTimeout(ctx, awayPatience)
	defer cancel()
	_, err := w.inspector(c).Queues(short, src.Notifications, "")
	if err == nil || short.Err() == nil {
		w.Errorf("without a broker it returned %v, with time left: %t", err, short.Err() == nil)
	}
	asked := later(func() ([]driver.QueueStatus, error) { return w.inspector(c).Queues(ctx, src.Notifications, "") })
	w.h.StartBroker(ctx, w.TB, w.namespace)
	queues, err := wait(ctx, w, asked, "Queues after the broker came back")
	if err != nil || len(queues) != len(src.Notifications) {
		w.Fatalf("asked while the broker was away: %s", fmt.Sprint(queues, err))
	}
}
