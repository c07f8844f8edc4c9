// SPDX-License-Identifier: Apache-2.0

package node

import (
	"maps"
	"slices"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/registry"
	"github.com/parleymq/parley/plugins/zmq/internal/wire"
)

// peer is another node, or this one itself. Everything in it is guarded by Node.mu.
type peer struct {
	id     string
	local  bool
	legacy *legacyPeer // it is one of oslo.messaging 8.x
	record *registry.Record
	links  []*link
	listed bool // the registry has it
	gone   bool // it ended, as far as anybody can tell
	left   bool // it said goodbye
	torn   bool // a link broke since there was none, and what went over it last is not known

	// Of the mesh.
	wanted   bool // somebody has something for it
	dialling bool
	dialled  bool      // we dial it first
	down     time.Time // without a link since
	failed   error     // the last try to dial

	// What we sent it.
	out        map[uint64]*parcel
	order      queue[uint64] // the numbers in out, and some that are not any more
	behind     []uint64      // of out: to be sent again, see resend
	unanswered int           // of out: neither acked nor done
	load       uint32        // what waits there, as it said last
	recalled   time.Time

	// What it sent us.
	in       map[uint64]*inbound
	finished map[uint64]wire.NackReason // done (0) or refused, and may come again
	forgot   uint64                     // everything below it is forgotten
	forgetAt int

	settle settlements
	dirty  bool // in Node.dirty
}

func newPeer(id string) *peer {
	return &peer{
		id: id, out: make(map[uint64]*parcel), in: make(map[uint64]*inbound), finished: make(map[uint64]wire.NackReason), forgetAt: minForget,
	}
}

// String names the peer in errors and logs.
func (p *peer) String() string {
	if p.local {
		return "this node"
	}
	if p.record != nil && p.record.Name != "" {
		return p.record.Name + " (" + p.id[:min(8, len(p.id))] + ")"
	}
	return "node " + p.id[:min(8, len(p.id))]
}

// forgettable reports whether nothing is lost when a peer comes back as a stranger. One that was
// only cut off for long would send again what was done.
func (p *peer) forgettable(now time.Time) bool {
	if !p.gone || p.listed || p.dialling || len(p.links)+len(p.in)+len(p.out) > 0 {
		return false
	}
	return p.left || len(p.finished) == 0 && p.forgot == 0 || now.Sub(p.down) > forgetPeer
}

// missed reports whether it means anything that there is no link: in a large mesh nobody dials those
// that nobody has something for.
func (p *peer) missed() bool { return !p.listed || p.failed != nil || len(p.out) > 0 }

// forgetPeer is how long a gone peer's numbers are kept.
const forgetPeer = 10 * time.Minute

// burden is how much a peer has to do, as far as we know.
func (p *peer) burden() int { return len(p.out) + int(p.load) }

// atLeastOnce reports whether what the peer was given for k may be given to another as well.
func (p *peer) atLeastOnce(k key) bool {
	if p.record == nil {
		return false
	}
	heard := false
	for _, t := range p.record.Targets {
		if slices.Contains(keysOf(t), k) {
			if !t.AtLeastOnce {
				return false
			}
			heard = true
		}
	}
	return heard
}

// setRecord replaces what the peer says of itself. What it was given for a listener that is not in
// there any more is still that listener's.
func (p *peer) setRecord(rec *registry.Record) {
	if p.record != nil && slices.ContainsFunc(p.record.Targets, func(t registry.Target) bool { return t.AtLeastOnce }) {
		for _, pc := range p.out {
			pc.anyone = pc.anyone || p.atLeastOnce(pc.to)
		}
	}
	p.record = rec
}

// hearsFanout reports whether a server of the topic hears fanouts that are scoped, or that are not
// (LISTEN-8).
func (p *peer) hearsFanout(topic key, scoped bool) bool {
	for _, t := range p.record.Targets {
		if t.Kind == driver.SourceServer && t.Scoped == scoped && (t.Exchange == topic.exchange || p.record.Legacy) && t.Topic == topic.topic {
			return true
		}
	}
	return false
}

// floor is the smallest number that the peer may still be sent or has not settled, of those
// before next.
func (p *peer) floor(next uint64) uint64 {
	for p.order.len() > 0 {
		if seq := p.order.first(); p.out[seq] != nil {
			return seq
		}
		p.order.pop()
	}
	return next
}

// number notes that the peer was given seq. One message that is not done for hours would keep the
// numbers of all others behind it.
func (p *peer) number(seq uint64) {
	if p.order.len() > 2*len(p.out)+minForget {
		p.order.keep(func(seq uint64) bool { return p.out[seq] != nil })
	}
	p.order.push(seq)
}

// isFinished reports whether a number was done before.
func (p *peer) isFinished(seq uint64) bool {
	if _, ok := p.finished[seq]; ok {
		return true
	}
	return seq < p.forgot && p.in[seq] == nil
}

// forget drops what will not come again. Looking at each number costs, so that it is done for
// many at once.
func (p *peer) forget(floor uint64) {
	if floor <= p.forgot || len(p.finished) < p.forgetAt {
		return
	}
	p.forgetBelow(floor)
}

// finish notes that a number is settled. One message that is not done for hours keeps the floor
// where it is; of the others only the younger half is remembered then. The older ones cannot come
// again: links keep the order, and all that was not settled is sent first over a new one.
func (p *peer) finish(seq uint64, reason wire.NackReason) {
	p.finished[seq] = reason
	if len(p.finished) <= maxFinished {
		return
	}
	seqs := slices.Sorted(maps.Keys(p.finished))
	p.forgetBelow(seqs[len(seqs)/2])
}

func (p *peer) forgetBelow(floor uint64) {
	p.forgot = max(p.forgot, floor)
	for seq := range p.finished {
		if seq < floor {
			delete(p.finished, seq)
		}
	}
	p.forgetAt = min(max(minForget, 2*len(p.finished)), maxFinished)
}

const (
	minForget   = 1024
	maxFinished = 1 << 16
)

// key is the way to this peer and no other, for copies of a fanout.
func (p *peer) key() key { return key{kind: driver.SourceServer, server: "\x00" + p.id} }
