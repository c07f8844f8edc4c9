// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"slices"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/wire"
)

// settlements are the answers that a peer is to be sent.
type settlements struct {
	acked, done []uint64
	nacks       []wire.Nack
}

func (s *settlements) empty() bool { return len(s.acked)+len(s.done)+len(s.nacks) == 0 }

// owe notes that p is to be sent settlements; the goroutine that does it takes all there are.
func (n *Node) owe(p *peer) {
	if !p.dirty {
		p.dirty = true
		n.dirty = append(n.dirty, p)
	}
	signal(n.settles)
}

// lazyTime is how long an answer may wait that nobody waits for.
const lazyTime = time.Millisecond

// oweLazily is owe for the answer to a call or reply. The caller waits for the reply, and the
// server for nothing, so that the answer travels with the next message, if there is one soon.
func (n *Node) oweLazily(p *peer) {
	if !p.dirty {
		p.dirty = true
		n.dirty = append(n.dirty, p)
	}
	if !n.lazy {
		n.lazy = true
		n.lazyTimer.Reset(lazyTime)
	}
}

// oweAck is for a message of the kind.
func (n *Node) oweAck(p *peer, seq uint64, kind driver.Kind) {
	p.settle.acked = append(p.settle.acked, seq)
	n.oweFor(p, kind)
}

// oweDone is for a message of the kind. It says all that an ack would.
func (n *Node) oweDone(p *peer, seq uint64, kind driver.Kind) {
	if last := len(p.settle.acked) - 1; last >= 0 && p.settle.acked[last] == seq {
		p.settle.acked = p.settle.acked[:last]
	}
	p.settle.done = append(p.settle.done, seq)
	n.oweFor(p, kind)
}

func (n *Node) oweFor(p *peer, kind driver.Kind) {
	if kind == driver.Call || kind == driver.Reply || kind == driver.Heartbeat {
		n.oweLazily(p)
		return
	}
	n.owe(p)
}

func (n *Node) oweNack(p *peer, nack wire.Nack) {
	p.settle.nacks = append(p.settle.nacks, nack)
	n.owe(p)
}

// settling sends settlements, many at once while there is much to do.
func (n *Node) settling(ctx context.Context) {
	for {
		select {
		case <-n.settles:
		case <-ctx.Done():
			return
		}
		n.mu.Lock()
		n.sendSettlements()
		n.mu.Unlock()
	}
}

func (n *Node) sendSettlements() {
	n.lazy = false
	for len(n.dirty) > 0 {
		dirty := n.dirty
		n.dirty = nil
		for _, p := range dirty {
			p.dirty = false
			n.sendSettle(p)
		}
	}
}

func (n *Node) sendSettle(p *peer) {
	if p.settle.empty() {
		return
	}
	if p.legacy != nil {
		p.settle = settlements{} // it would not know what to do with them
		return
	}
	packet := wire.Packet{Type: wire.Settle, Load: n.load(), Floor: p.floor(n.seq + 1)}
	s := &p.settle
	packet.Acked, s.acked = ranges(s.acked)
	packet.Done, s.done = ranges(s.done)
	packet.Nacks, s.nacks = head(s.nacks)
	if !s.empty() {
		n.owe(p)
	}
	switch {
	case p.local:
		n.settled(p, &packet)
	case len(p.links) > 0:
		p.links[0].say(&packet) // without a link, what is not answered comes again
	}
}

// maxSettle bounds the answers of each kind in one packet, far below wire.MaxRanges.
const maxSettle = 8192

// head cuts off what fits into one packet, and returns it and the rest.
func head[T any](all []T) (first, rest []T) {
	cut := min(len(all), maxSettle)
	if cut == 0 {
		return nil, all
	}
	first = slices.Clone(all[:cut])
	return first, append(all[:0], all[cut:]...)
}

// ranges makes runs of the numbers that fit into one packet, and returns the rest.
func ranges(all []uint64) (runs []wire.Range, rest []uint64) {
	cut := min(len(all), maxSettle)
	if cut == 0 {
		return nil, all
	}
	seqs := all[:cut]
	slices.Sort(seqs)
	runs = make([]wire.Range, 0, 4)
	for _, s := range seqs {
		if last := len(runs) - 1; last >= 0 && s <= runs[last].To+1 {
			runs[last].To = s
			continue
		}
		runs = append(runs, wire.Range{From: s, To: s})
	}
	return runs, append(all[:0], all[cut:]...)
}

// load is how many messages wait in this node's queues.
func (n *Node) load() uint32 {
	total := 0
	for l := range n.listeners {
		total += l.ready.len()
	}
	return uint32(min(total, 1<<30))
}

// settled takes a peer's answers in.
func (n *Node) settled(p *peer, packet *wire.Packet) {
	p.load = packet.Load
	was := p.unanswered
	for _, r := range packet.Acked {
		p.each(r, func(pc *parcel) {
			n.answered(p, pc)
			pc.acked = true
			n.tell(pc, nil)
		})
	}
	for _, r := range packet.Done {
		p.each(r, func(pc *parcel) {
			n.answered(p, pc)
			delete(p.out, pc.seq)
			n.tell(pc, nil)
			n.drop(pc)
		})
	}
	now := time.Now()
	for _, nack := range packet.Nacks {
		if pc := p.out[nack.Seq]; pc != nil {
			n.answered(p, pc)
			delete(p.out, pc.seq)
			n.refused(p, pc, nack, now)
		}
	}
	if was >= n.o.Window && p.unanswered < n.o.Window || n.waits > 0 && len(packet.Done) > 0 {
		n.retryAll()
	}
}

// answered counts the first answer to a parcel.
func (n *Node) answered(p *peer, pc *parcel) {
	if !pc.acked {
		p.unanswered--
	}
}

// each calls f for the parcels of a run. A run may be as long as a foreign peer likes.
func (p *peer) each(r wire.Range, f func(*parcel)) {
	if r.To-r.From < uint64(len(p.out)) {
		for seq := r.From; seq <= r.To && seq >= r.From; seq++ {
			if pc := p.out[seq]; pc != nil {
				f(pc)
			}
		}
		return
	}
	for seq, pc := range p.out {
		if seq >= r.From && seq <= r.To {
			f(pc)
		}
	}
}

// busyWait is how long a peer that refused a message is left alone with it, unless it says more.
const busyWait = 50 * time.Millisecond

// refused decides what becomes of a message that a peer did not take, or gave back.
func (n *Node) refused(p *peer, pc *parcel, nack wire.Nack, now time.Time) {
	pc.peer = nil
	pc.acked = false
	switch nack.Reason {
	case wire.NackBad:
		n.tell(pc, driver.Errorf(driver.ReasonInternal, "send %s: %s cannot understand it", describe(&pc.message), p.String()).
			WithHint("look at its log, and whether both run the same release"))
		n.drop(pc)
		return
	case wire.NackExpired:
		n.tell(pc, driver.Errorf(driver.ReasonExpired, "send %s: its time ran out at %s before anybody took it", describe(&pc.message), p.String()))
		n.drop(pc)
		return
	case wire.NackBack:
		// Somebody else is to have it, if there is one.
		pc.redelivered = true
		pc.avoid, pc.again = p, now.Add(busyWait)
	case wire.NackRequeued:
		pc.redelivered = true
		pc.heirs = "" // the application says so: it has not run it
	case wire.NackTaken:
		pc.written = true
		n.bequeath(pc, p, now)
		return
	default: // busy, no such target, closing
		pc.avoid, pc.again = p, now.Add(min(max(nack.RetryAfter, busyWait), 5*time.Second))
	}
	pc.written = false // it was refused: nobody has it
	pc.attempt++
	if pc.report == nil {
		pc.entered = now // it waits from now on
	}
	if pc.message.Target.Fanout && nack.Reason != wire.NackBusy {
		// Its server has left meanwhile, and nobody else is meant.
		n.tell(pc, nil)
		n.drop(pc)
		return
	}
	if pc.heirs != "" {
		n.bequeath(pc, p, now)
		return
	}
	n.dispatch(pc, now)
}
