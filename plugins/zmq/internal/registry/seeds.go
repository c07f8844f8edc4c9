// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// defaultSeedPort is that of a seed whose address has none.
const defaultSeedPort = 9501

// seeds is discovery without any store: nodes tell each other what they know (Gossiper). It is
// given the addresses of a few nodes; the others are learned. One of the addresses should be up
// in each part that a network can fall into: through it the parts find each other again.
//
// Each node has a state and an incarnation that only the node itself raises: about three times in
// Options.TTL, and whenever it hears that others think ill of it. A higher incarnation beats a
// lower one, and within one the worse state beats the better. A node that others cannot reach is
// suspect and still in the view; when it does not answer the suspicion it is dead. A node whose
// incarnation does not grow for Options.TTL (at least 15 seconds) becomes suspect too, for it may
// have died with all who were linked to it. What we know first hand, a link with a Hello, beats
// hearsay.
//
// Gossip trusts whom the links let in. A peer cannot replace a record by an older one, or our own
// one at all, and everything it says is bounded; but it can invent nodes and newer records.
// Authenticate the links (TLS) where that matters.
//
// It does nothing by itself: time passes when its methods are called.
type seeds struct {
	*board
	log       *slog.Logger
	namespace string
	limits    seedLimits
	addresses []string
	now       func() time.Time

	lock   sync.Mutex // guards all below; the lock of the board is taken inside it
	self   string     // our id, "" before the first Publish
	nodes  map[string]*neighbour
	size   int       // of all records, in bytes of JSON
	raised time.Time // when our incarnation last grew
	swept  time.Time
	cursor nodeKey // where the next part of a digest begins that is too long for one
	full   bool    // it was said that there is no room
	dirty  bool    // the view may be another
	closed bool
}

// seedLimits are times and bounds; tests have their own.
type seedLimits struct {
	// Expire is how long a node is believed alive of which nothing new is heard.
	Expire time.Duration
	// Suspect is how long a suspicion may go unanswered.
	Suspect time.Duration
	// Bury is how long dead ones are remembered, so that old gossip does not raise them.
	Bury time.Duration
	// Nodes, Graves and Bytes bound what is remembered: nodes in all, dead ones among them, and
	// the JSON of all records.
	Nodes, Graves, Bytes int
	// Digest and Answer bound what is said at once, in bytes. One record is always said.
	Digest, Answer int
}

func defaultSeedLimits(ttl time.Duration) seedLimits {
	expire := max(ttl, 15*time.Second) // news needs some seconds to get around
	return seedLimits{
		Expire: expire, Suspect: 5 * time.Second, Bury: 8 * expire,
		Nodes: 4096, Graves: 1024, Bytes: 64 << 20, Digest: 60 << 10, Answer: 256 << 10,
	}
}

var _ Gossiper = (*seeds)(nil)

// newSeeds makes the registry of zmq+seeds.
func newSeeds(o Options) (Registry, error) {
	o = o.withDefaults()
	return newSeedsWith(o, defaultSeedLimits(o.TTL), time.Now)
}

func newSeedsWith(o Options, limits seedLimits, now func() time.Time) (*seeds, error) {
	if len(o.Hosts) == 0 {
		return nil, driver.Errorf(driver.ReasonConfig, "zmq+seeds has no seed").
			WithHint("name a few nodes that are usually up: zmq+seeds://host1:%d,host2:%d", defaultSeedPort, defaultSeedPort)
	}
	if len(o.Namespace) > maxText {
		return nil, driver.Errorf(driver.ReasonConfig, "the namespace has %d bytes, more than %d", len(o.Namespace), maxText)
	}
	s := &seeds{
		board: newBoard(), log: o.Logger, namespace: o.Namespace, limits: limits, now: now,
		nodes: make(map[string]*neighbour),
	}
	for _, h := range o.Hosts {
		address, err := parseEndpoint(h.Address(defaultSeedPort), 0)
		if err != nil {
			return nil, driver.Errorf(driver.ReasonConfig, "seed: %w", err).WithHint("write host:port")
		}
		if !slices.Contains(s.addresses, address) {
			s.addresses = append(s.addresses, address)
		}
	}
	s.show(nil, s.addresses)
	return s, nil
}

// Publish implements Registry. It never fails for anything remote: the next digests tell.
func (s *seeds) Publish(_ context.Context, rec Record) error {
	own := rec.clone()
	data, err := encodeRecord(own)
	if err != nil {
		return driver.Errorf(driver.ReasonConfig, "this node cannot be announced: %w", err)
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	switch old := s.nodes[s.self]; {
	case s.closed:
		return driver.Errorf(driver.ReasonClosed, "the registry is closed")
	case old == nil:
	case s.self != own.Node:
		return driver.Errorf(driver.ReasonDriverBug, "node %s announces itself as %s", s.self, own.Node)
	case own.Version < old.version:
		return driver.Errorf(driver.ReasonDriverBug, "node %s announces version %d after %d", own.Node, own.Version, old.version)
	}
	now := s.now()
	if s.self == "" {
		s.forget(own.Node) // hearsay about ourselves
		s.self, s.raised = own.Node, now
		s.nodes[s.self] = &neighbour{since: now, heard: now}
	}
	s.replace(s.nodes[s.self], own, len(data))
	s.reveal()
	return nil
}

// Refresh implements Registry: there is nowhere to look.
func (s *seeds) Refresh(context.Context) error { return nil }

// Close implements Registry. Digest says goodbye afterwards: the node sends one last digest to
// its peers before it closes its links.
func (s *seeds) Close(context.Context) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if own := s.nodes[s.self]; own != nil {
		s.turn(own, left, own.inc+1, s.now())
	}
	return nil
}

// Alive implements Gossiper.
func (s *seeds) Alive(rec *Record) {
	own := rec.clone()
	data, err := encodeRecord(own)
	if err != nil {
		s.log.Warn("a peer's record is left out", "node", own.Node, "err", err.Error())
		return
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	now := s.now()
	s.sweep(now)
	n := s.nodes[own.Node]
	switch {
	case own.Node == s.self:
		return
	case n == nil:
		if !s.room(true) {
			return
		}
		n = &neighbour{since: now}
		s.nodes[own.Node] = n
	case n.state == left:
		return // a Hello that was still under way
	}
	n.linked, n.heard, s.dirty = true, now, true
	if s.newer(n, own) {
		s.replace(n, own, len(data))
	}
	s.reveal()
}

// Gone implements Gossiper.
func (s *seeds) Gone(node string) {
	s.lock.Lock()
	defer s.lock.Unlock()
	now := s.now()
	s.sweep(now)
	if n := s.nodes[node]; n != nil && node != s.self {
		s.unlink(n, now)
		s.reveal()
	}
}

// reveal shows the view that follows from the nodes, when they changed.
func (s *seeds) reveal() {
	if !s.dirty {
		return
	}
	s.dirty = false
	records := make(map[string]*Record, len(s.nodes))
	for id, n := range s.nodes {
		if id != s.self && n.visible() {
			records[id] = n.rec
		}
	}
	s.show(records, s.others())
}

// others are the seeds that are not ourselves, as far as the endpoints tell.
func (s *seeds) others() []string {
	own := s.nodes[s.self]
	if own == nil || own.rec == nil {
		return s.addresses
	}
	var others []string
	for _, a := range s.addresses {
		if !slices.Contains(own.rec.Endpoints, a) {
			others = append(others, a)
		}
	}
	return others
}
