// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/plugin/driver"
)

// testPrefetch asserts that the broker gives no more ahead than the largest max of Poll.
func testPrefetch(b *bench) {
	c := b.open(nil)
	l := b.listen(c, server(driver.SettleOnDone))
	var batch []*driver.Message
	for i := range 50 {
		batch = append(batch, cast(i))
	}
	b.send(c, batch...)
	var ch *amqp.Channel
	ds := poll(b.t, l, 4, 4)
	if n := b.ready(&ch, "v"); n < 46 {
		b.t.Errorf("the broker gave %d of 50 for Poll(4)", 50-n)
	}
	if more, err := l.Poll(within(b.t, 200*time.Millisecond), 4); err == nil {
		b.t.Errorf("%d more came while 4 are not done", len(more))
	}
	settleAll(b.t, l, driver.Accepted, ds...)
	for left := 46; left > 0; { // a larger max raises it
		more := poll(b.t, l, 1, 20)
		settleAll(b.t, l, driver.Accepted, more...)
		left -= len(more)
	}
}

func testPollEnds(b *bench) {
	c := b.open(nil)
	l := b.listen(c, server(driver.SettleOnPoll))
	nothing(b.t, l)
	b.send(c, cast(1))
	if ds := poll(b.t, l, 1, 50); len(ds) != 1 {
		b.t.Errorf("got %d", len(ds))
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	cancel()
	if _, err := l.Poll(ctx, 1); !errors.Is(err, context.Canceled) {
		b.t.Errorf("got %v", err)
	}
}

func testSettleOnPoll(b *bench) {
	c := b.open(nil)
	l := b.listen(c, server(driver.SettleOnPoll))
	b.send(c, cast(1), cast(2), cast(3))
	poll(b.t, l, 3, 10)
	must(b.t, l.Close(soon(b.t)))
	var ch *amqp.Channel
	if n := b.ready(&ch, "v"); n != 0 {
		b.t.Errorf("%d messages came back that Poll had returned", n)
	}
}

func testMalformed(b *bench) {
	c := b.open(nil)
	l := b.listen(c, server(driver.SettleOnDone))
	ch := b.raw()
	const secret = "s3cr3t-payload"
	good := `{"method": "m", "args": {}}`
	for _, p := range []amqp.Publishing{
		{ContentType: "text/plain", Body: []byte(good)},
		{Body: []byte(good)},
		{ContentType: "application/json", Body: []byte(`{"method": ` + secret)},
		{ContentType: "application/json", Body: []byte(`["` + secret + `"]`)},
		{ContentType: "application/json", Body: []byte(`{"oslo.version": "2.1", "oslo.message": "{}"}`)},
		{ContentType: "application/json", Body: nil},
	} {
		must(b.t, ch.PublishWithContext(b.t.Context(), "openstack", "v", true, false, p))
	}
	must(b.t, ch.PublishWithContext(b.t.Context(), "openstack", "v", true, false,
		amqp.Publishing{ContentType: "application/json", Body: []byte(good)}))
	d := poll(b.t, l, 1, 10)[0]
	if d.Kind != driver.Cast || d.Redelivered {
		b.t.Errorf("got %+v", d)
	}
	settleAll(b.t, l, driver.Accepted, d)
	if n := b.logs.count("message rejected"); n != 6 {
		b.t.Errorf("%d of 6 rejections logged:\n%s", n, b.logs)
	}
	if strings.Contains(b.logs.String(), secret) {
		b.t.Errorf("the payload is in the log:\n%s", b.logs)
	}
	must(b.t, l.Close(soon(b.t)))
	var ready *amqp.Channel
	if n := b.ready(&ready, "v"); n != 0 {
		b.t.Errorf("%d messages are still there", n)
	}
}

func testOutcomes(b *bench) {
	c := b.open(nil)
	l := b.listen(c, server(driver.SettleOnDone))
	var batch []*driver.Message
	for i := range 10 {
		batch = append(batch, cast(i))
	}
	b.send(c, batch...)
	ds := poll(b.t, l, 10, 10)
	settleAll(b.t, l, driver.Accepted, ds[9], ds[0], ds[5], ds[5])
	settleAll(b.t, l, driver.Accepted, ds[0]) // twice
	settleAll(b.t, l, driver.Rejected, ds[1], ds[2])
	settleAll(b.t, l, driver.Requeued, ds[3])
	must(b.t, l.Done(soon(b.t), []driver.Outcome{{Token: 999, Result: driver.Accepted}, {Token: 1<<tagBits | 12345, Result: driver.Accepted}}))
	again := poll(b.t, l, 1, 10)[0]
	if !again.Redelivered || string(again.Body) != string(ds[3].Body) {
		b.t.Errorf("got %+v", again)
	}
	var wg sync.WaitGroup
	for _, d := range []*driver.Delivery{ds[4], ds[6], ds[7], ds[8], again} {
		wg.Go(func() { settleAll(b.t, l, driver.Accepted, d) })
	}
	wg.Wait()
	must(b.t, l.Close(soon(b.t)))
	var ch *amqp.Channel
	if n := b.ready(&ch, "v"); n != 0 {
		b.t.Errorf("%d messages came back", n)
	}
	if strings.Contains(b.logs.String(), "interrupted") {
		b.t.Errorf("the channel was lost:\n%s", b.logs)
	}
}

func testClose(b *bench) {
	c := b.open(nil)
	l := b.listen(c, server(driver.SettleOnDone))
	private := l.top.private
	b.send(c, cast(1), cast(2), cast(3))
	ds := poll(b.t, l, 2, 2)
	settleAll(b.t, l, driver.Accepted, ds[0])
	must(b.t, l.Close(soon(b.t)))
	var ch *amqp.Channel
	if n := b.ready(&ch, "v"); n != 2 {
		b.t.Errorf("%d messages are back, want 2 (CLOSE-4)", n)
	}
	if n := b.ready(&ch, private); n != -1 {
		b.t.Errorf("the fanout queue is still there (CLOSE-2)")
	}
	if _, err := l.Poll(soon(b.t), 1); driver.ReasonOf(err) != driver.ReasonClosed {
		b.t.Errorf("Poll: %v", err)
	}
	must(b.t, c.Close(soon(b.t)))
	failsWith(b.t, c.Send(soon(b.t), []*driver.Message{cast(1)}), driver.ReasonClosed)
	if _, err := c.Listen(soon(b.t), server(driver.SettleOnPoll)); driver.ReasonOf(err) != driver.ReasonClosed {
		b.t.Errorf("Listen: %v", err)
	}
}

func testStop(b *bench) {
	c := b.open(nil)
	l := b.listen(c, server(driver.SettleOnPoll))
	b.send(c, cast(1), cast(2), cast(3))
	poll(b.t, l, 1, 1)
	must(b.t, l.Stop(soon(b.t)))
	must(b.t, l.Stop(soon(b.t)))
	b.send(c, cast(4))
	rest := 0
	for {
		ds, err := l.Poll(soon(b.t), 10)
		if err != nil {
			failsWith(b.t, err, driver.ReasonClosed)
			break
		}
		rest += len(ds)
	}
	must(b.t, l.Close(soon(b.t)))
	var ch *amqp.Channel
	if n := b.ready(&ch, "v"); n+rest != 3 || n < 1 {
		b.t.Errorf("%d returned after Stop and %d at the broker", rest, n)
	}
}

// testStopOnDone is a server that drains: what it did not return is at the broker, for others,
// before it closes.
func testStopOnDone(b *bench) {
	c := b.open(nil)
	l := b.listen(c, server(driver.SettleOnDone))
	b.send(c, cast(0))
	ds := poll(b.t, l, 1, 10)
	b.send(c, cast(1), cast(2), cast(3))
	ds = append(ds, poll(b.t, l, 1, 1)...)
	must(b.t, l.Stop(soon(b.t)))
	must(b.t, l.Stop(soon(b.t)))
	_, err := l.Poll(soon(b.t), 10)
	failsWith(b.t, err, driver.ReasonClosed)
	other := b.listen(c, server(driver.SettleOnDone))
	settleAll(b.t, other, driver.Accepted, poll(b.t, other, 2, 10)...)
	settleAll(b.t, l, driver.Accepted, ds...)
	must(b.t, l.Close(soon(b.t)))
	must(b.t, other.Close(soon(b.t)))
	var ch *amqp.Channel
	if n := b.ready(&ch, "v"); n != 0 {
		b.t.Errorf("%d messages came back", n)
	}
}

// testStopAway stops a listener that has no channel, and again when it has one.
func testStopAway(b *bench) {
	p := newProxy(b.t, b.broker.Addr())
	c := open(b.t, config(b.t, p.listener.Addr().String(), b.vhost, b.logs, nil))
	l := b.listen(c, server(driver.SettleOnDone))
	current := func() *consumer {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.current
	}
	l.drop(current())
	must(b.t, l.Stop(soon(b.t)))
	p.cut()
	eventually(b.t, "it has a channel again", func() bool { return current() != nil })
	must(b.t, l.Stop(soon(b.t)))
	_, err := l.Poll(soon(b.t), 10)
	failsWith(b.t, err, driver.ReasonClosed)
}
