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
	"github.com/parleymq/parley/plugins/internal/testkit"
)

// testPrefetch asserts that the broker gives no more ahead than the largest max of Poll.
func testPrefetch(b *bench) {
	c := b.open(nil)
	l := b.listen(c, server(driver.SettleOnDone))
	var batch []*driver.Message
	for i := range 50 {
		batch = append(batch, testkit.Cast(i))
	}
	b.send(c, batch...)
	var ch *amqp.Channel
	ds := testkit.Poll(soon(b.t), b.t, l, 4, 4)
	if n := b.ready(&ch, "v"); n < 46 {
		b.t.Errorf("the broker gave %d of 50 for Poll(4)", 50-n)
	}
	if more, err := l.Poll(testkit.Within(b.t, 200*time.Millisecond), 4); err == nil {
		b.t.Errorf("%d more came while 4 are not done", len(more))
	}
	testkit.Settle(soon(b.t), b.t, l, driver.Accepted, ds...)
	for left := 46; left > 0; { // a larger max raises it
		more := testkit.Poll(soon(b.t), b.t, l, 1, 20)
		testkit.Settle(soon(b.t), b.t, l, driver.Accepted, more...)
		left -= len(more)
	}
}

func testPollEnds(b *bench) {
	c := b.open(nil)
	l := b.listen(c, server(driver.SettleOnPoll))
	testkit.Nothing(b.t, l)
	b.send(c, testkit.Cast(1))
	if ds := testkit.Poll(soon(b.t), b.t, l, 1, 50); len(ds) != 1 {
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
	b.send(c, testkit.Cast(1), testkit.Cast(2), testkit.Cast(3))
	testkit.Poll(soon(b.t), b.t, l, 3, 10)
	testkit.Must(b.t, l.Close(soon(b.t)))
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
		testkit.Must(b.t, ch.PublishWithContext(b.t.Context(), "openstack", "v", true, false, p))
	}
	testkit.Must(b.t, ch.PublishWithContext(b.t.Context(), "openstack", "v", true, false,
		amqp.Publishing{ContentType: "application/json", Body: []byte(good)}))
	d := testkit.Poll(soon(b.t), b.t, l, 1, 10)[0]
	if d.Kind != driver.Cast || d.Redelivered {
		b.t.Errorf("got %+v", d)
	}
	testkit.Settle(soon(b.t), b.t, l, driver.Accepted, d)
	if n := b.logs.Count("message rejected"); n != 6 {
		b.t.Errorf("%d of 6 rejections logged:\n%s", n, b.logs)
	}
	if strings.Contains(b.logs.String(), secret) {
		b.t.Errorf("the payload is in the log:\n%s", b.logs)
	}
	testkit.Must(b.t, l.Close(soon(b.t)))
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
		batch = append(batch, testkit.Cast(i))
	}
	b.send(c, batch...)
	ds := testkit.Poll(soon(b.t), b.t, l, 10, 10)
	testkit.Settle(soon(b.t), b.t, l, driver.Accepted, ds[9], ds[0], ds[5], ds[5])
	testkit.Settle(soon(b.t), b.t, l, driver.Accepted, ds[0]) // twice
	testkit.Settle(soon(b.t), b.t, l, driver.Rejected, ds[1], ds[2])
	testkit.Settle(soon(b.t), b.t, l, driver.Requeued, ds[3])
	testkit.Must(b.t, l.Done(soon(b.t), []driver.Outcome{{Token: 999, Result: driver.Accepted}, {Token: 1<<tagBits | 12345, Result: driver.Accepted}}))
	again := testkit.Poll(soon(b.t), b.t, l, 1, 10)[0]
	if !again.Redelivered || string(again.Body) != string(ds[3].Body) {
		b.t.Errorf("got %+v", again)
	}
	var wg sync.WaitGroup
	for _, d := range []*driver.Delivery{ds[4], ds[6], ds[7], ds[8], again} {
		wg.Go(func() { testkit.Settle(soon(b.t), b.t, l, driver.Accepted, d) })
	}
	wg.Wait()
	testkit.Must(b.t, l.Close(soon(b.t)))
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
	b.send(c, testkit.Cast(1), testkit.Cast(2), testkit.Cast(3))
	ds := testkit.Poll(soon(b.t), b.t, l, 2, 2)
	testkit.Settle(soon(b.t), b.t, l, driver.Accepted, ds[0])
	testkit.Must(b.t, l.Close(soon(b.t)))
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
	testkit.Must(b.t, c.Close(soon(b.t)))
	testkit.FailsWith(b.t, c.Send(soon(b.t), []*driver.Message{testkit.Cast(1)}), driver.ReasonClosed)
	if _, err := c.Listen(soon(b.t), server(driver.SettleOnPoll)); driver.ReasonOf(err) != driver.ReasonClosed {
		b.t.Errorf("Listen: %v", err)
	}
}

func testStop(b *bench) {
	c := b.open(nil)
	l := b.listen(c, server(driver.SettleOnPoll))
	b.send(c, testkit.Cast(1), testkit.Cast(2), testkit.Cast(3))
	testkit.Poll(soon(b.t), b.t, l, 1, 1)
	testkit.Must(b.t, l.Stop(soon(b.t)))
	testkit.Must(b.t, l.Stop(soon(b.t)))
	b.send(c, testkit.Cast(4))
	rest := 0
	for {
		ds, err := l.Poll(soon(b.t), 10)
		if err != nil {
			testkit.FailsWith(b.t, err, driver.ReasonClosed)
			break
		}
		rest += len(ds)
	}
	testkit.Must(b.t, l.Close(soon(b.t)))
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
	b.send(c, testkit.Cast(0))
	ds := testkit.Poll(soon(b.t), b.t, l, 1, 10)
	b.send(c, testkit.Cast(1), testkit.Cast(2), testkit.Cast(3))
	ds = append(ds, testkit.Poll(soon(b.t), b.t, l, 1, 1)...)
	testkit.Must(b.t, l.Stop(soon(b.t)))
	testkit.Must(b.t, l.Stop(soon(b.t)))
	_, err := l.Poll(soon(b.t), 10)
	testkit.FailsWith(b.t, err, driver.ReasonClosed)
	other := b.listen(c, server(driver.SettleOnDone))
	testkit.Settle(soon(b.t), b.t, other, driver.Accepted, testkit.Poll(soon(b.t), b.t, other, 2, 10)...)
	testkit.Settle(soon(b.t), b.t, l, driver.Accepted, ds...)
	testkit.Must(b.t, l.Close(soon(b.t)))
	testkit.Must(b.t, other.Close(soon(b.t)))
	var ch *amqp.Channel
	if n := b.ready(&ch, "v"); n != 0 {
		b.t.Errorf("%d messages came back", n)
	}
}

// testStopAway stops a listener that has no channel, and again when it has one.
func testStopAway(b *bench) {
	p := newProxy(b.t, b.broker.Addr())
	c := open(b.t, testkit.Config(b.t, newDriver(), p.listener.Addr().String(), b.vhost, b.logs, nil))
	l := b.listen(c, server(driver.SettleOnDone))
	current := func() *consumer {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.current
	}
	l.drop(current())
	testkit.Must(b.t, l.Stop(soon(b.t)))
	p.cut()
	eventually(b.t, "it has a channel again", func() bool { return current() != nil })
	testkit.Must(b.t, l.Stop(soon(b.t)))
	_, err := l.Poll(soon(b.t), 10)
	testkit.FailsWith(b.t, err, driver.ReasonClosed)
}
