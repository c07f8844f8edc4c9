// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/wire"
)

// TestFanoutPartly: a fanout that some have and one has not says so.
func TestFanoutPartly(t *testing.T) {
	w := newWorld(t)
	n := w.open()
	var all []*stranger
	for i := range 3 {
		all = append(all, w.dial(n, strangerID(i)).join(strconv.Itoa(i), serves("t")))
	}
	fate := w.begin(n, fanoutTo("t", "m"))
	taken := all[0].next(wire.Cast).Seq
	all[0].ack(taken)
	all[1].settleDone(all[1].next(wire.Cast).Seq)
	all[2].nack(all[2].next(wire.Cast).Seq, wire.NackBad, 0)
	err := w.fate(fate)
	w.wantError(err, driver.ReasonInternal, true)
	if !strings.Contains(err.Error(), "2 of 3 receivers have it") {
		t.Error(err)
	}

	all[0].settleDone(taken)
	ctx, cancel := context.WithCancel(t.Context())
	given := make(chan error, 1)
	n.SendAsync(ctx, []*driver.Message{fanoutTo("t", "late")}, func(_ int, err error) { given <- err })
	late := all[2].next(wire.Cast).Seq
	all[0].settleDone(all[0].next(wire.Cast).Seq)
	w.until("one is done", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.peers[all[0].id].out) == 0
	})
	cancel()
	err = w.fate(given)
	w.wantError(err, driver.ReasonNotConnected, true)
	if !strings.Contains(err.Error(), "2 of 3 receivers have not answered") {
		t.Error(err)
	}
	all[2].settleDone(late) // which tells nobody a second time
	all[1].settleDone(all[1].next(wire.Cast).Seq)

	fate = w.begin(n, fanoutTo("t", "left"))
	all[0].settleDone(all[0].next(wire.Cast).Seq)
	all[1].nack(all[1].next(wire.Cast).Seq, wire.NackNoTarget, 0)
	all[2].nack(all[2].next(wire.Cast).Seq, wire.NackBusy, 0)
	all[2].settleDone(all[2].next(wire.Cast).Seq)
	if err := w.fate(fate); err != nil {
		t.Errorf("one has left, and one was busy: %v", err)
	}
	all[0].quiet(10 * time.Millisecond)
	all[1].quiet(10 * time.Millisecond)
}

// TestFanoutCopies: each server of a topic has a copy of its own, also several of one node, and
// scoped ones hear scoped ones.
func TestFanoutCopies(t *testing.T) {
	w := newWorld(t)
	n, other := w.open(), w.open()
	scoped := server("t", "scoped")
	scoped.Target.Scoped = true
	one, two := w.listen(other, server("t", "one")), w.listen(other, server("t", "two"))
	own, narrow := w.listen(n, server("t", "own")), w.listen(other, scoped)
	w.knows(n, "t", 2)
	w.mustSend(n, fanoutTo("t", "all"))
	first := w.poll(one)
	w.accept(two, "all")
	w.accept(own, "all")
	w.done(one, first, driver.Requeued) // a copy is for nobody else
	m := fanoutTo("t", "scoped")
	m.Target.Scoped = true
	w.mustSend(n, m)
	w.accept(narrow, "scoped")
	for _, l := range []*Listener{one, two, own, narrow} {
		w.wantNothing(l, 10*time.Millisecond)
	}
	w.mustSend(n, fanoutTo("t", "unread"))
	w.accept(own, "unread")
	if err := one.Close(t.Context()); err != nil {
		t.Error(err)
	}
	w.accept(two, "unread")
	w.idle(n)
}

// TestPools: each pool has a copy, which its listeners share.
func TestPools(t *testing.T) {
	w := newWorld(t)
	n, a, b := w.open(), w.open(), w.open()
	early := w.begin(n, notify("t", "early"))
	plain := w.listen(a, notifications("t", ""))
	w.accept(plain, "early")
	if err := w.fate(early); err != nil {
		t.Error(err)
	}
	pools := map[string][]*Listener{
		"":  {plain, w.listen(b, notifications("t", ""))},
		"p": {w.listen(a, notifications("t", "p")), w.listen(b, notifications("t", "p"))},
		"q": {w.listen(b, notifications("t", "q"))},
	}
	w.until("all are known", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		k := key{kind: driver.SourceNotifications, exchange: "x", topic: "t", priority: "info"}
		total := 0
		for _, pool := range n.routes.pools[k] {
			k.pool = pool
			total += len(n.routes.to[k])
		}
		return total == 5
	})
	const count = 20
	for i := range count {
		w.mustSend(n, notify("t", strconv.Itoa(i)))
	}
	for pool, listeners := range pools {
		got := map[string]bool{}
		for _, l := range listeners {
			for len(got) < count {
				ds, err := l.Poll(w.within(100*time.Millisecond), count)
				if err != nil {
					break
				}
				for _, d := range ds {
					if got[d.UniqueID] {
						t.Errorf("pool %q has %s twice", pool, d.UniqueID)
					}
					got[d.UniqueID] = true
					w.done(l, d, driver.Accepted)
				}
			}
		}
		if len(got) != count {
			t.Errorf("pool %q has %d of %d", pool, len(got), count)
		}
	}
	w.idle(n)
}
