// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"

	"github.com/parleymq/parley/plugin/driver"
)

func scopedCases() []Case {
	scoped := []driver.Capability{driver.CapRPC, driver.CapFanout, driver.CapScopedFanout}
	unscoped := []driver.Capability{driver.CapRPC, driver.CapFanout, driver.CapUnscopedFanout}
	return []Case{
		{Rule: "LISTEN-8", Name: "scoped fanouts are heard by servers that are Scoped, the others by the others", needs: scoped, run: scopedApart},
		{Rule: "LISTEN-8", Name: "a scoped fanout stays in its exchange", needs: scoped, run: scopedStays},
		{Rule: "LISTEN-8", Name: "a Scoped server hears its topic and its own name", needs: scoped, run: scopedHearsAll},
		{Rule: "LISTEN-8", Name: "names that look alike are told apart", needs: scoped, run: scopedNames},
		{Rule: string(driver.CapUnscopedFanout), Name: "a fanout reaches the servers of its topic in every exchange", needs: unscoped, run: unscopedReaches},
		{Rule: "LISTEN-4", Name: "without unscoped_fanout a fanout stays in its exchange", needs: unscoped[:2], lacks: driver.CapUnscopedFanout, run: fanoutStays},
	}
}

// scopedServer is a server that hears the scoped fanouts.
func (w *world) scopedServer(name string) driver.Source {
	src := w.server(name)
	src.Target.Scoped = true
	return src
}

func (w *world) scopedFanout() *driver.Message {
	m := w.fanout()
	m.Target.Scoped = true
	return m
}

// in returns src in another exchange.
func in(exchange string, src driver.Source) driver.Source {
	src.Target.Exchange = exchange
	return src
}

func (w *world) otherExchange() string { return w.exchange + "-other" }

func scopedApart(ctx context.Context, w *world) {
	c := w.open(ctx)
	one, two := w.listen(ctx, c, w.scopedServer("one")), w.listen(ctx, w.open(ctx), w.scopedServer("two"))
	plain := w.listen(ctx, c, w.server("three"))
	wide, narrow := w.fanout(), w.scopedFanout()
	wideAgain, narrowAgain := w.fanout(), w.scopedFanout()
	w.send(ctx, c, wide, narrow, wideAgain, narrowAgain)
	for _, l := range []driver.Listener{one, two} {
		w.wantSame(w.take(ctx, l, 2), []*driver.Message{narrow, narrowAgain})
	}
	w.wantSame(w.take(ctx, plain, 2), []*driver.Message{wide, wideAgain})
}

func scopedStays(ctx context.Context, w *world) {
	c := w.open(ctx)
	here, there := w.listen(ctx, c, w.scopedServer("one")), w.listen(ctx, c, in(w.otherExchange(), w.scopedServer("two")))
	mine, theirs := w.scopedFanout(), w.scopedFanout()
	theirs.Target.Exchange = w.otherExchange()
	mineAgain := w.scopedFanout()
	w.send(ctx, c, mine, theirs, mineAgain)
	w.wantSame(w.take(ctx, here, 2), []*driver.Message{mine, mineAgain})
	w.wantNext(ctx, there, theirs, "it was sent in another exchange")
}

func scopedHearsAll(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.scopedServer("one"))
	messages := []*driver.Message{w.cast(), w.castTo("one"), w.scopedFanout()}
	w.send(ctx, c, messages...)
	w.wantSet(w.take(ctx, l, len(messages)), messages)
}

// scopedNames has pairs of exchange and topic that are the same text when they are put together.
func scopedNames(ctx context.Context, w *world) {
	c := w.open(ctx)
	first := in(w.exchange, w.scopedServer("one"))
	first.Target.Topic = "part." + w.topic
	second := in(w.exchange+".part", w.scopedServer("two"))
	one, two := w.listen(ctx, c, first), w.listen(ctx, c, second)
	toOne, toTwo := w.scopedFanout(), w.scopedFanout()
	toOne.Target.Topic, toTwo.Target.Exchange = first.Target.Topic, second.Target.Exchange
	w.send(ctx, c, toTwo, toOne)
	w.wantNext(ctx, one, toOne, "it was sent to another exchange and topic")
	w.wantNext(ctx, two, toTwo, "it was sent to another exchange and topic")
}

func unscopedReaches(ctx context.Context, w *world) {
	c := w.open(ctx)
	here, there := w.listen(ctx, c, w.server("one")), w.listen(ctx, c, in(w.otherExchange(), w.server("two")))
	m := w.fanout()
	w.send(ctx, c, m)
	w.wantNext(ctx, here, m, "the topic is new")
	w.wantNext(ctx, there, m, "the topic is new")
}

func fanoutStays(ctx context.Context, w *world) {
	c := w.open(ctx)
	there := w.listen(ctx, c, in(w.otherExchange(), w.server("two")))
	mine, theirs := w.fanout(), w.fanout()
	theirs.Target.Exchange = w.otherExchange()
	w.send(ctx, c, mine, theirs)
	w.wantNext(ctx, there, theirs, "it was sent in another exchange")
}
