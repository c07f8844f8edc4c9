// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"

	"github.com/parleymq/parley/plugin/driver"
)

// poolCases are those of notifications that come again, and of their order.
func poolCases() []Case {
	events := []driver.Capability{driver.CapNotifications}
	requeue := []driver.Capability{driver.CapNotifications, driver.CapPools, driver.CapRequeue}
	pools := []driver.Capability{driver.CapNotifications, driver.CapPools}
	headers := []driver.Capability{driver.CapNotifications, driver.CapHeaders}
	return []Case{
		{Rule: string(driver.CapHeaders), Name: "headers arrive with notifications of both formats", needs: headers, run: notifyHeaders},
		{Rule: string(driver.CapNotifications), Name: "the format is told as it was sent", needs: events, run: notifyFormatTold},
		{Rule: "SEND-3", Name: "one listener gets the notifications of a topic and priority in order", needs: events, run: notifyOrder},
		{Rule: "DONE-3", Name: "a requeued notification comes again to its pool and to no other", needs: requeue, run: notifyRequeuePool},
		{Rule: "CLOSE-4", Name: "a notification listener that closes gives back what is not done, to its pool alone", needs: pools, run: notifyGivenBack},
		{Rule: "CLOSE-4", Name: "what is done of notifications does not come again, whoever closes", needs: events, run: notifyDoneForGood},
		{Rule: "LISTEN-7", Name: "a pool keeps what is sent while none of its listeners is there", needs: pools, lacks: driver.CapDirect, run: notifyPoolKeeps},
	}
}

func notifyHeaders(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.events("", w.topic))
	for _, format := range []driver.NotificationFormat{driver.NotificationV1, driver.NotificationV2} {
		m := w.event(w.topic, "info")
		m.Format = format
		m.Headers = map[string]string{"traceparent": "00-1-2-01", "reason": "ä\n\"", "empty": ""}
		w.send(ctx, c, m)
		w.wantHeaders(w.take(ctx, l, 1)[0], m)
	}
}

func notifyFormatTold(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.events("", w.topic))
	for _, format := range []driver.NotificationFormat{driver.NotificationV1, driver.NotificationV2} {
		m := w.event(w.topic, "info")
		m.Format = format
		w.send(ctx, c, m)
		switch got := w.take(ctx, l, 1)[0].Format; got {
		case format:
		case 0:
			w.skip("the wire does not tell the format of a notification")
		default:
			w.Errorf("sent format %d, received %d", format, got)
		}
	}
}

func notifyOrder(ctx context.Context, w *world) {
	c := w.open(ctx)
	src := w.events("", w.topic)
	src.Notifications = src.Notifications[:1]
	l := w.listen(ctx, c, src)
	const batches, size = 10, 20
	sent := make([]*driver.Message, 0, batches*size)
	for range batches {
		batch := make([]*driver.Message, size)
		for i := range batch {
			batch[i] = w.event(w.topic, src.Notifications[0].Priority)
		}
		w.send(ctx, c, batch...)
		sent = append(sent, batch...)
	}
	w.wantSame(w.take(ctx, l, len(sent)), sent)
}

func notifyRequeuePool(ctx context.Context, w *world) {
	a, b := w.open(ctx), w.open(ctx)
	none := w.listen(ctx, a, w.events("", w.topic))
	red, blue := w.listen(ctx, a, w.events("red", w.topic)), w.listen(ctx, b, w.events("blue", w.topic))
	first := w.event(w.topic, "info")
	w.send(ctx, a, first)
	w.wantNext(ctx, none, first, "only one was sent")
	w.wantNext(ctx, blue, first, "only one was sent")
	for range 3 {
		got := w.receive(ctx, red, 1)
		w.wantSame(got, []*driver.Message{first})
		w.settle(ctx, red, driver.Requeued, got...)
	}
	w.wantNext(ctx, red, first, "only one was sent")
	second := w.event(w.topic, "info")
	w.send(ctx, a, second)
	for _, l := range []driver.Listener{none, red, blue} {
		w.wantNext(ctx, l, second, "the pool red alone requeued it")
	}
}

func notifyGivenBack(ctx context.Context, w *world) {
	a, b := w.open(ctx), w.open(ctx)
	red := w.events("red", w.topic)
	dying := w.listen(ctx, a, red)
	blue := w.listen(ctx, b, w.events("blue", w.topic))
	var unheard driver.Listener
	if w.direct() { // a notification is one for each pool, and nobody is to wait for a listener
		unheard = w.listen(ctx, b, w.events("", w.topic))
	}
	sent := w.eventsSent(ctx, b, 10)
	got := w.receive(ctx, dying, len(sent))
	w.wantSet(got, sent)
	w.wantSet(w.take(ctx, blue, len(sent)), sent)
	heir := w.listen(ctx, b, red)
	w.closeListener(ctx, dying)
	w.wantSet(w.take(ctx, heir, len(sent)), sent)
	last := w.event(w.topic, "info")
	w.send(ctx, b, last)
	w.wantNext(ctx, blue, last, "it had been taken by blue, and was given back by red")
	w.wantNext(ctx, heir, last, "it was done")
	if unheard != nil {
		w.wantSet(w.take(ctx, unheard, len(sent)+1), append(sent, last))
	}
}

func notifyDoneForGood(ctx context.Context, w *world) {
	a, b := w.open(ctx), w.open(ctx)
	src := w.events("", w.topic)
	src.Notifications = src.Notifications[:1]
	dying := w.listen(ctx, a, src)
	sent := make([]*driver.Message, 10)
	for i := range sent {
		sent[i] = w.event(w.topic, "info")
	}
	w.send(ctx, b, sent...)
	got := w.receive(ctx, dying, len(sent))
	var done []*driver.Delivery
	var left []*driver.Message
	for i, d := range got {
		if i%2 == 0 {
			done = append(done, d)
		} else {
			left = append(left, sent[i])
		}
	}
	w.settle(ctx, dying, driver.Accepted, done...)
	heir := w.listen(ctx, b, src)
	w.closeListener(ctx, dying)
	w.wantSet(w.take(ctx, heir, len(left)), left)
	last := w.event(w.topic, "info")
	w.send(ctx, b, last)
	w.wantNext(ctx, heir, last, "it was done")
}

func notifyPoolKeeps(ctx context.Context, w *world) {
	c := w.open(ctx)
	red := w.events("red", w.topic)
	w.closeListener(ctx, w.listen(ctx, c, red))
	sent := w.eventsSent(ctx, c, 6)
	w.wantSet(w.take(ctx, w.listen(ctx, c, red), len(sent)), sent)
}
