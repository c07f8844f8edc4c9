// SPDX-License-Identifier: Apache-2.0

package memory_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
)

// What the conformance suite cannot ask of every broker is asked here of this one. Time is
// synctest's: an hour takes no time, and "nothing happens" can be proven.

func open(t *testing.T, d *memory.Driver, options driver.Options) driver.Conn {
	t.Helper()
	c, err := d.Open(t.Context(), driver.Config{VirtualHost: "v", Options: options})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return c
}

func listen(t *testing.T, c driver.Conn, src driver.Source) driver.Listener {
	t.Helper()
	l, err := c.Listen(t.Context(), src)
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	return l
}

func send(t *testing.T, c driver.Conn, messages ...*driver.Message) {
	t.Helper()
	if err := c.Send(t.Context(), messages); err != nil {
		t.Fatalf("send: %v", err)
	}
}

func closeListener(t *testing.T, l driver.Listener) {
	t.Helper()
	if err := l.Close(t.Context()); err != nil {
		t.Fatalf("close: %v", err)
	}
}

// poll returns the UniqueIDs of what is there, or nothing when nothing comes in a second.
func poll(t *testing.T, l driver.Listener, limit int) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	ds, err := l.Poll(ctx, limit)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("poll: %v", err)
	}
	return ids(ds)
}

func ids(ds []*driver.Delivery) string {
	var out []string
	for _, d := range ds {
		id := d.UniqueID
		if d.Redelivered {
			id += "!"
		}
		out = append(out, id)
	}
	return strings.Join(out, " ")
}

func wantPoll(t *testing.T, l driver.Listener, limit int, want string) {
	t.Helper()
	if got := poll(t, l, limit); got != want {
		t.Fatalf("polled %q, want %q", got, want)
	}
}

func cast(id string) *driver.Message {
	return &driver.Message{Kind: driver.Cast, UniqueID: id, Target: driver.Target{Exchange: "x", Topic: "t"}}
}

func fanout(id string) *driver.Message {
	m := cast(id)
	m.Target.Fanout = true
	return m
}

func server(name string) driver.Source {
	return driver.Source{
		Kind: driver.SourceServer, Settle: driver.SettleOnDone,
		Target: driver.Target{Exchange: "x", Topic: "t", Server: name},
	}
}

func onPoll(name string) driver.Source {
	src := server(name)
	src.Settle = driver.SettleOnPoll
	return src
}

func TestExpiredMessagesMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, memory.New(), driver.Options{"queue_limit": "2"})
		l := listen(t, c, onPoll("s"))
		a, b := cast("a"), cast("b")
		a.TimeLeft, b.TimeLeft = time.Minute, time.Hour
		send(t, c, a, b)
		start := time.Now()
		send(t, c, cast("c"))
		if waited := time.Since(start); waited != time.Minute {
			t.Errorf("waited %v for room, want the minute until the first message expired", waited)
		}
		wantPoll(t, l, 9, "b c")
	})
}

func TestTimeLeftIsCountedInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, memory.New(), nil)
		l := listen(t, c, onPoll("s"))
		m := cast("a")
		m.TimeLeft = time.Minute
		send(t, c, m)
		time.Sleep(45 * time.Second) // synctest's: it ends when nothing else can happen
		ds, err := l.Poll(t.Context(), 1)
		if err != nil || ds[0].TimeLeft != 15*time.Second {
			t.Errorf("polled %+v, %v; want 15 seconds left", ds, err)
		}
	})
}

func TestFullQueueHoldsSendersUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, memory.New(), driver.Options{"queue_limit": "1"})
		l := listen(t, c, onPoll("s"))
		send(t, c, cast("a"))
		sent := make(chan error, 1)
		go func() { sent <- c.Send(t.Context(), []*driver.Message{cast("b")}) }()
		synctest.Wait()
		select {
		case err := <-sent:
			t.Fatalf("a full queue took a message: %v", err)
		default:
		}
		wantPoll(t, l, 9, "a")
		if err := <-sent; err != nil {
			t.Fatalf("send after there was room: %v", err)
		}
		wantPoll(t, l, 9, "b")
	})
}

func TestWaitingForRoomEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, memory.New(), driver.Options{"queue_limit": "1"})
		listen(t, c, onPoll("s"))
		send(t, c, cast("a"))

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		wantReason(t, c.Send(ctx, []*driver.Message{cast("b")}), driver.ReasonExpired)

		late := cast("c")
		late.TimeLeft = time.Minute
		wantReason(t, c.Send(t.Context(), []*driver.Message{late}), driver.ReasonExpired)

		cancelled, cancelNow := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancelNow)
		wantReason(t, c.Send(cancelled, []*driver.Message{cast("d")}), driver.ReasonCancelled)
	})
}

func wantReason(t *testing.T, err error, want driver.Reason) {
	t.Helper()
	if driver.ReasonOf(err) != want || err == nil {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestCloseGivesSendsTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := memory.New()
		c, other := open(t, d, driver.Options{"queue_limit": "1"}), open(t, d, nil)
		l := listen(t, other, onPoll("s"))
		send(t, c, cast("a"))
		fates := make(chan error, 2)
		for _, id := range []string{"b", "c"} {
			go func() { fates <- c.Send(t.Context(), []*driver.Message{cast(id)}) }()
		}
		synctest.Wait()

		time.AfterFunc(time.Minute, func() { _, _ = l.Poll(t.Context(), 1) }) // makes room for one
		closing, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		start := time.Now()
		if err := c.Close(closing); err != nil {
			t.Fatalf("close: %v", err)
		}
		if took := time.Since(start); took != time.Hour {
			t.Errorf("Close took %v, want the hour that a send could still have used", took)
		}
		first, second := <-fates, <-fates
		if first != nil {
			t.Errorf("the send that got room: %v", first)
		}
		wantReason(t, second, driver.ReasonClosed)
	})
}

func TestReplyQueueIsForgottenAfterItsTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, memory.New(), driver.Options{"reply_ttl": "60"})
		src := driver.Source{Kind: driver.SourceReplies, ReplyName: "r", Settle: driver.SettleOnPoll}
		reply := &driver.Message{Kind: driver.Reply, ReplyTo: "r", UniqueID: "a", Mandatory: true}

		closeListener(t, listen(t, c, src))
		time.Sleep(59 * time.Second)
		send(t, c, reply)
		l := listen(t, c, src)
		time.Sleep(time.Hour) // a queue with a listener has no age
		wantPoll(t, l, 1, "a")
		closeListener(t, l)

		time.Sleep(time.Minute)
		wantReason(t, c.Send(t.Context(), []*driver.Message{reply}), driver.ReasonNoRoute)
	})
}

func TestListenersOfAQueueTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, memory.New(), nil)
		const n = 4
		polled := make(chan string, n)
		for i := range n {
			l := listen(t, c, onPoll(strconv.Itoa(i)))
			go func() { polled <- poll(t, l, 10) }()
		}
		synctest.Wait() // all wait in Poll
		send(t, c, cast("a"), cast("b"), cast("c"), cast("d"))
		var got []string
		for range n {
			got = append(got, <-polled)
		}
		slices.Sort(got)
		if want := []string{"a", "b", "c", "d"}; !slices.Equal(got, want) {
			t.Errorf("four listeners that waited got %q, want one message each", got)
		}
	})
}

func TestQueuesOfAListenerTakeTurns(t *testing.T) {
	c := open(t, memory.New(), nil)
	l := listen(t, c, onPoll("s"))
	own := cast("own")
	own.Target.Server = "s"
	send(t, c, cast("a"), cast("b"), cast("c"), own, fanout("all"))
	wantPoll(t, l, 3, "a own all")
	wantPoll(t, l, 3, "b c")
}

func TestFanoutStaysInItsExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, memory.New(), nil)
		here, there := server("s"), server("s")
		there.Target.Exchange = "other"
		lh, lt := listen(t, c, here), listen(t, c, there)
		send(t, c, fanout("a"))
		wantPoll(t, lh, 9, "a")
		wantPoll(t, lt, 9, "")
	})
}

func TestVirtualHostsAreApart(t *testing.T) {
	d := memory.New()
	c := open(t, d, nil)
	listen(t, c, server("s"))
	other, err := d.Open(t.Context(), driver.Config{VirtualHost: "w"})
	if err != nil {
		t.Fatal(err)
	}
	m := cast("a")
	m.Mandatory = true
	wantReason(t, other.Send(t.Context(), []*driver.Message{m}), driver.ReasonNoRoute)
	send(t, c, m)
}

func TestCloseKeepsTheOrder(t *testing.T) {
	c := open(t, memory.New(), nil)
	l := listen(t, c, server("s"))
	send(t, c, cast("a"), cast("b"), cast("c"), cast("d"))
	wantPoll(t, l, 3, "a b c")
	closeListener(t, l)
	wantPoll(t, listen(t, c, server("s")), 9, "a! b! c! d")
}

func TestConnCloseClosesItsListeners(t *testing.T) {
	d := memory.New()
	c, other := open(t, d, nil), open(t, d, nil)
	l := listen(t, c, server("s"))
	send(t, c, cast("a"), fanout("all"))
	wantPoll(t, l, 9, "a all")
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := l.Poll(t.Context(), 1)
	wantReason(t, err, driver.ReasonClosed)
	// The fanout was a copy of its own and went with the listener.
	wantPoll(t, listen(t, other, server("s")), 9, "a!")
	wantReason(t, c.Send(t.Context(), []*driver.Message{cast("b")}), driver.ReasonClosed)
	_, err = c.Listen(t.Context(), server("s"))
	wantReason(t, err, driver.ReasonClosed)
}

func TestNotificationsWaitForTheirFirstListener(t *testing.T) {
	c := open(t, memory.New(), nil)
	event := func(id string) *driver.Message {
		return &driver.Message{
			Kind: driver.Notification, UniqueID: id, Priority: "info",
			Target: driver.Target{Exchange: "x", Topic: "t"},
		}
	}
	src := driver.Source{
		Kind:          driver.SourceNotifications,
		Notifications: []driver.NotificationTopic{{Exchange: "x", Topic: "t", Priority: "info"}},
	}
	send(t, c, event("a"))
	wantPoll(t, listen(t, c, src), 9, "a")
}

func TestDeliveriesBelongToTheCore(t *testing.T) {
	c := open(t, memory.New(), nil)
	l := listen(t, c, server("s"))
	m := cast("a")
	m.Body, m.Headers = []byte("body"), map[string]string{"k": "v"}
	send(t, c, m)
	for range 2 {
		ds, err := l.Poll(t.Context(), 1)
		if err != nil || string(ds[0].Body) != "body" || ds[0].Headers["k"] != "v" {
			t.Fatalf("polled %+v, %v", ds, err)
		}
		ds[0].Body[0], ds[0].Headers["k"] = '#', "#"
		if err := l.Done(t.Context(), []driver.Outcome{{Token: ds[0].Token, Result: driver.Requeued}}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPollIsForOneGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, memory.New(), nil)
		l := listen(t, c, onPoll("s"))
		first := make(chan string, 1)
		go func() { first <- poll(t, l, 1) }()
		synctest.Wait()
		_, err := l.Poll(t.Context(), 1)
		wantReason(t, err, driver.ReasonUnsupported)
		send(t, c, cast("a"))
		if got := <-first; got != "a" {
			t.Errorf("the Poll that was first got %q", got)
		}
		_, err = l.Poll(t.Context(), 0)
		wantReason(t, err, driver.ReasonUnsupported)
	})
}

func TestOpenRefusesOptionsItDoesNotKnow(t *testing.T) {
	_, err := memory.New().Open(t.Context(), driver.Config{Options: driver.Options{"queue_limits": "1"}})
	wantReason(t, err, driver.ReasonConfig)
	if err != nil && !strings.Contains(err.Error(), "queue_limit") {
		t.Errorf("no hint in %v", err)
	}
}

func TestOpenReportsReady(t *testing.T) {
	var states []driver.State
	_, err := memory.New().Open(t.Context(), driver.Config{
		Report: func(s driver.State) { states = append(states, s) },
	})
	if err != nil || len(states) != 1 || states[0].Phase != driver.Ready {
		t.Errorf("reported %v, %v", states, err)
	}
}
