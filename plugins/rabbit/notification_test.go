// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
)

// TestNotifications has what options do to the queues of notifications, at a broker.
func TestNotifications(t *testing.T) {
	broker := peertest.RunSharedRabbitMQ(t)
	for _, tt := range []struct {
		name string
		run  func(*bench)
	}{
		{"max length drops the oldest", testMaxLength},
		{"max bytes", testMaxBytes},
		{"a full queue refuses", testOverflowRejects},
		{"time to live", testNotificationTTL},
		{"limits of quorum queues", testQuorumLimits},
		{"limits are adopted as they are", testAdoptLimits},
		{"another difference is none of the limits", testLimitsPrecondition},
		{"pools are upstream's", testPoolsUnlimited},
		{"queues that are not declared", testUndeclared},
		{"a warning of queues nobody listens to", testUnheard},
		{"a queue has one purpose", testPurposes},
		{"requests from the queue of a pool", testRequestsFromPool},
		{"bytes on the wire", testNotificationBytes},
		{"queues of the broker", testQueues},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(newBench(t, broker)) })
	}
}

func event(n int) *driver.Message {
	return &driver.Message{
		Kind: driver.Notification, Target: driver.Target{Exchange: "openstack", Topic: "n"}, Priority: "info",
		Format: driver.NotificationV2, UniqueID: uuid.NewString(),
		Body: fmt.Appendf(nil, `{"event_type": "e", "payload": {"n": %d}}`, n),
	}
}

func events(pool string) driver.Source {
	return driver.Source{Kind: driver.SourceNotifications, Settle: driver.SettleOnDone, Pool: pool, Notifications: []driver.NotificationTopic{
		{Exchange: "openstack", Topic: "n", Priority: "info"},
	}}
}

// waiting are the numbers of the events that wait in n.info.
func (b *bench) waiting() string {
	b.t.Helper()
	ch := b.raw()
	var numbers []string
	for {
		d, ok, err := ch.Get("n.info", true)
		testkit.Must(b.t, err)
		if !ok {
			return strings.Join(numbers, " ")
		}
		_, rest, _ := strings.Cut(string(d.Body), `{\"n\": `)
		n, _, _ := strings.Cut(rest, "}")
		numbers = append(numbers, n)
	}
}

func testMaxLength(b *bench) {
	c := b.open(map[string]string{optNotifyMaxLength: "3"})
	for n := range 5 {
		b.send(c, event(n))
	}
	if got := b.waiting(); got != "2 3 4" {
		b.t.Errorf("%q wait", got)
	}
}

func testMaxBytes(b *bench) {
	c := b.open(map[string]string{optNotifyMaxBytes: "1000"})
	for n := range 20 {
		b.send(c, event(n))
	}
	got := strings.Fields(b.waiting())
	if len(got) == 0 || len(got) > 8 || got[len(got)-1] != "19" {
		b.t.Errorf("%v wait", got)
	}
}

func testOverflowRejects(b *bench) {
	c := b.open(map[string]string{optNotifyMaxLength: "2", optNotifyOverflow: overflowReject})
	var err error
	sent := 0
	for ; err == nil && sent < 10; sent++ {
		err = c.Send(soon(b.t), []*driver.Message{event(sent)})
	}
	e := testkit.Failure(b.t, err, driver.ReasonBrokerBlocked)
	// Another queue may have taken it.
	if !e.InDoubt || !e.Retryable || !strings.Contains(e.Message, "n.info") || !strings.Contains(e.Hint, optNotifyMaxLength) {
		b.t.Errorf("got %+v", e)
	}
	if got := strings.Fields(b.waiting()); len(got) != sent-1 || got[0] != "0" {
		b.t.Errorf("%v wait, %d were taken", got, sent-1)
	}
	b.send(c, event(7)) // there is room again
}

func testNotificationTTL(b *bench) {
	c := b.open(map[string]string{optNotifyTTL: "0.1"})
	b.send(c, event(1))
	var ch *amqp.Channel
	eventually(b.t, "the notification leaves the queue", func() bool { return b.ready(&ch, "n.info") == 0 })
	l := b.listen(c, events(""))
	testkit.Nothing(b.t, l)
}

func testQuorumLimits(b *bench) {
	c := b.open(map[string]string{optNotifyMaxLength: "3", optNotifyTTL: "3600", optQuorumQueue: "true"})
	for n := range 5 {
		b.send(c, event(n))
	}
	if got := strings.Fields(b.waiting()); len(got) != 3 || got[2] != "4" {
		b.t.Errorf("%v wait", got)
	}
}

// testAdoptLimits: what Python made has no limits, and what has limits serves who has none.
func testAdoptLimits(b *bench) {
	const adopted = "using an object of the broker as it is"
	ch := b.raw()
	testkit.Must(b.t, ch.ExchangeDeclare("openstack", "topic", false, false, false, false, nil))
	_, err := ch.QueueDeclare("n.info", false, false, false, false, nil)
	testkit.Must(b.t, err)
	limited := b.open(map[string]string{optNotifyMaxLength: "1", optNotifyTTL: "60"})
	b.send(limited, event(0), event(1), event(2))
	if got := b.waiting(); got != "0 1 2" {
		b.t.Errorf("%q wait", got)
	}
	if b.logs.Count(adopted) == 0 || b.logs.Count("x-m") == 0 {
		b.t.Errorf("it was not said:\n%s", b.logs)
	}
	_, err = ch.QueueDelete("n.info", false, false, false)
	testkit.Must(b.t, err)
	_, err = ch.QueueDeclare("n.info", false, false, false, false, amqp.Table{
		"x-max-length": int32(2), "x-max-length-bytes": int64(1 << 20), "x-message-ttl": int32(60000), "x-overflow": "drop-head",
	})
	testkit.Must(b.t, err)
	plain := b.open(nil)
	l := b.listen(plain, events(""))
	b.send(plain, event(3))
	testkit.Settle(soon(b.t), b.t, l, driver.Accepted, testkit.Poll(soon(b.t), b.t, l, 1, 1)...)
}

// testLimitsPrecondition: a queue that is not what it should be in another way is an error as ever,
// and so are limits of the queue of a pool.
func testLimitsPrecondition(b *bench) {
	ch := b.raw()
	_, err := ch.QueueDeclare("n.info", false, false, false, false, amqp.Table{"x-single-active-consumer": true})
	testkit.Must(b.t, err)
	_, err = ch.QueueDeclare("p", false, false, false, false, amqp.Table{"x-max-length": int32(5)})
	testkit.Must(b.t, err)
	c := b.open(map[string]string{optNotifyMaxLength: "1"})
	for _, pool := range []string{"p"} {
		_, err = c.Listen(soon(b.t), events(pool))
		if e := testkit.Failure(b.t, err, driver.ReasonPrecondition); !strings.Contains(e.Message, "x-max-length") {
			b.t.Errorf("got %v", e)
		}
	}
}

// testPoolsUnlimited declares again, as Python does, what a pool made.
func testPoolsUnlimited(b *bench) {
	c := b.open(map[string]string{optNotifyMaxLength: "1", optNotifyTTL: "0.001", optNotifyDeclare: "false"})
	l := b.listen(c, events("p"))
	b.send(c, event(0), event(1))
	ch := b.raw()
	q, err := ch.QueueDeclare("p", false, false, false, false, nil)
	if err != nil || q.Messages != 2 {
		b.t.Fatalf("got %+v, %v", q, err)
	}
	if n := b.ready(&ch, "n.info"); n != -1 {
		b.t.Errorf("there is a queue of listeners without a pool, with %d", n)
	}
	testkit.Settle(soon(b.t), b.t, l, driver.Accepted, testkit.Poll(soon(b.t), b.t, l, 2, 2)...)
}

func testUndeclared(b *bench) {
	c := b.open(map[string]string{optNotifyDeclare: "false"})
	b.send(c, event(0)) // vanishes
	var ch *amqp.Channel
	if n := b.ready(&ch, "n.info"); n != -1 {
		b.t.Errorf("the notifier declared a queue, with %d", n)
	}
	must1 := event(1)
	must1.Mandatory = true
	testkit.FailsWith(b.t, c.Send(soon(b.t), []*driver.Message{must1}), driver.ReasonNoRoute)
	l := b.listen(c, events("")) // declares its own
	b.send(c, event(2))
	ds := testkit.Poll(soon(b.t), b.t, l, 1, 5)
	if !strings.Contains(string(ds[0].Body), `"n": 2`) {
		b.t.Errorf("got %s", ds[0].Body)
	}
	testkit.Settle(soon(b.t), b.t, l, driver.Accepted, ds...)
}

const gather = "notifications gather in a queue that nobody listens to"

func testUnheard(b *bench) {
	c := b.open(nil)
	c.set.watchInterval = 20 * time.Millisecond
	b.send(c, event(0)) // made by that, so that there was nothing in it
	eventually(b.t, "the look at the queue warns", func() bool { return b.logs.Count(gather) == 1 })
	if b.logs.Count("queue=n.info messages=1") != 1 || b.logs.Count(optNotifyMaxLength) != 1 {
		b.t.Errorf("got %s", b.logs)
	}
	// Once for a queue: the next looks say nothing.
	c.pub.watch.look(b.t.Context())
	c.pub.watch.look(b.t.Context())
	if n := b.logs.Count(gather); n != 1 {
		b.t.Errorf("%d warnings", n)
	}
	c.pub.watch.mu.Lock()
	c.pub.watch.warned["n.info"] = time.Now().Add(-warnPause)
	c.pub.watch.mu.Unlock()
	eventually(b.t, "it warns again after the pause", func() bool { return b.logs.Count(gather) == 2 })

	// The next connection is told when it declares.
	other := &bench{t: b.t, broker: b.broker, vhost: b.vhost, logs: &testkit.Logs{}}
	c2 := other.open(nil)
	other.send(c2, event(1))
	if n := other.logs.Count(gather); n != 1 {
		b.t.Errorf("%d warnings of the declaration", n)
	}
	l := other.listen(c2, events(""))
	testkit.Settle(soon(b.t), b.t, l, driver.Accepted, testkit.Poll(soon(b.t), b.t, l, 2, 2)...)
	c3 := &bench{t: b.t, broker: b.broker, vhost: b.vhost, logs: &testkit.Logs{}}
	c3.send(c3.open(nil), event(2))
	if n := c3.logs.Count(gather); n != 0 {
		b.t.Errorf("%d warnings of a queue that is listened to", n)
	}
}

func testPurposes(b *bench) {
	for _, tt := range []struct {
		name          string
		first, second driver.Source
		fails         bool
	}{
		{"a pool like the topic of a server", server(driver.SettleOnPoll), events("v"), true},
		{"a pool like a server", server(driver.SettleOnPoll), events("v.s1"), true},
		{"a server with the topic of a pool", events("v"), server(driver.SettleOnPoll), true},
		{"a pool like the queue of others", events(""), withTopic(events("n.info"), "m"), true},
		{"a pool and the same again", events("p"), events("p"), false},
		{"a pool of two topics", events("p"), withTopic(events("p"), "m"), false},
		{"a server and the same again", server(driver.SettleOnPoll), server(driver.SettleOnPoll), false},
		{"two pools", events("p"), events("q"), false},
	} {
		c := b.open(nil)
		b.listen(c, tt.first)
		_, err := c.Listen(soon(b.t), tt.second)
		if fails := driver.ReasonOf(err) == driver.ReasonConfig; fails != tt.fails || !fails && err != nil {
			b.t.Errorf("%s: %v", tt.name, err)
		}
		if tt.fails && (driver.AsError(err).Hint == "" || !strings.Contains(err.Error(), " is for ")) {
			b.t.Errorf("%s: %v", tt.name, err)
		}
	}
	c := b.open(nil)
	_, err := c.Listen(soon(b.t), events("n.info"))
	testkit.FailsWith(b.t, err, driver.ReasonConfig)
	l := b.listen(c, server(driver.SettleOnPoll))
	testkit.Must(b.t, l.Close(soon(b.t)))
	b.listen(c, events("v")) // the name is free again
}

func withTopic(src driver.Source, topic string) driver.Source {
	src.Notifications = []driver.NotificationTopic{{Exchange: "openstack", Topic: topic, Priority: "info"}}
	return src
}

// testRequestsFromPool: who named a pool like the topic of another application gets its requests.
// The driver tells what they are, so that the core can say it.
func testRequestsFromPool(b *bench) {
	servers, listeners := b.open(nil), b.open(nil)
	testkit.Must(b.t, b.listen(servers, server(driver.SettleOnPoll)).Close(soon(b.t)))
	l := b.listen(listeners, events("v"))
	b.send(servers, testkit.Cast(1), event(2))
	kinds := make(map[driver.Kind]int)
	ds := testkit.Poll(soon(b.t), b.t, l, 2, 2)
	for _, d := range ds {
		kinds[d.Kind]++
	}
	if kinds[driver.Cast] != 1 || kinds[driver.Notification] != 1 {
		b.t.Errorf("got %v", kinds)
	}
	testkit.Settle(soon(b.t), b.t, l, driver.Rejected, ds...)
}

// testNotificationBytes compares what is at the broker with what Python sends (docs/COMPATIBILITY.md
// and sdk/envelope's golden files have its bodies).
func testNotificationBytes(b *bench) {
	const body = `{"message_id": "1a137c9f-1dd0-4580-83c4-0ddc7b33e39f", "publisher_id": "compute.host1", ` +
		`"event_type": "compute.instance.create.end", "priority": "INFO", "payload": {"id": 1}, "timestamp": "2026-11-22 07:25:14.107463"`
	ids := `, "_unique_id": "43a1eb5ccea4429db9416ea2028ec132", "_context_user": "alice"}`
	c := b.open(nil)
	l := b.listen(c, events(""))
	ch := b.raw()
	for format, want := range map[driver.NotificationFormat]string{
		driver.NotificationV1: body + ids,
		driver.NotificationV2: `{"oslo.version": "2.0", "oslo.message": ` + strconv.Quote(body+ids) + `}`,
	} {
		for _, headers := range []map[string]string{nil, {"traceparent": "00-1-2-01"}} {
			m := event(0)
			m.Format, m.UniqueID, m.Body, m.Context = format, "43a1eb5ccea4429db9416ea2028ec132", []byte(body+"}"), []byte(`{"user": "alice"}`)
			m.Headers = headers
			b.send(c, m)
			d, ok, err := ch.Get("n.info", true)
			if err != nil || !ok {
				b.t.Fatalf("no message: %v", err)
			}
			if got := string(d.Body); got != want {
				b.t.Errorf("format %d:\n%s\nwant\n%s", format, got, want)
			}
			if d.ContentType != "application/json" || d.ContentEncoding != "utf-8" || d.DeliveryMode != 2 || d.Priority != 0 ||
				d.Exchange != "openstack" || d.RoutingKey != "n.info" || len(d.Headers) != len(headers) || d.Expiration != "" ||
				d.MessageId+d.CorrelationId+d.ReplyTo+d.Type+d.UserId+d.AppId != "" || !d.Timestamp.IsZero() {
				b.t.Errorf("got %+v", d)
			}
			b.send(c, m)
			got := testkit.Poll(soon(b.t), b.t, l, 1, 1)[0]
			if got.Format != format || got.Headers["traceparent"] != headers["traceparent"] || got.UniqueID != m.UniqueID {
				b.t.Errorf("format %d: received %+v", format, got)
			}
			testkit.Settle(soon(b.t), b.t, l, driver.Accepted, got)
			testkit.Must(b.t, l.Close(soon(b.t)))
			l = b.listen(c, events("")) // that takes nothing before it is polled
		}
	}
}

// testQueues looks at queues of two exchanges, which are one, and of names that are too long.
func testQueues(b *bench) {
	c := b.open(nil)
	topics := []driver.NotificationTopic{
		{Exchange: "openstack", Topic: "n", Priority: "info"}, {Exchange: "other", Topic: "n", Priority: "info"},
		{Exchange: "openstack", Topic: "n", Priority: "error"},
	}
	b.send(c, event(0))
	got, err := c.Queues(soon(b.t), topics, "")
	testkit.Must(b.t, err)
	if len(got) != 2 || got[0].Name != "n.info" || !got[0].Exists || got[0].Messages != 1 || len(got[0].Topics) != 2 || got[1].Name != "n.error" || got[1].Exists {
		b.t.Errorf("got %+v", got)
	}
	got, err = c.Queues(soon(b.t), topics, "p")
	testkit.Must(b.t, err)
	if len(got) != 1 || got[0].Name != "p" || got[0].Exists || len(got[0].Topics) != 3 || got[0].Pool != "p" {
		b.t.Errorf("got %+v", got)
	}
	topics[0].Topic = strings.Repeat("t", 300)
	_, err = c.Queues(soon(b.t), topics, "")
	testkit.FailsWith(b.t, err, driver.ReasonConfig)
}
