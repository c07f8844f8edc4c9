// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
)

// TestContract runs the rules of package driver against a broker, by their ids. Each case has
// a virtual host of its own.
func TestContract(t *testing.T) {
	broker := peertest.RunSharedRabbitMQ(t)
	for _, confirm := range []string{"false", "true"} {
		options := map[string]string{optConfirmAcks: confirm}
		t.Run("confirm acks "+confirm, func(t *testing.T) { testContract(t, broker, options) })
	}
}

func testContract(t *testing.T, broker *peertest.RabbitMQ, options map[string]string) {
	for _, tt := range []struct {
		name string
		run  func(*bench)
	}{
		{"SEND-1 and LISTEN-1 and LISTEN-4 a server hears topic, server and fanout", testServerHears},
		{"SEND-2 a batch names what failed", testBatchError},
		{"SEND-3 a batch is in order", testOrder},
		{"SEND-5 DONE-2 connection cut under way", testCut},
		{"SEND-6 mandatory", testMandatory},
		{"SEND-6 returns under load", testReturnsUnderLoad},
		{"SEND-7 expired", testExpired},
		{"SEND-7 the broker drops a call", testCallExpires},
		{"ASYNC-1 ASYNC-3 async", testAsync},
		{"ASYNC-4 cancelled", testAsyncCancelled},
		{"LISTEN-2 listening twice", testListenTwice},
		{"LISTEN-3 adopted objects", testAdopt},
		{"LISTEN-3 precondition", testPrecondition},
		{"LISTEN-5 replies keep", testRepliesKeep},
		{"LISTEN-6 queue deleted", testQueueDeleted},
		{"POLL-1 prefetch", testPrefetch},
		{"POLL-2 POLL-3 returns at once, ends with ctx", testPollEnds},
		{"POLL-5 acknowledged on poll", testSettleOnPoll},
		{"POLL-6 malformed", testMalformed},
		{"DONE-1 DONE-2 DONE-3 outcomes", testOutcomes},
		{"CLOSE-2 CLOSE-4 close gives back", testClose},
		{"STOP-1 stop", testStop},
		{"STOP-1 stop gives back", testStopOnDone},
		{"STOP-3 stop while away", testStopAway},
		{"POLL-8 time left", testTimeLeft},
		{"CAP headers", testHeaders},
		{"CAP headers of others", testForeignHeaders},
		{"CAP headers that are reserved", testReservedHeaders},
		{"notifications and pools", testNotifications},
		{"replies of old servers", testOldReplies},
		{"auto-delete fanout exchange", testFanoutExchangeGone},
		{"auto-delete queues", testAutoDelete},
		{"properties on the wire", testProperties},
		{"ping", testPing},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, broker)
			b.options = options
			tt.run(b)
		})
	}
}

func testServerHears(b *bench) {
	c := b.open(nil)
	l := b.listen(c, server(driver.SettleOnPoll))
	one, fan := testkit.Cast(2), testkit.Cast(3)
	one.Target.Server = "s1"
	fan.Target.Fanout = true
	b.send(c, testkit.Cast(1), one, fan)
	got := map[string]bool{}
	for _, d := range testkit.Poll(soon(b.t), b.t, l, 3, 10) {
		got[string(d.Body)] = true
		if d.Kind != driver.Cast || d.Token != 0 || d.UniqueID == "" {
			b.t.Errorf("got %+v", d)
		}
	}
	for n := 1; n <= 3; n++ {
		if !got[fmt.Sprintf(`{"method": "m", "args": {"n": %d}}`, n)] {
			b.t.Errorf("message %d did not come: %v", n, got)
		}
	}
}

func testBatchError(b *bench) {
	c := b.open(nil)
	b.listen(c, server(driver.SettleOnPoll))
	lost := testkit.Cast(2)
	lost.Target.Topic, lost.Mandatory = "nobody", true
	long := testkit.Cast(3)
	long.Target.Topic = strings.Repeat("x", 300)
	err := c.Send(soon(b.t), []*driver.Message{testkit.Cast(1), lost, long, testkit.Cast(4)})
	var be *driver.BatchError
	if !errors.As(err, &be) || len(be.Errs) != 4 || be.Errs[0] != nil || be.Errs[3] != nil {
		b.t.Fatalf("got %#v", err)
	}
	testkit.FailsWith(b.t, be.Errs[1], driver.ReasonNoRoute)
	testkit.FailsWith(b.t, be.Errs[2], driver.ReasonConfig)
}

func testOrder(b *bench) {
	c := b.open(nil)
	l := b.listen(c, server(driver.SettleOnPoll))
	const n = 2000
	var batch []*driver.Message
	for i := range n {
		batch = append(batch, testkit.Cast(i))
	}
	batch[n/2].Body = fmt.Appendf(nil, `{"method": "m", "args": {"n": %d}, "x": %q}`, n/2, strings.Repeat("x", 300<<10))
	b.send(c, batch...)
	for i, d := range testkit.Poll(soon(b.t), b.t, l, n, 100) {
		if want := fmt.Sprintf(`{"method": "m", "args": {"n": %d}`, i); !strings.HasPrefix(string(d.Body), want) {
			b.t.Fatalf("delivery %d is %.60s", i, d.Body)
		}
	}
}

func testMandatory(b *bench) {
	c := b.open(nil)
	m := testkit.Cast(1)
	b.send(c, m) // vanishes in silence
	m.Mandatory = true
	testkit.FailsWith(b.t, c.Send(soon(b.t), []*driver.Message{m}), driver.ReasonNoRoute)
	reply := &driver.Message{Kind: driver.Reply, ReplyTo: "reply_gone", CallID: "c", Body: []byte("1")}
	testkit.FailsWith(b.t, c.Send(soon(b.t), []*driver.Message{reply}), driver.ReasonNoRoute)
	lax := b.open(map[string]string{optDirectMandatory: "false"})
	b.send(lax, reply)
}

// testReturnsUnderLoad has every seventh of many messages unroutable, all under way at once.
func testReturnsUnderLoad(b *bench) {
	c := b.open(nil)
	b.listen(c, server(driver.SettleOnPoll))
	const n = 1000
	var batch []*driver.Message
	for i := range n {
		m := testkit.Cast(i)
		m.Mandatory = true
		if i%7 == 0 {
			m.Target.Server = "nobody"
		}
		batch = append(batch, m)
	}
	err := c.Send(soon(b.t), batch)
	for i := range n {
		e := driver.MessageErr(err, i)
		switch {
		case i%7 == 0:
			testkit.FailsWith(b.t, e, driver.ReasonNoRoute)
		case e != nil:
			b.t.Fatalf("message %d: %v", i, e)
		}
	}
}

func testExpired(b *bench) {
	c := b.open(nil)
	l := b.listen(c, server(driver.SettleOnPoll))
	b.send(c, testkit.Cast(0)) // connected
	testkit.Poll(soon(b.t), b.t, l, 1, 1)
	m := testkit.Cast(1)
	m.TimeLeft = time.Nanosecond
	testkit.FailsWith(b.t, c.Send(soon(b.t), []*driver.Message{m}), driver.ReasonExpired)
	testkit.Nothing(b.t, l)
}

func testCallExpires(b *bench) {
	c := b.open(nil)
	l := b.listen(c, server(driver.SettleOnPoll)) // declares; does not consume before Poll
	m := call("reply_x")
	m.TimeLeft = 100 * time.Millisecond
	b.send(c, m)
	var ch *amqp.Channel
	eventually(b.t, "the call leaves the queue", func() bool { return b.ready(&ch, "v") == 0 })
	testkit.Nothing(b.t, l)
}

func testAsync(b *bench) {
	c := b.open(nil)
	l := b.listen(c, server(driver.SettleOnPoll))
	const n = 6000 // more than may be outstanding (ASYNC-2)
	var mu sync.Mutex
	calls := make(map[int]int)
	var wg sync.WaitGroup
	wg.Add(n)
	received := make(chan []*driver.Delivery, 1)
	go func() { received <- testkit.Poll(soon(b.t), b.t, l, n, 256) }()
	for i := range n {
		c.SendAsync(b.t.Context(), []*driver.Message{testkit.Cast(i)}, func(_ int, err error) {
			mu.Lock()
			calls[i]++
			mu.Unlock()
			if err != nil {
				b.t.Errorf("message %d: %v", i, err)
			}
			wg.Done()
		})
	}
	wg.Wait()
	for i, d := range <-received {
		if want := fmt.Sprintf(`{"method": "m", "args": {"n": %d}}`, i); string(d.Body) != want {
			b.t.Fatalf("delivery %d is %s (ASYNC-3)", i, d.Body)
		}
	}
	for i := range n {
		if calls[i] != 1 {
			b.t.Errorf("done was called %d times for message %d (ASYNC-1)", calls[i], i)
		}
	}
}

func testAsyncCancelled(b *bench) {
	cfg := b.config(nil)
	cfg.Hosts[0].Port = 1 // refused
	c := open(b.t, cfg)
	ctx, cancel := context.WithCancel(b.t.Context())
	result := make(chan error, 1)
	c.SendAsync(ctx, []*driver.Message{testkit.Cast(1)}, func(_ int, err error) { result <- err })
	cancel()
	e := testkit.Failure(b.t, <-result, driver.ReasonCancelled)
	if e.InDoubt {
		b.t.Errorf("in doubt: %v", e)
	}
}

func testListenTwice(b *bench) {
	c := b.open(nil)
	first := b.listen(c, server(driver.SettleOnPoll))
	second := b.listen(c, server(driver.SettleOnPoll))
	fan := testkit.Cast(1)
	fan.Target.Fanout = true
	b.send(c, fan)
	testkit.Poll(soon(b.t), b.t, first, 1, 1)
	testkit.Poll(soon(b.t), b.t, second, 1, 1)
	if first.top.private == second.top.private {
		b.t.Error("two listeners share a fanout queue")
	}
}

func testAdopt(b *bench) {
	ch := b.raw()
	testkit.Must(b.t, ch.ExchangeDeclare("openstack", "topic", true, false, false, false, nil))
	_, err := ch.QueueDeclare("v", true, false, false, false, nil)
	testkit.Must(b.t, err)
	c := b.open(nil)
	l := b.listen(c, server(driver.SettleOnPoll))
	b.send(c, testkit.Cast(1))
	testkit.Poll(soon(b.t), b.t, l, 1, 1)
	if n := b.logs.Count(`using an object of the broker as it is`); n < 2 {
		b.t.Errorf("%d warnings:\n%s", n, b.logs)
	}
}

func testPrecondition(b *bench) {
	ch := b.raw()
	_, err := ch.QueueDeclare("v", false, false, false, false, amqp.Table{"x-max-length": int32(5)})
	testkit.Must(b.t, err)
	c := b.open(nil)
	_, err = c.Listen(soon(b.t), server(driver.SettleOnPoll))
	e := testkit.Failure(b.t, err, driver.ReasonPrecondition)
	if !strings.Contains(e.Message, `"v"`) || !strings.Contains(e.Message, "x-max-length") || e.Hint == "" {
		b.t.Errorf("got %v", e)
	}
	testkit.Must(b.t, ch.ExchangeDeclare("other", "direct", false, false, false, false, nil))
	m := testkit.Cast(1)
	m.Target.Exchange = "other"
	testkit.FailsWith(b.t, c.Send(soon(b.t), []*driver.Message{m}), driver.ReasonPrecondition)
	m.Target.Exchange = "openstack"
	b.send(c, m) // nothing else is harmed
}

func testRepliesKeep(b *bench) {
	c := b.open(nil)
	name := "reply_" + uuid.NewString()
	l := b.listen(c, testkit.Replies(name))
	testkit.Must(b.t, l.Close(soon(b.t)))
	testkit.Must(b.t, c.Close(soon(b.t)))
	c = b.open(nil)
	b.send(c, &driver.Message{Kind: driver.Reply, ReplyTo: name, CallID: "c", UniqueID: "u", Body: []byte(`[1]`)})
	l = b.listen(c, testkit.Replies(name))
	d := testkit.Poll(soon(b.t), b.t, l, 1, 1)[0]
	if d.Kind != driver.Reply || d.CallID != "c" || string(d.Body) != "[1]" || d.Token == 0 {
		b.t.Errorf("got %+v", d)
	}
	testkit.Settle(soon(b.t), b.t, l, driver.Accepted, d)
}

func testQueueDeleted(b *bench) {
	c := b.open(nil)
	l := b.listen(c, server(driver.SettleOnPoll))
	b.send(c, testkit.Cast(1))
	testkit.Poll(soon(b.t), b.t, l, 1, 1)
	ch := b.raw()
	_, err := ch.QueueDelete("v", false, false, false)
	testkit.Must(b.t, err)
	eventually(b.t, "a message is received again", func() bool {
		m := testkit.Cast(2)
		m.Mandatory = true
		return c.Send(soon(b.t), []*driver.Message{m}) == nil
	})
	testkit.Poll(soon(b.t), b.t, l, 1, 1)
}

// testTimeLeft has what peers write into the property.
func testTimeLeft(b *bench) {
	c := b.open(nil)
	l := b.listen(c, server(driver.SettleOnDone))
	ch := b.raw()
	publish := func(expiration string) {
		testkit.Must(b.t, ch.PublishWithContext(soon(b.t), "openstack", "v", false, false, amqp.Publishing{
			ContentType: "application/json", ContentEncoding: "utf-8", Expiration: expiration,
			Body: []byte(`{"method": "m", "_msg_id": "c", "_reply_q": "r"}`),
		}))
	}
	publish("60000")
	publish("")
	ds := testkit.Poll(soon(b.t), b.t, l, 2, 10)
	if got := ds[0].TimeLeft; got <= 0 || got > time.Minute {
		b.t.Errorf("a minute became %v", got)
	}
	if got := ds[1].TimeLeft; got != 0 {
		b.t.Errorf("no limit became %v", got)
	}
	publish("150") // taken ahead, and not asked for in its time
	eventually(b.t, "it is in the driver", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.ready.Len() == 1
	})
	over := time.NewTimer(300 * time.Millisecond)
	defer over.Stop()
	<-over.C
	if got := testkit.Poll(soon(b.t), b.t, l, 1, 10)[0].TimeLeft; got >= 0 {
		b.t.Errorf("it ran out in the driver, and has %v left", got)
	}
}

// testForeignHeaders has headers that no driver of ours sends.
func testForeignHeaders(b *bench) {
	c := b.open(nil)
	l := b.listen(c, server(driver.SettleOnPoll))
	ch := b.raw()
	many := amqp.Table{}
	for i := range driver.MaxHeaders + 1 {
		many[strconv.Itoa(i)] = ""
	}
	for _, tt := range []struct {
		table amqp.Table
		want  int
	}{
		{amqp.Table{"t": "ok", "n": int32(1), "b": true, "l": []any{"x"}, "bin": []byte("x"), "utf": "\xff", "bad\xff": ""}, 1},
		{amqp.Table{"t": "ok", "large": strings.Repeat("x", driver.MaxHeaderBytes)}, 0},
		{many, 0},
	} {
		testkit.Must(b.t, ch.PublishWithContext(soon(b.t), "openstack", "v", false, false, amqp.Publishing{
			ContentType: "application/json", ContentEncoding: "utf-8", Headers: tt.table, Body: []byte(`{"method": "m"}`),
		}))
		if d := testkit.Poll(soon(b.t), b.t, l, 1, 1)[0]; len(d.Headers) != tt.want {
			b.t.Errorf("got %d headers, want %d", len(d.Headers), tt.want)
		}
	}
}

func testReservedHeaders(b *bench) {
	c := b.open(nil)
	for _, name := range []string{"compression", "CC", "BCC", strings.Repeat("x", 256)} {
		m := testkit.Cast(1)
		m.Headers = map[string]string{name: "x"}
		testkit.FailsWith(b.t, c.Send(soon(b.t), []*driver.Message{m}), driver.ReasonConfig)
	}
	b.send(c, testkit.Cast(2))
}

func testHeaders(b *bench) {
	c := b.open(nil)
	l := b.listen(c, server(driver.SettleOnPoll))
	m := testkit.Cast(1)
	m.Headers = map[string]string{"traceparent": "00-x", "empty": ""}
	b.send(c, m)
	d := testkit.Poll(soon(b.t), b.t, l, 1, 1)[0]
	if len(d.Headers) != 2 || d.Headers["traceparent"] != "00-x" {
		b.t.Errorf("got %v", d.Headers)
	}
}

func testNotifications(b *bench) {
	c := b.open(nil)
	note := func(priority string) *driver.Message {
		return &driver.Message{
			Kind: driver.Notification, Target: driver.Target{Exchange: "openstack", Topic: "n"}, Priority: priority,
			Format: driver.NotificationV2, UniqueID: uuid.NewString(),
			Body: []byte(`{"event_type": "e", "payload": {}}`),
		}
	}
	b.send(c, note("info")) // kept for a listener that comes later
	source := func(pool string) driver.Source {
		return driver.Source{Kind: driver.SourceNotifications, Settle: driver.SettleOnDone, Pool: pool, Notifications: []driver.NotificationTopic{
			{Exchange: "openstack", Topic: "n", Priority: "info"}, {Exchange: "openstack", Topic: "n", Priority: "error"},
		}}
	}
	l := b.listen(c, source(""))
	testkit.Settle(soon(b.t), b.t, l, driver.Accepted, testkit.Poll(soon(b.t), b.t, l, 1, 5)...)
	one, two := b.listen(c, source("p1")), b.listen(c, source("p2"))
	b.send(c, note("info"), note("error"))
	for _, l := range []*listener{l, one, two} {
		ds := testkit.Poll(soon(b.t), b.t, l, 2, 5)
		if ds[0].Kind != driver.Notification || ds[0].Format != driver.NotificationV2 {
			b.t.Errorf("got %+v", ds[0])
		}
		testkit.Settle(soon(b.t), b.t, l, driver.Accepted, ds...)
	}
}

func testOldReplies(b *bench) {
	c := b.open(nil)
	l := b.listen(c, testkit.Replies("reply_old"))
	body := `{"result": 5, "failure": null, "ending": true, "_msg_id": "c"}`
	ch := b.raw()
	testkit.Must(b.t, ch.PublishWithContext(b.t.Context(), "reply_old", "reply_old", true, false,
		amqp.Publishing{ContentType: "application/json", Body: []byte(body)}))
	d := testkit.Poll(soon(b.t), b.t, l, 1, 1)[0]
	if d.Kind != driver.Reply || string(d.Body) != "5" {
		b.t.Errorf("got %+v", d)
	}
	testkit.Settle(soon(b.t), b.t, l, driver.Accepted, d)
}

// testFanoutExchangeGone casts to a fanout exchange that was deleted with its last server.
func testFanoutExchangeGone(b *bench) {
	c := b.open(nil)
	fan := testkit.Cast(1)
	fan.Target.Fanout = true
	for range 3 {
		l := b.listen(c, server(driver.SettleOnPoll))
		b.send(c, fan)
		testkit.Poll(soon(b.t), b.t, l, 1, 1)
		testkit.Must(b.t, l.Close(soon(b.t)))
		b.send(c, fan, testkit.Cast(2))
	}
}

// testAutoDelete raises the prefetch, which replaces consumers: the queue must not go with the
// last of them.
func testAutoDelete(b *bench) {
	c := b.open(map[string]string{optAutoDelete: "true"})
	l := b.listen(c, server(driver.SettleOnPoll))
	b.send(c, testkit.Cast(0))
	testkit.Poll(soon(b.t), b.t, l, 1, 1)
	var batch []*driver.Message
	for i := range 50 {
		m := testkit.Cast(i)
		m.Mandatory = true
		batch = append(batch, m)
	}
	b.send(c, batch...)
	testkit.Poll(soon(b.t), b.t, l, 50, 10)
	b.send(c, batch...)
	testkit.Poll(soon(b.t), b.t, l, 50, 40)
}

// testProperties looks at a call as a peer's library sees it (upstream's are in
// oslo_messaging/_drivers/impl_rabbit.py, _publish).
func testProperties(b *bench) {
	ch := b.raw()
	c := b.open(nil)
	b.listen(c, server(driver.SettleOnPoll))
	b.send(c, call("reply_x"), testkit.Cast(1))
	get := func() amqp.Delivery {
		d, ok, err := ch.Get("v", true)
		if err != nil || !ok {
			b.t.Fatalf("no message: %v", err)
		}
		return d
	}
	d := get()
	ms, err := strconv.Atoi(d.Expiration)
	if err != nil || ms < 50_000 || ms > 60_000 {
		b.t.Errorf("the expiration of a call is %q", d.Expiration)
	}
	d.Expiration = ""
	for _, d := range []amqp.Delivery{d, get()} {
		if d.ContentType != "application/json" || d.ContentEncoding != "utf-8" || d.DeliveryMode != 2 || d.Priority != 0 ||
			d.Exchange != "openstack" || d.RoutingKey != "v" || len(d.Headers) != 0 || d.Expiration != "" ||
			d.MessageId+d.CorrelationId+d.ReplyTo+d.Type+d.UserId+d.AppId != "" || !d.Timestamp.IsZero() {
			b.t.Errorf("got %+v", d)
		}
	}
}

func testPing(b *bench) {
	c := b.open(nil)
	testkit.Must(b.t, c.Ping(soon(b.t)))
}
