// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

func pollCases() []Case {
	return []Case{
		{Rule: "POLL-1", Name: "Poll returns at most max", needs: rpc(), run: pollMax},
		{Rule: "POLL-1", Name: "a listener that asked for one keeps the rest for others", needs: rpc(), run: pollPrefetch},
		{Rule: "POLL-2", Name: "Poll returns what is there and does not wait for more", needs: rpc(), run: pollNoWait},
		{Rule: "POLL-3", Name: "Poll ends with its ctx and works again", needs: rpc(), run: pollEnds},
		{Rule: "POLL-3", Name: "a Poll that ends loses nothing", needs: rpc(), run: pollEndsOften},
		{Rule: "POLL-3", Name: "a Poll that ends loses nothing that is settled on poll", needs: rpc(), run: pollEndsOftenOnPoll},
		{Rule: "POLL-5", Name: "what is settled on poll does not come again", needs: rpc(), run: pollSettles},
		{Rule: "POLL-9", Name: "no more is settled on poll than was polled for", needs: rpc(), run: pollWithin},
		{Rule: "POLL-6", Name: "a message that cannot be decoded is dropped", needs: rpc(), hook: needsMalformed, run: pollMalformed},
	}
}

func pollMax(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	sent := w.casts(20)
	w.send(ctx, c, sent...)
	var got []*driver.Delivery
	for _, limit := range []int{1, 3, 7, 100} {
		for len(got) < len(sent) {
			ds, err := l.Poll(ctx, limit)
			if err != nil {
				w.Fatalf("poll for %d: %v", limit, err)
			}
			if len(ds) == 0 || len(ds) > limit {
				w.Fatalf("Poll with max %d returned %d messages", limit, len(ds))
			}
			w.settle(ctx, l, driver.Accepted, ds...)
			got = append(got, ds...)
			if limit < 100 {
				break // one Poll of each size, and the last takes what is left
			}
		}
	}
	w.wantSame(got, sent)
}

// pollPrefetch proves the bound by counting: the first listener has one and may have asked
// for one ahead. Without a broker its driver may refuse the others, which then wait in Send, or
// give them back when somebody else asks.
func pollPrefetch(ctx context.Context, w *world) {
	c := w.open(ctx)
	lazy := w.listen(ctx, c, w.server("lazy"))
	sent := w.casts(200)
	all := w.sendAside(ctx, c, sent...)
	first := w.receive(ctx, lazy, 1)
	busy := w.listen(ctx, w.open(ctx), w.server("busy"))
	w.take(ctx, busy, len(sent)-2)
	w.settle(ctx, lazy, driver.Accepted, first...)
	all()
}

func pollNoWait(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	for range 3 {
		m := w.cast()
		w.send(ctx, c, m)
		ds, err := l.Poll(ctx, 100)
		if err != nil {
			w.Fatalf("one message was sent, Poll with max 100: %v", err)
		}
		w.wantSame(ds, []*driver.Message{m})
		w.settle(ctx, l, driver.Accepted, ds...)
	}
}

func pollEnds(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))

	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if ds, err := l.Poll(short, 10); !endedBy(short, err) {
		w.Fatalf("Poll with nothing there, when its deadline passed: %d messages and %v", len(ds), err)
	}
	cancelled, cancelNow := context.WithCancel(ctx)
	polled := later(func() ([]*driver.Delivery, error) { return l.Poll(cancelled, 10) })
	cancelNow()
	if ds, err := wait(ctx, w, polled, "a Poll whose ctx was cancelled"); !endedBy(cancelled, err) {
		w.Fatalf("Poll with nothing there, when it was cancelled: %d messages and %v", len(ds), err)
	}
	m := w.cast()
	w.send(ctx, c, m)
	w.wantNext(ctx, l, m, "the topic is new")
}

func pollEndsOften(ctx context.Context, w *world)       { w.pollShortly(ctx, w.server("one")) }
func pollEndsOftenOnPoll(ctx context.Context, w *world) { w.pollShortly(ctx, w.atMostOnce()) }

// pollShortly receives by Polls that end at about the moment when messages arrive.
func (w *world) pollShortly(ctx context.Context, src driver.Source) {
	w.Helper()
	c := w.open(ctx)
	l := w.listen(ctx, c, src)
	sent := w.casts(300)
	sending := later(func() (struct{}, error) {
		for i := range sent {
			if err := c.Send(ctx, sent[i:i+1]); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	var got []*driver.Delivery
	for i := 0; len(got) < len(sent); i++ {
		short, cancel := context.WithTimeout(ctx, time.Duration(i%8)*100*time.Microsecond)
		ds, err := l.Poll(short, 4)
		if err != nil && !endedBy(short, err) {
			w.Fatalf("poll: %v", err)
		}
		cancel()
		if ctx.Err() != nil {
			w.Fatalf("%d of %d messages arrived", len(got), len(sent))
		}
		if src.Settle == driver.SettleOnDone && len(ds) > 0 {
			w.settle(ctx, l, driver.Accepted, ds...)
		}
		got = append(got, ds...)
	}
	if _, err := wait(ctx, w, sending, "Send"); err != nil {
		w.Fatalf("send: %v", err)
	}
	w.wantSet(got, sent) // what went back to the broker may have lost its place
}

func pollSettles(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.atMostOnce())
	sent := w.casts(5)
	w.send(ctx, c, sent...)
	w.wantSame(w.receive(ctx, l, len(sent)), sent)
	w.closeListener(ctx, l)
	w.wantNothingLeft(ctx, c, "Poll had acknowledged it")
}

// pollWithin polls as the host's side of the process boundary does: for so many messages, while
// others arrive, and then not again. What it did not get is for others.
func pollWithin(ctx context.Context, w *world) {
	const rounds, credit = 20, 6
	sender, receiver := w.open(ctx), w.open(ctx)
	sent := w.casts(2 * rounds * credit)
	l := w.listen(ctx, receiver, w.atMostOnce())
	sending := later(func() (struct{}, error) {
		for i := range sent {
			if err := sender.Send(ctx, sent[i:i+1]); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	got := make([]*driver.Delivery, 0, len(sent))
	for range rounds {
		got = append(got, w.receive(ctx, l, credit)...)
		w.closeListener(ctx, l)
		l = w.listen(ctx, receiver, w.atMostOnce())
	}
	w.closeListener(ctx, l)
	other := w.listen(ctx, w.open(ctx), w.server("one"))
	got = append(got, w.take(ctx, other, len(sent)-len(got))...)
	if _, err := wait(ctx, w, sending, "Send"); err != nil {
		w.Fatalf("send: %v", err)
	}
	w.wantSet(got, sent)
}

func pollMalformed(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	w.h.SendMalformed(ctx, w.TB, w.namespace, driver.Target{Exchange: w.exchange, Topic: w.topic})
	m := w.cast()
	w.send(ctx, c, m)
	w.wantNext(ctx, l, m, "it cannot be decoded")
	w.closeListener(ctx, l)
	w.wantNothingLeft(ctx, c, "it cannot be decoded")
}
