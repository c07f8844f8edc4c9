// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"

	"github.com/parleymq/parley/plugin/driver"
)

func listenCases() []Case {
	fanout := []driver.Capability{driver.CapRPC, driver.CapFanout}
	return []Case{
		{Rule: "LISTEN-1", Name: "a message sent right after Listen returned is received", needs: rpc(), run: listenThenSend},
		{Rule: "LISTEN-1", Name: "a fanout sent right after Listen returned is received", needs: fanout, run: listenThenFanout},
		{Rule: "LISTEN-2", Name: "two listeners of one source share its messages", needs: rpc(), run: listenShared},
		{Rule: "LISTEN-2", Name: "listening again takes the queue over", needs: rpc(), run: listenAgain},
		{Rule: "LISTEN-4", Name: "a server hears its topic and its own name", needs: rpc(), run: hearTopicAndServer},
		{Rule: "LISTEN-4", Name: "a message to one server reaches no other", needs: rpc(), run: hearOnlyOwn},
		{Rule: "LISTEN-4", Name: "servers of a topic share what is sent to it", needs: rpc(), run: shareTopic},
		{Rule: "LISTEN-4", Name: "a topic does not hear another", needs: rpc(), run: otherTopic},
		{Rule: "LISTEN-4", Name: "every server of a topic hears a fanout once", needs: fanout, run: hearFanout},
		{Rule: "LISTEN-4", Name: "a fanout that nobody hears is no error", needs: fanout, run: fanoutToNobody},
	}
}

func listenThenSend(ctx context.Context, w *world) {
	sender, receiver := w.open(ctx), w.open(ctx)
	l := w.listen(ctx, receiver, w.server("one"))
	messages := []*driver.Message{w.cast(), w.castTo("one")}
	w.send(ctx, sender, messages...)
	w.wantSet(w.take(ctx, l, 2), messages)
}

func listenThenFanout(ctx context.Context, w *world) {
	sender, receiver := w.open(ctx), w.open(ctx)
	l := w.listen(ctx, receiver, w.server("one"))
	m := w.fanout()
	w.send(ctx, sender, m)
	w.wantNext(ctx, l, m, "the topic is new")
}

// listenShared proves by counting: what the two got together is each message once.
func listenShared(ctx context.Context, w *world) {
	a, b := w.open(ctx), w.open(ctx)
	la, lb := w.listen(ctx, a, w.server("one")), w.listen(ctx, b, w.server("one"))
	messages := w.casts(40)
	w.send(ctx, a, messages...)
	w.wantSet(w.takeFrom(ctx, len(messages), la, lb), messages)
}

func listenAgain(ctx context.Context, w *world) {
	c := w.open(ctx)
	w.closeListener(ctx, w.listen(ctx, c, w.server("one")))
	again := w.listen(ctx, c, w.server("one"))
	m := w.castTo("one")
	w.send(ctx, c, m)
	w.wantNext(ctx, again, m, "the topic is new")
}

func hearTopicAndServer(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	messages := []*driver.Message{w.cast(), w.castTo("one"), w.cast(), w.castTo("one")}
	w.send(ctx, c, messages...)
	w.wantSet(w.take(ctx, l, len(messages)), messages)
}

func hearOnlyOwn(ctx context.Context, w *world) {
	c := w.open(ctx)
	one, two := w.listen(ctx, c, w.server("one")), w.listen(ctx, c, w.server("two"))
	forOne, forTwo := make([]*driver.Message, 10), make([]*driver.Message, 10)
	for i := range forOne {
		forOne[i], forTwo[i] = w.castTo("one"), w.castTo("two")
	}
	w.send(ctx, c, forOne...)
	w.send(ctx, c, forTwo...)
	w.wantSame(w.take(ctx, one, 10), forOne)
	w.wantSame(w.take(ctx, two, 10), forTwo)
}

func shareTopic(ctx context.Context, w *world) {
	c := w.open(ctx)
	one, two := w.listen(ctx, c, w.server("one")), w.listen(ctx, c, w.server("two"))
	messages := w.casts(40)
	w.send(ctx, c, messages...)
	w.wantSet(w.takeFrom(ctx, len(messages), one, two), messages)
}

func otherTopic(ctx context.Context, w *world) {
	c := w.open(ctx)
	other := w.server("one")
	other.Target.Topic += "-other"
	l, lo := w.listen(ctx, c, w.server("one")), w.listen(ctx, c, other)
	here, there := w.cast(), w.cast()
	there.Target.Topic = other.Target.Topic
	w.send(ctx, c, there, here)
	w.wantNext(ctx, l, here, "it was sent to another topic")
	w.wantNext(ctx, lo, there, "it was sent to another topic")
}

func hearFanout(ctx context.Context, w *world) {
	a, b := w.open(ctx), w.open(ctx)
	listeners := []driver.Listener{
		w.listen(ctx, a, w.server("one")), w.listen(ctx, a, w.server("two")),
		w.listen(ctx, b, w.server("three")),
	}
	messages := []*driver.Message{w.fanout(), w.fanout(), w.fanout()}
	w.send(ctx, a, messages...)
	for _, l := range listeners {
		w.wantSame(w.take(ctx, l, len(messages)), messages)
	}
}

func fanoutToNobody(ctx context.Context, w *world) {
	c := w.open(ctx)
	m := w.nowhere()
	m.Target.Fanout = true
	w.send(ctx, c, m)
}

// takeFrom takes n messages from whichever of the listeners has them.
func (w *world) takeFrom(ctx context.Context, n int, listeners ...driver.Listener) []*driver.Delivery {
	w.Helper()
	type batch struct {
		from       driver.Listener
		deliveries []*driver.Delivery
		err        error
	}
	polling, cancel := context.WithCancel(ctx)
	batches := make(chan batch)
	stopped := make(chan struct{}, len(listeners))
	for _, l := range listeners {
		go func() {
			defer func() { stopped <- struct{}{} }()
			for polling.Err() == nil {
				ds, err := l.Poll(polling, 3)
				if endedBy(polling, err) {
					return
				}
				select {
				case batches <- batch{l, ds, err}:
				case <-polling.Done():
				}
				if err != nil {
					return
				}
			}
		}()
	}
	defer func() {
		cancel()
		for range listeners {
			<-stopped
		}
	}()
	var got []*driver.Delivery
	for len(got) < n {
		select {
		case b := <-batches:
			if b.err != nil {
				w.Fatalf("poll: %v, after %d of %d messages", b.err, len(got), n)
			}
			w.settle(ctx, b.from, driver.Accepted, b.deliveries...)
			got = append(got, b.deliveries...)
		case <-ctx.Done():
			w.Fatalf("%d of %d messages arrived: %v", len(got), n, idsOf(got))
		}
	}
	return got
}
