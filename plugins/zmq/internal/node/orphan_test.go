// SPDX-License-Identifier: Apache-2.0

package node

import (
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/registry"
	"github.com/parleymq/parley/plugins/zmq/internal/wire"
)

// hasty are options with which a peer is gone soon, and a gone application too.
func hasty(o *Options) { o.DeadAfter, o.OrphanTime = 50*time.Millisecond, 400*time.Millisecond }

// TestHeirs: who may have a message whose receiver has ended.
func TestHeirs(t *testing.T) {
	ack := func(s *stranger, seq uint64) { s.ack(seq) }
	nack := func(reason wire.NackReason) func(*stranger, uint64) {
		return func(s *stranger, seq uint64) { s.change("app"); s.nack(seq, reason, 0) }
	}
	end := func(s *stranger, _ uint64) { s.end() }
	for _, tt := range []struct {
		name   string
		target registry.Target
		before func(*stranger, uint64) // what the receiver does before
		how    func(*stranger, uint64) // how it ends
		anyone bool                    // the other application may have it
		pure   bool                    // its own had not: it is no redelivery in doubt
	}{
		{name: "taken", target: serves("t"), before: ack, how: end},
		{name: "written", target: serves("t"), how: end},
		{name: "at least once", target: servesAtLeastOnce("t"), before: ack, how: end, anyone: true},
		{name: "at least once, and its listener had left", target: servesAtLeastOnce("t"), how: end, anyone: true,
			before: func(s *stranger, seq uint64) { s.ack(seq); s.change("app", serves("u")) }},
		{name: "given back unread", target: serves("t"), before: ack, how: nack(wire.NackBack), anyone: true},
		{name: "requeued", target: serves("t"), before: ack, how: nack(wire.NackRequeued), anyone: true},
		{name: "returned by Poll and not done", target: serves("t"), before: ack, how: nack(wire.NackTaken)},
		{name: "goodbye, not taken", target: serves("t"), how: func(s *stranger, _ uint64) { s.send(&wire.Packet{Type: wire.Goodbye}) }, anyone: true},
		{name: "goodbye, taken", target: serves("t"), before: ack, how: func(s *stranger, _ uint64) { s.send(&wire.Packet{Type: wire.Goodbye}) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			n := w.open(hasty)
			first := w.dial(n, strangerID(1)).join("app", tt.target)
			fate := w.begin(n, cast("t", "m"))
			seq := first.next(wire.Cast).Seq
			if tt.before != nil {
				tt.before(first, seq)
			}
			other := w.dial(n, strangerID(2)).join("other", tt.target)
			tt.how(first, seq)
			if tt.anyone {
				other.settleDone(other.next(wire.Cast).Seq)
				if err := w.fate(fate); err != nil {
					t.Error(err)
				}
				w.idle(n)
				return
			}
			w.until("it is known to be gone", func() bool {
				n.mu.Lock()
				defer n.mu.Unlock()
				return len(n.orphans) == 1
			})
			other.quiet(20 * time.Millisecond)
			heir := w.dial(n, strangerID(3)).join("app", tt.target)
			p := heir.next(wire.Cast)
			if !p.Redelivered || p.Attempt == 0 {
				t.Errorf("it is not said that it comes again: %+v", p)
			}
			// It is its own application's also when that one ends again, or has no room.
			heir.nack(p.Seq, wire.NackBusy, 0)
			heir.next(wire.Cast)
			heir.end()
			other.quiet(100 * time.Millisecond)
			heir = w.dial(n, strangerID(4)).join("app", tt.target)
			heir.settleDone(heir.next(wire.Cast).Seq)
			if err := w.fate(fate); err != nil {
				t.Error(err)
			}
			other.quiet(20 * time.Millisecond)
			w.idle(n)
		})
	}
}

// TestOrphanTime: an application that does not come back is not waited for for ever.
func TestOrphanTime(t *testing.T) {
	w := newWorld(t)
	n := w.open(hasty)
	s := w.dial(n, strangerID(1)).join("app", serves("t"))
	told, untold := w.begin(n, cast("t", "1")), w.begin(n, cast("t", "2"))
	s.next(wire.Cast)
	s.ack(s.next(wire.Cast).Seq)
	if err := w.fate(untold); err != nil {
		t.Error(err)
	}
	from := time.Now()
	s.end()
	w.wantError(w.fate(told), driver.ReasonNotConnected, true)
	if d := time.Since(from); d < 400*time.Millisecond || d > 3*time.Second {
		t.Errorf("it took %v", d)
	}
	w.idle(n)
	w.until("the loss of the other is logged", func() bool { return w.log.has("casts were taken by applications that are gone now") == 1 })

	late := w.dial(n, strangerID(2)).join("app", serves("t"))
	late.quiet(20 * time.Millisecond)
}

// TestRestartedDriver: what Poll returned and nobody said Done for goes to the application's next
// driver, and to no other server.
func TestRestartedDriver(t *testing.T) {
	w := newWorld(t)
	n := w.open(hasty)
	app := func(o *Options) { o.Instance = "app" }
	before := w.open(app)
	l := w.listen(before, server("t", "s"))
	w.knows(n, "t", 1)
	w.mustSend(n, cast("t", "read"))
	w.mustSend(n, cast("t", "unread"))
	if d := w.poll(l); d.UniqueID != "read" {
		t.Fatalf("got %s", d.UniqueID)
	}
	other := w.listen(w.open(func(o *Options) { o.Instance = "other" }), server("t", "o"))
	w.kill(before)
	w.wantNothing(other, 100*time.Millisecond)
	again := w.listen(w.open(app), server("t", "s"))
	got := map[string]bool{}
	for range 2 {
		d := w.poll(again)
		got[d.UniqueID] = d.Redelivered
		w.done(again, d, driver.Accepted)
	}
	if !got["read"] || !got["unread"] {
		t.Errorf("got %v, want both, told as redelivered", got)
	}
	w.wantNothing(other, 20*time.Millisecond)
	w.idle(n)
}

// TestGracefulEnd: who closes loses nothing and leaves nothing in doubt: what it had taken and not
// run goes to another server.
func TestGracefulEnd(t *testing.T) {
	w := newWorld(t)
	n, leaves, stays := w.open(), w.open(), w.open()
	l := w.listen(leaves, server("t", "s"))
	w.knows(n, "t", 1)
	const count = 200
	var fates []<-chan error
	for i := range count {
		fates = append(fates, w.begin(n, cast("t", string(rune('a'+i%26))+time.Duration(i).String())))
		if i == count/2 {
			go func() { _ = leaves.Close(w.soon()) }()
		}
	}
	_ = l
	other := w.listen(stays, server("t", "o"))
	got := map[string]int{}
	for len(got) < count {
		d := w.poll(other)
		got[d.UniqueID]++
		w.done(other, d, driver.Accepted)
	}
	for _, fate := range fates {
		if err := w.fate(fate); err != nil {
			t.Error(err)
		}
	}
	for id, times := range got {
		if times != 1 {
			t.Errorf("%s came %d times", id, times)
		}
	}
	w.idle(n)
}
