// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"fmt"
	"strconv"

	"github.com/parleymq/parley/plugin/driver"
)

func notificationCases() []Case {
	events := []driver.Capability{driver.CapNotifications}
	requeue := []driver.Capability{driver.CapNotifications, driver.CapRequeue}
	pools := []driver.Capability{driver.CapNotifications, driver.CapPools}
	return []Case{
		{Rule: string(driver.CapNotifications), Name: "both formats arrive whole", needs: events, run: notifyFormats},
		{Rule: string(driver.CapNotifications), Name: "a listener hears its topics and priorities and no others", needs: events, run: notifyPriorities},
		{Rule: string(driver.CapNotifications), Name: "listeners without a pool share", needs: events, run: notifyShared},
		{Rule: string(driver.CapNotifications), Name: "a requeued notification comes again", needs: requeue, run: notifyRequeue},
		{Rule: string(driver.CapPools), Name: "each pool gets every notification once", needs: pools, run: notifyPools},
	}
}

func (w *world) events(pool string, topics ...string) driver.Source {
	src := driver.Source{Kind: driver.SourceNotifications, Settle: driver.SettleOnDone}
	if pool != "" {
		src.Pool = pool + "-" + w.namespace
	}
	for _, t := range topics {
		for _, p := range []string{"info", "error"} {
			src.Notifications = append(src.Notifications,
				driver.NotificationTopic{Exchange: w.exchange, Topic: t, Priority: p})
		}
	}
	return src
}

func (w *world) event(topic, priority string) *driver.Message {
	w.sent++
	id := w.namespace + "-" + strconv.Itoa(w.sent)
	return &driver.Message{
		Kind: driver.Notification, Target: driver.Target{Exchange: w.exchange, Topic: topic},
		Priority: priority, Format: driver.NotificationV2, UniqueID: id, Context: []byte(`{"user":"ü"}`),
		Body: fmt.Appendf(nil, `{"message_id":%q,"publisher_id":"compute.host1","event_type":"instance.start",`+
			`"priority":%q,"payload":{"n":%d},"timestamp":"2026-01-02 03:04:05.000006"}`, id, priority, w.sent),
	}
}

func notifyFormats(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.events("", w.topic))
	for _, format := range []driver.NotificationFormat{driver.NotificationV1, driver.NotificationV2} {
		m := w.event(w.topic, "info")
		m.Format = format
		w.send(ctx, c, m)
		d := w.take(ctx, l, 1)[0]
		if d.Kind != driver.Notification || d.UniqueID != m.UniqueID {
			w.Errorf("format %d: sent notification %s, received %s %s", format, m.UniqueID, d.Kind, d.UniqueID)
		}
		if !sameJSON(d.Body, m.Body) || !sameJSON(d.Context, m.Context) {
			w.Errorf("format %d: sent %s in %s, received %s in %s", format, m.Body, m.Context, d.Body, d.Context)
		}
	}
}

func notifyPriorities(ctx context.Context, w *world) {
	c := w.open(ctx)
	second := w.topic + "-second"
	l := w.listen(ctx, c, w.events("", w.topic, second))
	other := w.listen(ctx, c, w.events("", w.topic+"-other"))
	mine := []*driver.Message{
		w.event(w.topic, "info"), w.event(second, "error"), w.event(w.topic, "error"), w.event(second, "info"),
	}
	theirs := w.event(w.topic+"-other", "info")
	w.send(ctx, c, theirs)
	defer w.sendUnheard(ctx, c, w.event(w.topic, "debug"))()
	w.send(ctx, c, mine...)
	w.wantSet(w.take(ctx, l, len(mine)), mine)
	w.wantNext(ctx, other, theirs, "it was sent to another topic")
}

// sendUnheard sends what nobody listens for. Without a broker it waits, until what is returned is
// called.
func (w *world) sendUnheard(ctx context.Context, c driver.Conn, m *driver.Message) (end func()) {
	w.Helper()
	if !w.direct() {
		w.send(ctx, c, m)
		return func() {}
	}
	unheard, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Send(unheard, []*driver.Message{m}) // nobody hears it, unless the driver stores it
	}()
	return func() { cancel(); <-ended }
}

func notifyShared(ctx context.Context, w *world) {
	a, b := w.open(ctx), w.open(ctx)
	la, lb := w.listen(ctx, a, w.events("", w.topic)), w.listen(ctx, b, w.events("", w.topic))
	sent := w.eventsSent(ctx, a, 40)
	w.wantSet(w.takeFrom(ctx, len(sent), la, lb), sent)
}

func (w *world) eventsSent(ctx context.Context, c driver.Conn, n int) []*driver.Message {
	w.Helper()
	sent := make([]*driver.Message, n)
	for i := range sent {
		sent[i] = w.event(w.topic, []string{"info", "error"}[i%2])
	}
	w.send(ctx, c, sent...)
	return sent
}

func notifyRequeue(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.events("", w.topic))
	sent := w.eventsSent(ctx, c, 1)
	w.settle(ctx, l, driver.Requeued, w.receive(ctx, l, 1)...)
	w.wantNext(ctx, l, sent[0], "only one was sent")
}

func notifyPools(ctx context.Context, w *world) {
	a, b := w.open(ctx), w.open(ctx)
	none := w.listen(ctx, a, w.events("", w.topic))
	red := w.listen(ctx, a, w.events("red", w.topic))
	blue1, blue2 := w.listen(ctx, a, w.events("blue", w.topic)), w.listen(ctx, b, w.events("blue", w.topic))
	sent := w.eventsSent(ctx, a, 20)
	w.wantSet(w.take(ctx, none, len(sent)), sent)
	w.wantSet(w.take(ctx, red, len(sent)), sent)
	w.wantSet(w.takeFrom(ctx, len(sent), blue1, blue2), sent)
}
