// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/registry"
	"github.com/parleymq/parley/plugins/zmq/internal/wire"
)

// TestVerdicts: what becomes of a message that nobody can take, and when.
func TestVerdicts(t *testing.T) {
	mandatory := func(m *driver.Message) { m.Mandatory = true }
	failFast := func(m *driver.Message) { m.FailFast = true }
	short := func(m *driver.Message) { m.TimeLeft = 150 * time.Millisecond }
	// A peer has so long to say that it is busy: one that did not is in doubt.
	const busyTime = 4 * time.Second
	patient := func(m *driver.Message) { m.TimeLeft = busyTime }
	const enough = time.Second
	for _, tt := range []struct {
		name        string
		prepare     func(*world, *Node)
		message     *driver.Message
		change      func(*driver.Message)
		ctx         time.Duration // 0: testWait
		want        driver.Reason // "": no error
		after, most time.Duration
	}{
		{name: "mandatory", message: cast("t", "m"), change: mandatory, want: driver.ReasonNoRoute, after: 100 * time.Millisecond, most: enough},
		{name: "fail fast", message: cast("t", "m"), change: failFast, want: driver.ReasonNoRoute, most: 80 * time.Millisecond},
		{name: "time", message: cast("t", "m"), change: short, want: driver.ReasonNoRoute, after: 150 * time.Millisecond, most: enough},
		{name: "over before", message: cast("t", "m"), change: func(m *driver.Message) { m.TimeLeft = -1 }, want: driver.ReasonExpired, most: 80 * time.Millisecond},
		{name: "ctx", message: cast("t", "m"), ctx: 150 * time.Millisecond, want: driver.ReasonNoRoute, after: 150 * time.Millisecond, most: enough},
		{name: "fanout to nobody", message: fanoutTo("t", "m"), most: 80 * time.Millisecond},
		{name: "notification", message: notify("t", "m"), change: short, want: driver.ReasonNoRoute, after: 150 * time.Millisecond, most: enough},
		{name: "reply to a stranger", message: reply("r", "m"), after: 90 * time.Millisecond, most: enough},
		{name: "mandatory reply", message: reply("r", "m"), change: mandatory, want: driver.ReasonNoRoute, after: 90 * time.Millisecond, most: enough},
		{name: "registry away", prepare: func(w *world, _ *Node) { w.memory.fail(errors.New("gone fishing")) },
			message: cast("t", "m"), change: mandatory, want: driver.ReasonNotConnected, after: 100 * time.Millisecond, most: enough},
		{name: "away, fail fast", prepare: awayServer, message: cast("t", "m"), change: failFast, want: driver.ReasonNotConnected, most: 80 * time.Millisecond},
		{name: "away, mandatory, ctx", prepare: awayServer, message: cast("t", "m"), change: mandatory, ctx: 300 * time.Millisecond,
			want: driver.ReasonNotConnected, after: 300 * time.Millisecond, most: enough},
		{name: "away, time", prepare: awayServer, message: cast("t", "m"), change: short, want: driver.ReasonExpired, after: 150 * time.Millisecond, most: enough},
		{name: "busy, fail fast", prepare: busyServer, message: cast("t", "m"), change: failFast, want: driver.ReasonBrokerBlocked, most: 80 * time.Millisecond},
		{name: "busy, ctx", prepare: busyServer, message: cast("t", "m"), ctx: busyTime, want: driver.ReasonBrokerBlocked, after: busyTime, most: busyTime + enough},
		{name: "busy, time", prepare: busyServer, message: cast("t", "m"), change: patient, want: driver.ReasonExpired, after: busyTime, most: busyTime + enough},
		{name: "headers", message: cast("t", "m"), change: func(m *driver.Message) { m.Headers = map[string]string{"x": "\xff"} }, want: driver.ReasonUnsupported, most: 80 * time.Millisecond},
		{name: "too large", message: cast("t", "m"), change: func(m *driver.Message) { m.Body = make([]byte, 1<<20) }, want: driver.ReasonMessageTooLarge, most: 80 * time.Millisecond},
		{name: "a name too long", message: cast("t", "m"), change: func(m *driver.Message) { m.UniqueID = string(make([]byte, 1<<20-1)) }, want: driver.ReasonMessageTooLarge, most: 80 * time.Millisecond},
		{name: "a name that is none", message: cast("t", "m"), change: func(m *driver.Message) { m.CallID = "\xff" }, want: driver.ReasonUnsupported, most: 80 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			n := w.open(func(o *Options) { o.MaxMessage, o.QueueMessages = 1<<20, 1 })
			if tt.prepare != nil {
				tt.prepare(w, n)
			}
			if tt.change != nil {
				tt.change(tt.message)
			}
			limit := tt.ctx
			if limit == 0 {
				limit = testWait
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			from := time.Now()
			err := n.Send(ctx, []*driver.Message{tt.message})
			if d := time.Since(from); d < tt.after || d > tt.most+onBusyMachine {
				t.Errorf("it took %v, want %v to %v", d, tt.after, tt.most)
			}
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			w.wantError(err, tt.want, false)
			if tt.ctx != 0 && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v does not say that ctx ended", err)
			}
		})
	}
}

// onBusyMachine is what a machine that does other things may add to a wait: less than testWait, for
// which those wait that do not fail at once.
const onBusyMachine = 5 * time.Second

// awayServer makes known a server whose machine does not answer.
func awayServer(w *world, n *Node) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = ln.Close() })
	w.memory.put(strangerID(9), &registry.Record{
		Node: strangerID(9), Version: 1, Endpoints: []string{"tcp://" + ln.Addr().String()}, Targets: []registry.Target{serves("t")},
	})
	w.knows(n, "t", 1)
}

// busyServer makes known a server that takes nothing.
func busyServer(w *world, n *Node) {
	other := w.open(func(o *Options) { o.QueueMessages = 1 })
	l := w.listen(other, server("t", "s"))
	w.knows(n, "t", 1)
	w.mustSend(n, cast("t", "first"))
	_ = l
}

// TestCancelled: what is cancelled while it waits fails at once, and is never delivered.
func TestCancelled(t *testing.T) {
	w := newWorld(t)
	n := w.open()
	ctx, cancel := context.WithCancel(t.Context())
	fate := make(chan error, 1)
	n.SendAsync(ctx, []*driver.Message{cast("t", "cancelled")}, func(_ int, err error) { fate <- err })
	waits := w.begin(n, cast("t", "waits"))
	cancel()
	w.wantError(w.fate(fate), driver.ReasonNoRoute, false)
	l := w.listen(n, server("t", "s"))
	w.accept(l, "waits")
	if err := w.fate(waits); err != nil {
		t.Error(err)
	}
	w.wantNothing(l, 20*time.Millisecond)
	w.idle(n)
}

// TestEarly: before the first discovery nothing is said to be missing.
func TestEarly(t *testing.T) {
	w := newWorld(t)
	served := w.open()
	l := w.listen(served, server("t", "s"))
	nl := w.listen(served, notifications("t", ""))
	w.memory.gate = make(chan struct{})
	n := w.open()
	fast, must := cast("t", "fast"), cast("u", "must")
	fast.FailFast, must.FailFast = true, true
	fates := []<-chan error{w.begin(n, fast), w.begin(n, fanoutTo("t", "fan")), w.begin(n, notify("t", "event"))}
	nobody := w.begin(n, must)
	ctx, cancel := context.WithCancel(t.Context())
	given := make(chan error, 1)
	n.SendAsync(ctx, []*driver.Message{fanoutTo("t", "given up")}, func(_ int, err error) { given <- err })
	cancel()
	w.wantError(w.fate(given), driver.ReasonNoRoute, false)
	select {
	case err := <-nobody:
		t.Errorf("before it is known who is there: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(w.memory.gate)
	got := map[string]bool{}
	for range 2 {
		d := w.poll(l)
		got[d.UniqueID] = true
		w.done(l, d, driver.Accepted)
	}
	if !got["fast"] || !got["fan"] {
		t.Errorf("got %v", got)
	}
	w.accept(nl, "event")
	for _, fate := range fates {
		if err := w.fate(fate); err != nil {
			t.Error(err)
		}
	}
	w.wantError(w.fate(nobody), driver.ReasonNoRoute, false)
	w.idle(n)
}

// TestEarlyClose: what waits for the first discovery is told its fate when the node closes.
func TestEarlyClose(t *testing.T) {
	w := newWorld(t)
	w.memory.gate = make(chan struct{})
	defer close(w.memory.gate)
	n := w.open()
	fate := w.begin(n, fanoutTo("t", "fan"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		t.Error(err)
	}
	w.wantError(w.fate(fate), driver.ReasonClosed, false)
	w.wantError(w.send(n, cast("t", "late")), driver.ReasonClosed, false)
}

// TestWaitsForListener: what waits goes out in order, with the time that is left.
func TestWaitsForListener(t *testing.T) {
	w := newWorld(t)
	n := w.open()
	first, second := cast("t", "1"), cast("t", "2")
	first.TimeLeft = time.Minute
	fates := []<-chan error{w.begin(n, first), w.begin(n, second)}
	other := w.open()
	time.AfterFunc(50*time.Millisecond, func() { w.memory.put(strangerID(5), nil) }) // a change of nothing
	s := w.dial(n, strangerID(1))
	s.quiet(60 * time.Millisecond)
	l := w.listen(other, server("t", "s"))
	if d := w.accept(l, "1"); d.TimeLeft > time.Minute-50*time.Millisecond || d.TimeLeft < 50*time.Second {
		t.Errorf("%v left of a minute", d.TimeLeft)
	}
	w.accept(l, "2")
	for _, fate := range fates {
		if err := w.fate(fate); err != nil {
			t.Error(err)
		}
	}
	w.idle(n)
}

// TestGivenBackLate: a cast that a receiver had for longer than HoldTime is not dropped when it comes
// back and another one is busy.
func TestGivenBackLate(t *testing.T) {
	w := newWorld(t)
	n := w.open(func(o *Options) { o.HoldTime = 50 * time.Millisecond })
	a := w.dial(n, strangerID(1)).join("a", serves("t"))
	w.begin(n, cast("t", "m"))
	seq := a.next(wire.Cast).Seq
	a.ack(seq)
	a.quiet(100 * time.Millisecond)
	b := w.dial(n, strangerID(2)).join("b", serves("t"))
	a.change("a")
	a.nack(seq, wire.NackBack, 0)
	for range 3 {
		b.nack(b.next(wire.Cast).Seq, wire.NackBusy, 60*time.Millisecond)
	}
	b.settleDone(b.next(wire.Cast).Seq)
	w.idle(n)
}

// TestHoldTime: without a listener it is, with a log record.
func TestHoldTime(t *testing.T) {
	w := newWorld(t)
	n := w.open(func(o *Options) { o.HoldTime = 100 * time.Millisecond })
	a := w.dial(n, strangerID(1)).join("a", serves("t"))
	w.begin(n, cast("t", "m"))
	seq := a.next(wire.Cast).Seq
	a.ack(seq)
	a.quiet(120 * time.Millisecond)
	a.change("a")
	from := time.Now()
	a.nack(seq, wire.NackBack, 0)
	w.idle(n)
	if d := time.Since(from); d < 90*time.Millisecond {
		t.Errorf("it was dropped after %v", d)
	}
	if w.log.has("a message that was taken before is given up") != 1 {
		t.Error("nothing was logged")
	}
}

// TestReplyHeld: a reply waits for its reader, whose name is known, and its sender does not.
func TestReplyHeld(t *testing.T) {
	w := newWorld(t)
	n, caller := w.open(), w.open()
	l := w.listen(caller, replies("r"))
	w.until("the name is known", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.knowsReply("r")
	})
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.until("the listener is gone", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.routes.to[key{kind: driver.SourceReplies, server: "r"}]) == 0
	})
	w.mustSend(n, reply("r", "1"))
	again := w.open()
	w.accept(w.listen(again, replies("r")), "r-1")
	w.idle(n)
}
