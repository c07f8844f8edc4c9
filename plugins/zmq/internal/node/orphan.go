// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// lose says that a peer is gone, and what becomes of what it was given.
func (n *Node) lose(p *peer, why string) {
	if p.gone {
		return
	}
	p.gone = true
	n.log.Debug("a peer is gone", "peer", p.String(), "why", why)
	if g := n.gossiper(); g != nil && p.legacy == nil {
		g.Gone(p.id)
	}
	out := slices.SortedFunc(maps.Values(p.out), func(a, b *parcel) int { return cmp.Compare(a.seq, b.seq) })
	clear(p.out)
	p.behind, p.unanswered = nil, 0
	p.settle = settlements{}
	n.reroute()
	now := time.Now()
	for _, pc := range out {
		pc.peer, pc.last = nil, p
		// Before a goodbye everything that was taken is answered.
		refused := p.left && !p.torn && !pc.acked
		switch {
		case pc.heirs != "":
			n.bequeath(pc, p, now)
		case refused:
			pc.attempt++
			pc.written = false
			n.dispatch(pc, now)
		case pc.repeatable() || pc.anyone || p.atLeastOnce(pc.to):
			pc.attempt++
			pc.redelivered, pc.anyone = true, false
			n.dispatch(pc, now)
		default:
			n.bequeath(pc, p, now)
		}
	}
}

// bequeath keeps a parcel that may have been handled for the application that had it, or ends it
// when there is no telling which that is.
func (n *Node) bequeath(pc *parcel, p *peer, now time.Time) {
	if pc.heirs == "" && p.record != nil {
		pc.heirs = p.record.Instance
	}
	if pc.heirs == "" || pc.message.Target.Fanout {
		n.forsake(pc, p.String())
		return
	}
	pc.again = now.Add(n.o.OrphanTime)
	n.orphans[pc.heirs] = append(n.orphans[pc.heirs], pc)
	n.adoptOrphans(now)
	signal(n.sweeps)
}

// adoptOrphans gives what was written to a gone peer to another one of the same application,
// which knows what it had.
func (n *Node) adoptOrphans(now time.Time) {
	for instance, list := range n.orphans {
		left := list[:0]
		for _, pc := range list {
			p := n.heir(instance, pc.to)
			if p == nil {
				left = append(left, pc)
				continue
			}
			pc.attempt++
			pc.redelivered, pc.last = true, nil
			if !n.transmit(p, pc, now) {
				left = append(left, pc)
			}
		}
		if len(left) == 0 {
			delete(n.orphans, instance)
		} else {
			n.orphans[instance] = left
		}
	}
}

// reclaim returns what waits for an application to the peer that had it, and was only away: under
// the same numbers, by which it knows them. Its application remembers fewer than a peer holds.
func (n *Node) reclaim(p *peer, now time.Time) {
	for instance, list := range n.orphans {
		list = slices.DeleteFunc(list, func(pc *parcel) bool {
			if pc.last != p {
				return false
			}
			pc.peer, pc.last, pc.sent, pc.breaks = p, nil, now, 0
			p.out[pc.seq] = pc
			if !pc.acked {
				p.unanswered++
			}
			return true
		})
		if len(list) == 0 {
			delete(n.orphans, instance)
		} else {
			n.orphans[instance] = list
		}
	}
	// They come before all that it is given from now on.
	p.order = queue[uint64]{items: slices.Sorted(maps.Keys(p.out))}
}

// heir is a peer of an application that listens to k.
func (n *Node) heir(instance string, k key) *peer {
	for _, p := range n.routes.to[k] {
		if p.record.Instance == instance && (p.local || len(p.links) > 0) {
			return p
		}
	}
	return nil
}

// forsakeOrphans ends those whose application has not come back. It returns when to look again.
func (n *Node) forsakeOrphans(now time.Time) time.Time {
	var next time.Time
	away := len(n.orphans) > 0 && n.o.Registry.Health() != nil
	for instance, list := range n.orphans {
		left := list[:0]
		for _, pc := range list {
			if away && now.Sub(pc.sent) < n.o.HoldTime {
				// Who comes back cannot be found now.
				pc.again = now.Add(n.o.OrphanTime)
				next = earlier(next, now.Add(n.o.OrphanTime/2))
			}
			if now.Before(pc.again) {
				next = earlier(next, pc.again)
				left = append(left, pc)
				continue
			}
			n.forsake(pc, "its application")
		}
		clear(list[len(left):])
		if len(left) == 0 {
			delete(n.orphans, instance)
		} else {
			n.orphans[instance] = left
		}
	}
	return next
}

// forsake ends a parcel that may or may not have been handled.
func (n *Node) forsake(pc *parcel, who string) {
	if pc.report == nil {
		n.lost++
	}
	n.tell(pc, inDoubt(pc, goneError(who)))
	n.drop(pc)
}

type goneError string

func (e goneError) Error() string { return string(e) + " is gone" }

func (n *Node) unorphan(pc *parcel) {
	for instance, list := range n.orphans {
		list = slices.DeleteFunc(list, func(other *parcel) bool { return other == pc })
		if len(list) == 0 {
			delete(n.orphans, instance)
		} else {
			n.orphans[instance] = list
		}
	}
}
