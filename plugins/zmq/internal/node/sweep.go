// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"slices"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/wire"
)

const (
	// sweepTime is how often it is looked at what is under way.
	sweepTime = 100 * time.Millisecond
	// restTime is the same while nothing is.
	restTime = 5 * time.Second
	// replyMemory is how long a reply name is known after nobody listens to it any more.
	replyMemory = 30 * time.Minute
)

// sweeping does what is to be done because time has passed.
func (n *Node) sweeping(ctx context.Context) {
	for {
		n.mu.Lock()
		next := n.sweep(time.Now())
		n.mu.Unlock()
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-n.sweeps:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// sweep returns how long there is nothing to be done.
func (n *Node) sweep(now time.Time) time.Duration {
	var next time.Time
	for k, q := range n.waiting {
		n.retry(k, now)
		next = earlier(next, n.lapse(q, now))
		if q.len() > 0 {
			next = earlier(next, now.Add(sweepTime))
		}
		if q.len() == 0 && n.waiting[k] == q {
			delete(n.waiting, k)
		}
	}
	next = earlier(next, n.forsakeOrphans(now))
	next = earlier(next, n.sweepPeers(now))
	for name, last := range n.replies {
		if now.Sub(last) > replyMemory && len(n.routes.to[key{kind: driver.SourceReplies, server: name}]) == 0 {
			delete(n.replies, name)
		}
	}
	if n.lost > 0 {
		n.log.Warn("casts were taken by applications that are gone now; whether they ran is not known", "count", n.lost)
		n.lost = 0
	}
	n.reportState()
	n.resting = next.IsZero() || next.Sub(now) > sweepTime
	if next.IsZero() {
		return restTime
	}
	return min(max(next.Sub(now), time.Millisecond), restTime)
}

// sweepPeers finds peers that are gone for good, parcels whose time is over, and work that waits
// at one peer while another has none.
func (n *Node) sweepPeers(now time.Time) time.Time {
	var next time.Time
	for id, p := range n.peers {
		if p.local {
			n.lapseOut(p, now)
			continue
		}
		if len(p.links) == 0 && !p.gone {
			at := p.down.Add(n.o.DeadAfter)
			switch {
			case !p.listed && p.failed != nil || p.missed() && !now.Before(at):
				n.lose(p, "no connection")
			case len(p.out) > 0 || !p.listed:
				next = earlier(next, at)
			}
		}
		if p.forgettable(now) {
			delete(n.peers, id)
			continue
		}
		n.lapseOut(p, now)
		n.catchUp(p, now)
		if len(p.out) > 0 {
			next = earlier(next, now.Add(sweepTime))
		}
	}
	if len(n.self.out) > 0 {
		next = earlier(next, now.Add(sweepTime))
	}
	return next
}

// lapseOut ends parcels whose time is over, and asks for those back that another peer could do.
func (n *Node) lapseOut(p *peer, now time.Time) {
	late := make(map[key]uint64)
	for seq, pc := range p.out {
		switch {
		case pc.expired(now):
			delete(p.out, seq)
			n.answered(p, pc)
			n.tell(pc, n.lapsed(pc))
			n.drop(pc)
		case pc.acked && now.Sub(pc.sent) >= sweepTime && pc.to.kind == driver.SourceServer && !pc.message.Target.Fanout:
			late[pc.to]++
		}
	}
	if len(late) == 0 || now.Sub(p.recalled) < 2*sweepTime {
		return
	}
	for k, count := range late {
		if !n.idleElsewhere(k, p) {
			continue
		}
		p.recalled = now
		recall := wire.Packet{Type: wire.Recall, Target: k.target(), Number: count}
		if p.local {
			n.recalled(p, &recall)
		} else if len(p.links) > 0 {
			_ = p.links[0].send(&recall)
		}
	}
}

// lapsed is what became of a parcel that a peer has, and whose time is over.
func (n *Node) lapsed(pc *parcel) *driver.Error {
	err := driver.Errorf(driver.ReasonExpired, "send %s: %s did not answer in its time", describe(&pc.message), pc.holder())
	err.InDoubt = true
	return err
}

// idleElsewhere reports whether somebody but p could do what is for k, and has nothing to do.
func (n *Node) idleElsewhere(k key, p *peer) bool {
	return slices.ContainsFunc(n.routes.to[k], func(q *peer) bool {
		return q != p && len(q.out) == 0 && (q.local || len(q.links) > 0)
	})
}

// recalled gives back what nobody took yet, beyond what the listener asks for at a time.
func (n *Node) recalled(p *peer, packet *wire.Packet) {
	left := packet.Number
	for _, k := range keysOf(packet.Target) {
		for l := range n.listeners {
			if l.hears(k) {
				left = n.giveUpReady(l, p, left)
			}
		}
	}
}

func (n *Node) giveUpReady(l *Listener, p *peer, count uint64) uint64 {
	keep := max(l.wanted-len(l.unsettled), 0)
	var back []*inbound
	skip := l.ready.len() - keep
	l.ready.keep(func(in *inbound) bool {
		if skip <= 0 || count == 0 || in.peer != p || in.fan != nil {
			return true
		}
		skip--
		count--
		back = append(back, in)
		return false
	})
	for _, in := range back {
		l.bytes -= in.size
		n.giveBack(in, wire.NackBack)
	}
	return count
}

// reportState tells the application when that changes.
func (n *Node) reportState() {
	state := driver.State{Phase: driver.Ready}
	err := n.o.Registry.Health()
	linked := 0
	for _, p := range n.peers {
		linked += len(p.links)
	}
	if n.phase == searching {
		return // what there is to say is said when it is known who answers
	}
	if err != nil && linked == 0 {
		state.Phase, state.Err = driver.Connecting, driver.AsError(err)
	}
	if state.Phase == n.reported || n.phase >= closing {
		return
	}
	n.reported = state.Phase
	n.o.Report(state)
}
