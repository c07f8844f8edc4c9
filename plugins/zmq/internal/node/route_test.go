// SPDX-License-Identifier: Apache-2.0

package node

import (
	"strconv"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/registry"
	"github.com/parleymq/parley/plugins/zmq/internal/wire"
)

// TestRouteByBurden: of two the one with less to do is given the message.
func TestRouteByBurden(t *testing.T) {
	w := newWorld(t)
	n := w.open()
	busy, idle := w.dial(n, strangerID(1)), w.dial(n, strangerID(2))
	busy.join("a", serves("t"))
	idle.join("b", serves("t"))
	busy.send(&wire.Packet{Type: wire.Welcome, Load: 50})
	w.until("the load is known", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.peers[busy.id].load == 50
	})
	for i := range 20 {
		w.begin(n, cast("t", strconv.Itoa(i)))
		idle.next(wire.Cast)
	}
	busy.quiet(20 * time.Millisecond)
}

// TestRouteInTurn: those with as much to do are given messages in turn.
func TestRouteInTurn(t *testing.T) {
	w := newWorld(t)
	n := w.open()
	var all []*stranger
	for i := range 4 {
		all = append(all, w.dial(n, strangerID(i)).join(strconv.Itoa(i), serves("t")))
	}
	for i := range 40 {
		w.begin(n, cast("t", strconv.Itoa(i)))
	}
	for _, s := range all {
		for range 10 {
			s.next(wire.Cast)
		}
	}
}

// TestRouteToServer: a message to a server goes to nobody else, also with others of its topic.
func TestRouteToServer(t *testing.T) {
	w := newWorld(t)
	n := w.open()
	one, two := serves("t"), serves("t")
	one.Server, two.Server = "one", "two"
	a, b := w.dial(n, strangerID(1)).join("a", one), w.dial(n, strangerID(2)).join("b", two)
	for i := range 10 {
		m := cast("t", strconv.Itoa(i))
		m.Target.Server = "two"
		w.begin(n, m)
		b.next(wire.Cast)
	}
	a.quiet(20 * time.Millisecond)
	m := cast("t", "away")
	m.Target.Server, m.FailFast = "three", true
	w.wantError(w.send(n, m), driver.ReasonNoRoute, false)
}

// TestWindow: a peer that does not answer is given no more than its window, and the rest waits, or
// goes to another.
func TestWindow(t *testing.T) {
	w := newWorld(t)
	n := w.open(func(o *Options) { o.Window = 4 })
	a := w.dial(n, strangerID(1)).join("a", serves("t"))
	for i := range 10 {
		w.begin(n, cast("t", strconv.Itoa(i)))
	}
	var seqs []uint64
	for range 4 {
		seqs = append(seqs, a.next(wire.Cast).Seq)
	}
	a.quiet(20 * time.Millisecond)
	a.ack(seqs[0])
	if got := a.next(wire.Cast).Message.UniqueID; got != "4" {
		t.Errorf("got %s, want 4: what waits goes in order", got)
	}
	a.quiet(20 * time.Millisecond)
	b := w.dial(n, strangerID(2)).join("b", serves("t"))
	for want := 5; want < 9; want++ {
		if got := b.next(wire.Cast).Message.UniqueID; got != strconv.Itoa(want) {
			t.Errorf("got %s, want %d", got, want)
		}
	}
	a.send(&wire.Packet{Type: wire.Settle, Done: []wire.Range{{From: 0, To: 1 << 60}}})
	if got := a.next(wire.Cast).Message.UniqueID; got != "9" {
		t.Errorf("got %s, want 9", got)
	}
}

// TestAvoid: who refused a message is left alone with it for a while, and it goes to another at
// once.
func TestAvoid(t *testing.T) {
	w := newWorld(t)
	n := w.open()
	a := w.dial(n, strangerID(1)).join("a", serves("t"))
	fate := w.begin(n, cast("t", "m"))
	first := a.next(wire.Cast)
	a.nack(first.Seq, wire.NackBusy, 100*time.Millisecond)
	from := time.Now()
	second := a.next(wire.Cast)
	if d := time.Since(from); d < 90*time.Millisecond || second.Seq == first.Seq || second.Attempt <= first.Attempt {
		t.Errorf("it came again after %v as %d (attempt %d), was %d (attempt %d)", d, second.Seq, second.Attempt, first.Seq, first.Attempt)
	}
	a.nack(second.Seq, wire.NackBusy, time.Hour) // which is too long
	b := w.dial(n, strangerID(2)).join("b", serves("t"))
	b.settleDone(b.next(wire.Cast).Seq)
	if err := w.fate(fate); err != nil {
		t.Error(err)
	}
	a.quiet(20 * time.Millisecond)
}

// TestKeys: what a record listens to is found by what is sent.
func TestKeys(t *testing.T) {
	for _, tt := range []struct {
		message driver.Message
		target  registry.Target
		want    bool
	}{
		{*cast("t", ""), serves("t"), true},
		{*cast("t", ""), serves("u"), false},
		{*cast("t", ""), registry.Target{Kind: driver.SourceServer, Exchange: "y", Topic: "t"}, false},
		{*cast("t", ""), registry.Target{Kind: driver.SourceServer, Exchange: "x", Topic: "t", Server: "s"}, true},
		{driver.Message{Kind: driver.Call, Target: driver.Target{Exchange: "x", Topic: "t", Server: "s"}}, registry.Target{Kind: driver.SourceServer, Exchange: "x", Topic: "t", Server: "s"}, true},
		{driver.Message{Kind: driver.Call, Target: driver.Target{Exchange: "x", Topic: "t", Server: "s"}}, serves("t"), false},
		{*reply("r", ""), registry.Target{Kind: driver.SourceReplies, Reply: "r"}, true},
		{*reply("r", ""), registry.Target{Kind: driver.SourceReplies, Reply: "s"}, false},
		{*notify("t", ""), registry.Target{Kind: driver.SourceNotifications, Exchange: "x", Topic: "t", Priority: "info"}, true},
		{*notify("t", ""), registry.Target{Kind: driver.SourceNotifications, Exchange: "x", Topic: "t", Priority: "warn"}, false},
		{*notify("t", ""), serves("t"), false},
	} {
		found := false
		for _, k := range keysOf(tt.target) {
			found = found || k == keyOf(&tt.message)
			if back := keysOf(k.target()); len(back) == 0 || back[len(back)-1] != k {
				t.Errorf("%v is %v as a target", k, back)
			}
		}
		if found != tt.want {
			t.Errorf("%v to %v: %v", tt.message.Target, tt.target, found)
		}
	}
}

// TestMeshLimit: above it a node dials whom it sends to, and nobody else.
func TestMeshLimit(t *testing.T) {
	w := newWorld(t)
	limit := func(o *Options) { o.MeshLimit = 1 }
	a, b := w.open(limit), w.open(limit)
	l := w.listen(b, server("t", "s"))
	w.knows(a, "t", 1)
	w.mustSend(a, cast("t", "m"))
	w.accept(l, "m")
	w.linked(a, b)
	c := w.open(limit)
	w.knows(c, "t", 1)
	if c.links(a.id) != 0 {
		t.Error("nodes with nothing to say are linked")
	}
}
