// SPDX-License-Identifier: Apache-2.0

package node

import (
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/wire"
)

// inbound is one message received, until it is settled.
type inbound struct {
	peer        *peer
	seq         uint64
	message     driver.Message
	pool        string
	to          key
	redelivered bool
	expires     time.Time
	size        int
	fan         *fan // of a fanout to several listeners here
}

// fan counts the listeners of one node that have not settled their copy of a fanout.
type fan struct{ open int }

// receive takes in one message of p. It is answered by a settlement, always.
func (n *Node) receive(p *peer, packet *wire.Packet) {
	seq := packet.Seq
	p.forget(packet.Floor)
	switch {
	case p.isFinished(seq):
		n.answerAgain(p, seq)
		return
	case p.in[seq] != nil:
		n.oweAck(p, seq, packet.Message.Kind)
		return
	case n.phase == closed:
		n.refuse(p, wire.Nack{Seq: seq, Reason: wire.NackClosing})
		return
	}
	in := &inbound{
		peer: p, seq: seq, message: packet.Message, pool: packet.Pool, redelivered: packet.Redelivered,
		size: packet.Message.Size(),
	}
	in.to = keyOf(&in.message)
	in.to.pool = packet.Pool
	if in.message.TimeLeft > 0 {
		in.expires = time.Now().Add(in.message.TimeLeft)
	}
	if in.message.Target.Fanout {
		n.receiveFanout(in)
		return
	}
	l := n.listenerFor(in.to)
	switch {
	case l == nil:
		n.refuse(p, wire.Nack{Seq: seq, Reason: wire.NackNoTarget})
	case l.full(in.size):
		n.refuse(p, wire.Nack{Seq: seq, Reason: wire.NackBusy, RetryAfter: busyWait})
	default:
		p.in[seq] = in
		if l.src.Settle == driver.SettleOnDone || !l.polling {
			n.oweAck(p, seq, packet.Message.Kind)
		} else {
			l.quiet++ // settled by the Poll that waits for it, it is done at once
		}
		l.put(in)
	}
}

// receiveFanout gives every server of the topic here a copy of its own.
func (n *Node) receiveFanout(in *inbound) {
	var to []*Listener
	for l := range n.listeners {
		t := l.src.Target
		if l.src.Kind == driver.SourceServer && !l.stopped && t.Exchange == in.to.exchange && t.Topic == in.to.topic &&
			t.Scoped == in.message.Target.Scoped {
			to = append(to, l)
		}
	}
	for _, l := range to {
		if l.full(in.size) {
			n.refuse(in.peer, wire.Nack{Seq: in.seq, Reason: wire.NackBusy, RetryAfter: busyWait})
			return
		}
	}
	if len(to) == 0 {
		n.refuse(in.peer, wire.Nack{Seq: in.seq, Reason: wire.NackNoTarget})
		return
	}
	in.fan = &fan{open: len(to)}
	in.peer.in[in.seq] = in
	n.oweAck(in.peer, in.seq, in.message.Kind)
	for _, l := range to {
		one := *in
		l.put(&one)
	}
}

// listenerFor is the listener that is given a message for k: one that waits for work, or the one
// with the least of it.
func (n *Node) listenerFor(k key) *Listener {
	var best *Listener
	for l := range n.listeners {
		if l.stopped || !l.hears(k) {
			continue
		}
		if best == nil || l.idler(best) {
			best = l
		}
	}
	return best
}

// finishInbound ends an inbound message here: its sender may forget it.
func (n *Node) finishInbound(in *inbound) {
	if in.fan != nil {
		if in.fan.open--; in.fan.open > 0 {
			return
		}
	}
	p := in.peer
	if p.in[in.seq] == nil {
		return // settled before, or given back
	}
	delete(p.in, in.seq)
	p.finish(in.seq, 0)
	n.oweDone(p, in.seq, in.message.Kind)
}

// refuse says no to a message, and to what is still under way of it: its sender gives it to another.
func (n *Node) refuse(p *peer, nack wire.Nack) {
	p.finish(nack.Seq, nack.Reason)
	n.oweNack(p, nack)
}

// answerAgain repeats the answer that ended a message.
func (n *Node) answerAgain(p *peer, seq uint64) {
	if reason := p.finished[seq]; reason != 0 {
		n.oweNack(p, wire.Nack{Seq: seq, Reason: reason})
		return
	}
	n.oweDone(p, seq, driver.Cast) // at once
}

// giveBack returns a message to its sender, or finds it another listener when the sender is gone.
func (n *Node) giveBack(in *inbound, reason wire.NackReason) {
	if in.fan != nil {
		n.finishInbound(in) // a copy goes with its listener
		return
	}
	p := in.peer
	if p.in[in.seq] == nil {
		return
	}
	delete(p.in, in.seq)
	if p.gone && n.adopt(in, reason) {
		p.finish(in.seq, 0) // it is ours now, should its sender come back
		return
	}
	n.refuse(p, wire.Nack{Seq: in.seq, Reason: reason})
}

// adopt makes a message of a gone sender one of our own, and reports whether it did.
func (n *Node) adopt(in *inbound, reason wire.NackReason) bool {
	once := in.message.Kind == driver.Call || in.message.Kind == driver.Cast
	if n.phase == closed || once && (reason == wire.NackTaken || in.redelivered) {
		n.log.Warn("a message is lost: its sender has gone, and so does its receiver", "message", describe(&in.message))
		return false
	}
	now := time.Now()
	m := in.message
	if !in.expires.IsZero() {
		if m.TimeLeft = in.expires.Sub(now); m.TimeLeft <= 0 {
			return true
		}
	}
	pc := n.newParcel(&m, now, nil)
	n.pending.unreported--
	pc.redelivered = true
	pc.pool, pc.to.pool, pc.pooled = in.pool, in.to.pool, true
	n.dispatch(pc, now)
	return true
}
