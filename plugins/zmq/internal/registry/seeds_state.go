// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"cmp"
	"slices"
	"time"
)

// nodeState is what is thought of a node. The numbers are on the wire; within one incarnation the
// higher one wins.
type nodeState uint8

const (
	alive nodeState = iota
	suspect
	dead
	// left is said by the node itself.
	left
)

// neighbour is what is known of a node.
type neighbour struct {
	rec     *Record // nil for a dead one, and until it came
	size    int     // of rec, in bytes of JSON
	version uint64  // of the newest record that was ever seen
	inc     uint64
	state   nodeState
	since   time.Time // when state became what it is
	heard   time.Time // when inc last grew or the node spoke to us
	linked  bool      // first-hand: it is there, whatever others say
}

func (n *neighbour) visible() bool {
	return n.rec != nil && n.state != left && (n.linked || n.state < dead)
}

func (n *neighbour) buried() bool { return n.state >= dead && !n.linked || n.state == left }

// beaten reports whether state and incarnation say more than those of n.
func (n *neighbour) beaten(state nodeState, inc uint64) bool {
	return inc > n.inc || inc == n.inc && state > n.state
}

// turn changes what is thought of a node. Who is dead for us needs no record any more.
func (s *seeds) turn(n *neighbour, state nodeState, inc uint64, now time.Time) {
	if inc > n.inc {
		n.heard, n.since = now, now // a suspicion of a later incarnation may be answered anew
	}
	if state != n.state {
		n.since, s.dirty = now, true
	}
	n.state, n.inc = state, inc
	if n.buried() {
		n.linked = false
		s.replace(n, nil, 0)
	}
}

// unlink ends what we knew first hand: a suspicion starts, or one that others have is shared.
func (s *seeds) unlink(n *neighbour, now time.Time) {
	if n.linked && n.state == suspect {
		n.since = now
	}
	n.linked, s.dirty = false, true
	s.turn(n, max(n.state, suspect), n.inc, now)
}

// hearsay takes in what a peer thinks of a node. What it says of us is answered by a higher
// incarnation, unless it is true.
func (s *seeds) hearsay(id string, state nodeState, inc uint64, now time.Time) {
	n := s.nodes[id]
	switch {
	case n == nil || !n.beaten(state, inc):
	case id != s.self:
		s.turn(n, state, inc, now)
	case s.closed:
	default:
		n.inc, s.raised = min(inc+1, maxInc), now
	}
}

// learn takes in a record that a peer handed on.
func (s *seeds) learn(r heardRecord, now time.Time) {
	s.hearsay(r.rec.Node, r.state, r.inc, now)
	n := s.nodes[r.rec.Node]
	switch {
	case r.rec.Node == s.self:
	case n == nil:
		// Only the living are made known by hearsay: rumours of the dead would go round for ever.
		if r.state != alive || !s.room(false) || s.size+r.size > s.limits.Bytes {
			return
		}
		n = &neighbour{inc: r.inc, since: now, heard: now}
		s.nodes[r.rec.Node] = n
		s.replace(n, r.rec, r.size)
	case !n.buried() && s.newer(n, r.rec) && s.size-n.size+r.size <= s.limits.Bytes:
		s.replace(n, r.rec, r.size)
	}
}

func (s *seeds) newer(n *neighbour, rec *Record) bool {
	return rec.Version > n.version || n.rec == nil && rec.Version == n.version
}

// replace puts rec in place of the record of n; nil for none.
func (s *seeds) replace(n *neighbour, rec *Record, size int) {
	s.size += size - n.size
	s.dirty = true
	n.rec, n.size = rec, size
	if rec != nil {
		n.version = rec.Version
	}
}

func (s *seeds) forget(id string) {
	if n := s.nodes[id]; n != nil {
		s.size -= n.size
		s.dirty = true
		delete(s.nodes, id)
	}
}

// sweep lets time pass.
func (s *seeds) sweep(now time.Time) {
	if now.Sub(s.swept) < s.limits.Suspect/20 && !now.Before(s.swept) {
		return
	}
	s.swept = now
	graves := 0
	for id, n := range s.nodes {
		if id == s.self {
			continue
		}
		if (n.linked || n.state == alive) && now.Sub(n.heard) > s.limits.Expire {
			s.unlink(n, now)
		}
		if n.state == suspect && !n.linked && now.Sub(n.since) >= s.limits.Suspect {
			s.turn(n, dead, n.inc, now)
		}
		if !n.buried() {
			continue
		}
		if graves++; now.Sub(n.since) > s.limits.Bury {
			s.forget(id)
			graves--
		}
	}
	if graves > s.limits.Graves {
		s.drop(graves-s.limits.Graves, (*neighbour).buried)
	}
	s.full = s.full && len(s.nodes) >= s.limits.Nodes
}

// room makes room for one more node: of the dead first, and for one that we know first hand also
// of those we know by hearsay.
func (s *seeds) room(firstHand bool) bool {
	if len(s.nodes) < s.limits.Nodes {
		return true
	}
	if s.drop(1, (*neighbour).buried) || firstHand && s.drop(1, func(n *neighbour) bool { return !n.linked }) {
		return true
	}
	if !s.full {
		s.full = true
		s.log.Warn("there are more nodes than can be remembered; the newest are left out", "nodes", len(s.nodes))
	}
	return false
}

// drop forgets the count nodes that are longest in their state, of those that which says.
func (s *seeds) drop(count int, which func(*neighbour) bool) bool {
	var ids []string
	for id, n := range s.nodes {
		if id != s.self && which(n) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b string) int {
		return cmp.Or(s.nodes[a].since.Compare(s.nodes[b].since), cmp.Compare(a, b))
	})
	ids = ids[:min(count, len(ids))]
	for _, id := range ids {
		s.forget(id)
	}
	return len(ids) > 0
}
