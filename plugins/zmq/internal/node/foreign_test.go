// SPDX-License-Identifier: Apache-2.0

package node

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/registry"
	"github.com/parleymq/parley/plugins/zmq/internal/wire"
)

// TestForeign: what a peer can do wrong harms neither the node nor its other peers.
func TestForeign(t *testing.T) {
	all := []wire.Range{{From: 0, To: math.MaxUint64}}
	for _, tt := range []struct {
		name string
		do   func(*world, *Node, *stranger)
		ends bool // the connection is closed
		log  string
	}{
		{name: "a packet before hello", ends: true, log: "the first packet is not a hello",
			do: func(_ *world, _ *Node, s *stranger) { s.cast(cast("t", "m")) }},
		{name: "a goodbye before hello", ends: true,
			do: func(_ *world, _ *Node, s *stranger) { s.send(&wire.Packet{Type: wire.Goodbye}) }},
		{name: "garbage before hello", ends: true, log: "cannot be understood",
			do: func(_ *world, _ *Node, s *stranger) { _ = s.conn.Send([][]byte{{}, []byte("2.0"), {0xff}, {}, {}}) }},
		{name: "garbage later", ends: true, log: "cannot be understood",
			do: func(_ *world, _ *Node, s *stranger) {
				s.join("a")
				_ = s.conn.Send([][]byte{{}, []byte("2.0"), {0xff}, {}, {}})
			}},
		{name: "a hello of the node itself", ends: true,
			do: func(_ *world, n *Node, s *stranger) { s.id = n.id; s.hello("a") }},
		{name: "a hello with an id that is none", ends: true, log: "node id",
			do: func(_ *world, _ *Node, s *stranger) { s.id = "peer"; s.hello("a") }},
		{name: "a hello with an endpoint that is none", ends: true, log: "no endpoint",
			do: func(_ *world, _ *Node, s *stranger) {
				s.send(&wire.Packet{Type: wire.Hello, Record: &registry.Record{Node: s.id, Version: 1, Endpoints: []string{"tcp://*:0"}}})
			}},
		{name: "a hello of everything", ends: true,
			do: func(_ *world, _ *Node, s *stranger) {
				s.hello("a", make([]registry.Target, 20_000)...)
			}},
		{name: "a hello of another node", do: func(w *world, n *Node, s *stranger) {
			s.join("a", serves("mine"))
			s.id = strangerID(99)
			s.change("b", serves("t"))
			if m := cast("mine", "m"); w.begin(n, m) != nil {
				s.next(wire.Cast)
			}
			w.knows(n, "t", 1) // the real one
		}},
		{name: "a hello of before", do: func(w *world, n *Node, s *stranger) {
			s.version = 5
			s.join("a", serves("mine"))
			s.version = 1
			s.change("a", serves("t"))
			w.knows(n, "mine", 1)
			w.knows(n, "t", 1)
		}},
		{name: "settlements of everything", do: func(w *world, n *Node, s *stranger) {
			s.join("a", serves("mine"))
			fate := w.begin(n, cast("mine", "m"))
			s.next(wire.Cast)
			s.send(&wire.Packet{Type: wire.Settle, Acked: all, Done: all, Nacks: []wire.Nack{{Seq: 0}, {Seq: math.MaxUint64, Reason: 200, RetryAfter: math.MaxInt64}}, Floor: math.MaxUint64})
			if err := w.fate(fate); err != nil {
				w.Error(err)
			}
			s.send(&wire.Packet{Type: wire.Settle, Acked: all, Done: all})
		}},
		{name: "each answer after the other", do: func(w *world, n *Node, s *stranger) {
			s.join("a", serves("mine"))
			fate := w.begin(n, cast("mine", "m"))
			seq := s.next(wire.Cast).Seq
			for range 3 {
				s.ack(seq)
			}
			s.nack(seq, 77, 0) // a reason of a later version
			seq = s.next(wire.Cast).Seq
			s.settleDone(seq)
			s.ack(seq)
			s.nack(seq, wire.NackTaken, 0)
			if err := w.fate(fate); err != nil {
				w.Error(err)
			}
		}},
		{name: "a recall of others' messages", do: func(w *world, _ *Node, s *stranger) {
			s.join("a")
			s.send(&wire.Packet{Type: wire.Recall, Target: serves("t"), Number: math.MaxUint64})
			s.send(&wire.Packet{Type: wire.Recall, Number: math.MaxUint64})
		}},
		{name: "packets after goodbye", ends: true, do: func(_ *world, _ *Node, s *stranger) {
			s.join("a")
			s.send(&wire.Packet{Type: wire.Goodbye})
			s.cast(cast("t", "late"))
			s.hello("a")
		}},
		{name: "welcomes and gossip that nobody asked for", do: func(_ *world, _ *Node, s *stranger) {
			s.join("a")
			s.send(&wire.Packet{Type: wire.Welcome, Number: math.MaxUint64, Load: math.MaxUint32})
			s.send(&wire.Packet{Type: wire.Gossip, Payload: []byte("?")})
		}},
		{name: "version 1 after version 2", ends: true, log: "a message of version 1", do: func(_ *world, _ *Node, s *stranger) {
			s.join("a")
			_ = s.conn.Send([][]byte{{}, []byte("1.0"), []byte("1"), []byte("id"), []byte("[{}, {}]")})
		}},
		{name: "version 2 after version 1", do: func(_ *world, _ *Node, s *stranger) {
			_ = s.conn.Send([][]byte{{}, []byte("1.0"), []byte("3"), []byte("id"), []byte(`[{}, {"method": "m"}]`)})
			s.hello("a")
			s.cast(cast("t", "m"))
		}},
		{name: "a message to nobody", do: func(w *world, _ *Node, s *stranger) {
			s.join("a")
			seq := s.cast(cast("nobody", "m"))
			s.cast(fanoutTo("nobody", "m"))
			if p := s.next(wire.Settle); len(p.Nacks) == 0 || p.Nacks[0].Seq != seq || p.Nacks[0].Reason != wire.NackNoTarget {
				w.Errorf("got %+v", p)
			}
		}},
		{name: "a message that cannot be understood", log: "a message is refused", do: func(w *world, _ *Node, s *stranger) {
			s.join("a")
			packet := wire.Packet{Type: wire.Cast, Seq: 7, Message: *cast("t", "\xff")}
			_ = s.conn.Send(packet.Append(nil))
			if p := s.next(wire.Settle); len(p.Nacks) != 1 || p.Nacks[0] != (wire.Nack{Seq: 7, Reason: wire.NackBad}) {
				w.Errorf("got %+v", p)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			n, good := w.open(), w.open()
			l := w.listen(n, server("t", "s"))
			w.knows(good, "t", 1)
			s := w.dial(n, strangerID(50))
			tt.do(w, n, s)
			if tt.ends {
				s.wantEnd()
			}
			w.mustSend(good, cast("t", "good"))
			for d := w.poll(l); d.UniqueID != "good"; d = w.poll(l) {
				w.done(l, d, driver.Accepted)
			}
			if tt.log != "" && w.log.has(tt.log) == 0 {
				t.Errorf("nothing was logged of %q", tt.log)
			}
			w.check(n)
		})
	}
}

// TestSilentPeer: who never says hello is hung up on.
func TestSilentPeer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.open()
	from := time.Now()
	w.dial(n, strangerID(1)).wantEnd()
	if d := time.Since(from); d < helloTime-time.Second || d > helloTime+5*time.Second {
		t.Errorf("after %v", d)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.peers) != 1 {
		t.Errorf("%d peers are known", len(n.peers))
	}
}

// TestSameID: two peers that call themselves the same do no more than take each other's messages.
func TestSameID(t *testing.T) {
	w := newWorld(t)
	n := w.open(hasty)
	one, two := w.dial(n, strangerID(1)).join("a", serves("t")), w.dial(n, strangerID(1))
	two.version = 7
	two.join("b", serves("t"), serves("u"))
	for i := range 10 {
		w.begin(n, cast("t", strconv.Itoa(i)))
	}
	one.settleDone(one.next(wire.Cast).Seq)
	two.send(&wire.Packet{Type: wire.Settle, Done: []wire.Range{{From: 0, To: math.MaxUint64}}})
	w.idle(n)
	one.cast(cast("v", "m"))
	two.cast(cast("v", "m")) // the same number
	one.next(wire.Settle)
	one.end()
	two.wantEnd()
	w.until("it is gone", func() bool { return n.links(one.id) == 0 })
}

// TestImpostor: another node answers at a peer's address. It is not taken for the peer, and what is
// for the peer does not go to it.
func TestImpostor(t *testing.T) {
	w := newWorld(t)
	n, other := w.open(), w.open()
	w.linked(n, other)
	w.memory.put(strangerID(8), &registry.Record{
		Node: strangerID(8), Version: 1, Endpoints: other.endpoints, Targets: []registry.Target{serves("t")},
	})
	w.knows(n, "t", 1)
	m := cast("t", "m")
	m.TimeLeft = 300 * time.Millisecond
	w.wantError(w.send(n, m), driver.ReasonExpired, false)
	if links := n.links(other.id); links != 1 {
		t.Errorf("%d links with the other", links)
	}
	if w.log.has("lost a peer's connection") != 0 {
		t.Error("the link with the other was lost over it")
	}
}

// TestBusyPeerBounded: a peer that floods the node is answered, and what is kept of it is bounded.
func TestBusyPeerBounded(t *testing.T) {
	w := newWorld(t)
	n := w.open(func(o *Options) { o.QueueMessages = 100 })
	l := w.listen(n, server("t", "s"))
	s := w.dial(n, strangerID(1)).join("a")
	body := strings.Repeat("x", 1000)
	const count = 5000
	for range count {
		m := cast("t", "m")
		m.Body = []byte(body)
		s.cast(m)
	}
	w.until("all is answered", func() bool {
		for {
			select {
			case p := <-s.packets:
				if len(p.Nacks) > 0 && p.Nacks[len(p.Nacks)-1].Seq == count {
					return true
				}
			default:
				return false
			}
		}
	})
	n.mu.Lock()
	p := n.peers[s.id]
	if len(p.finished) > maxFinished+1 || len(p.in) > 100 || l.ready.len() > 100 {
		t.Errorf("%d numbers, %d messages, %d in the queue", len(p.finished), len(p.in), l.ready.len())
	}
	n.mu.Unlock()
}
