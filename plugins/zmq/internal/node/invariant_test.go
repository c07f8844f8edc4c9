// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"slices"

	"github.com/parleymq/parley/plugin/driver"
)

// check looks whether the tables of a node agree with each other.
func (w *world) check(n *Node) {
	w.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.auditLocked(); err != nil {
		w.Errorf("the books of node %s are wrong: %v", n.id[:8], err)
	}
}

// checkClosed looks whether a closed node has nothing left.
func (w *world) checkClosed(n *Node) {
	w.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.auditLocked(); err != nil {
		w.Errorf("the books of the closed node %s are wrong: %v", n.id[:8], err)
	}
	if n.pending.count != 0 || n.pending.size != 0 || n.pending.unreported != 0 || len(n.listeners) != 0 {
		w.Errorf("the closed node %s has %+v, %d listeners", n.id[:8], n.pending, len(n.listeners))
	}
}

// auditLocked returns what is wrong.
func (n *Node) auditLocked() error {
	a := audit{n: n, seen: make(map[*parcel]string)}
	a.parcels()
	a.peers()
	a.listeners()
	return errors.Join(a.wrong...)
}

type audit struct {
	n          *Node
	seen       map[*parcel]string
	size       int
	unreported int
	wrong      []error
}

func (a *audit) want(ok bool, format string, args ...any) {
	if !ok && len(a.wrong) < 10 {
		a.wrong = append(a.wrong, fmt.Errorf(format, args...))
	}
}

// has notes a parcel in a table. It is in one only.
func (a *audit) has(pc *parcel, table string) {
	before, twice := a.seen[pc]
	a.want(!twice, "a parcel is in %s and in %s", before, table)
	a.seen[pc] = table
	a.size += pc.size
	if pc.report != nil {
		a.unreported++
	}
}

func (a *audit) parcels() {
	n := a.n
	waits := 0
	for k, q := range n.waiting {
		waits += q.len()
		q.each(func(pc *parcel) {
			a.has(pc, "waiting")
			a.want(pc.to == k, "a parcel to %v waits for %v", pc.to, k)
			a.want(pc.peer == nil, "a parcel waits and %v has it", pc.peer)
		})
	}
	a.want(waits == n.waits, "%d parcels wait, counted %d", waits, n.waits)
	n.early.each(func(pc *parcel) {
		if pc.report != nil { // the others were given up
			a.has(pc, "early")
		}
	})
	for instance, list := range n.orphans {
		a.want(len(list) > 0, "an empty list of orphans of %s", instance)
		for _, pc := range list {
			a.has(pc, "orphans")
			a.want(pc.heirs == instance, "an orphan of %q is kept for %q", pc.heirs, instance)
		}
	}
	for _, p := range n.peers {
		for seq, pc := range p.out {
			a.has(pc, "out of "+p.id)
			a.want(pc.seq == seq, "parcel %d is called %d", pc.seq, seq)
			a.want(pc.peer == p, "%v has a parcel of %v", p, pc.peer)
		}
	}
	a.want(len(a.seen) == n.pending.count, "%d parcels, counted %d", len(a.seen), n.pending.count)
	a.want(a.size == n.pending.size, "%d bytes, counted %d", a.size, n.pending.size)
	a.want(a.unreported == n.pending.unreported, "%d are waited for, counted %d", a.unreported, n.pending.unreported)
}

func (a *audit) peers() {
	n := a.n
	for id, p := range n.peers {
		a.want(p.id == id, "peer %s is called %s", p.id, id)
		unanswered := 0
		for _, pc := range p.out {
			if !pc.acked {
				unanswered++
			}
		}
		a.want(unanswered == p.unanswered, "peer %v: %d unanswered, counted %d", p, unanswered, p.unanswered)
		a.want(!p.gone || len(p.out) == 0, "%v is gone and has %d parcels", p, len(p.out))
		ordered := make(map[uint64]bool)
		p.order.each(func(seq uint64) { ordered[seq] = true })
		for seq := range p.out {
			a.want(ordered[seq], "number %d is not in the order of %v", seq, p)
		}
		a.want(p.dirty == slices.Contains(n.dirty, p), "%v is dirty: %v", p, p.dirty)
		a.want(p.dirty || p.settle.empty(), "%v is owed settlements, and nobody knows", p)
		a.want(len(p.finished) <= maxFinished+1, "%d numbers of %v are kept", len(p.finished), p)
		for seq, in := range p.in {
			_, finished := p.finished[seq]
			a.want(in.peer == p && in.seq == seq && !finished, "inbound %d of %v is wrong, finished %v", seq, p, finished)
		}
		for _, l := range p.links {
			a.want(l.peer == p, "a link of %v is that of %v", p, l.peer)
		}
	}
	for k, list := range n.routes.to {
		for _, p := range list {
			a.want(n.peers[p.id] == p || p.gone, "%v of %v is no peer", p, k)
		}
	}
}

func (a *audit) listeners() {
	n := a.n
	held := make(map[*inbound]bool)
	copies := make(map[*fan]int)
	note := func(l *Listener, in *inbound) {
		if in.fan != nil {
			copies[in.fan]++
			return
		}
		a.want(!held[in], "message %d is held twice", in.seq)
		held[in] = true
		a.want(in.peer.in[in.seq] == in, "message %d of %v is held by %v, and not known", in.seq, in.peer, l.src.Kind)
	}
	for l := range n.listeners {
		bytes := 0
		l.ready.each(func(in *inbound) {
			bytes += in.size
			note(l, in)
		})
		a.want(bytes == l.bytes, "a listener has %d bytes, counted %d", bytes, l.bytes)
		a.want(l.src.Settle == driver.SettleOnDone || len(l.unsettled) == 0, "unsettled with SettleOnPoll")
		for _, in := range l.unsettled {
			note(l, in)
		}
	}
	for _, p := range n.peers {
		for seq, in := range p.in {
			if in.fan == nil {
				a.want(held[in], "message %d of %v is held by nobody", seq, p)
				continue
			}
			a.want(copies[in.fan] == in.fan.open, "%d copies of a fanout, counted %d", copies[in.fan], in.fan.open)
		}
	}
}
