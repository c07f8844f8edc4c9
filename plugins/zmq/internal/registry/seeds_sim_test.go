// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// mesh is many seeds registries in one process with one clock. A round is a second: each node, in
// a random order, exchanges gossip with three random ones of its view and its addresses.
type mesh struct {
	t     *testing.T
	rand  *rand.Rand
	now   time.Time
	nodes []*meshNode
	// apart tells whether two nodes cannot reach each other.
	apart func(a, b *meshNode) bool
	bytes int // that were sent in this round
	// digest is the longest that was sent.
	digest int
}

type meshNode struct {
	*seeds
	index int
	rec   Record
	down  bool
}

func newMesh(t *testing.T, count int) *mesh {
	m := &mesh{t: t, rand: rand.New(rand.NewPCG(6, uint64(count))), now: time.Unix(1e9, 0)}
	m.apart = func(_, _ *meshNode) bool { return false }
	for range count {
		m.add()
	}
	return m
}

// add starts a node. The first two are everybody's seeds.
func (m *mesh) add() *meshNode {
	o := Options{Logger: slog.New(slog.DiscardHandler), Hosts: []driver.Host{{Name: "h0"}, {Name: "h1"}}}
	s, err := newSeedsWith(o.withDefaults(), defaultSeedLimits(0), func() time.Time { return m.now })
	if err != nil {
		m.t.Fatal(err)
	}
	i := len(m.nodes)
	address := fmt.Sprintf("tcp://h%d:9501", i)
	n := &meshNode{seeds: s, index: i, rec: Record{
		Node: nodeID(i), Instance: "app", Name: "app on a host", Endpoints: []string{address}, Version: 1,
		Targets: []Target{{Kind: driver.SourceServer, Exchange: "openstack", Topic: "compute", Server: fmt.Sprint("s", i)}},
	}}
	m.nodes = append(m.nodes, n)
	m.publish(n)
	return n
}

func (m *mesh) publish(n *meshNode) {
	if err := n.Publish(context.Background(), n.rec); err != nil {
		m.t.Fatal(err)
	}
}

// peers are whom a node may talk to, in a random order.
func (m *mesh) peers(n *meshNode) []*meshNode {
	view := n.View()
	var peers []*meshNode
	for _, i := range m.rand.Perm(len(m.nodes)) {
		if p := m.nodes[i]; view.Records[p.rec.Node] != nil || slices.Contains(view.Addresses, p.rec.Endpoints[0]) {
			peers = append(peers, p)
		}
		if len(peers) == 6 {
			break
		}
	}
	return peers
}

func (m *mesh) round() {
	m.now = m.now.Add(time.Second)
	m.bytes = 0
	for _, i := range m.rand.Perm(len(m.nodes)) {
		n := m.nodes[i]
		if n.down {
			continue
		}
		digest := n.Digest()
		m.digest = max(m.digest, len(digest))
		peers := m.peers(n)
		for _, peer := range peers[:min(3, len(peers))] {
			if peer.down || m.apart(n, peer) {
				n.Gone(peer.rec.Node)
				continue
			}
			m.talk(n, peer, digest)
		}
	}
}

// talk gives a payload to peer and the answers to and fro.
func (m *mesh) talk(from, to *meshNode, payload []byte) {
	for hop := 0; payload != nil; hop++ {
		if hop > 3 {
			m.t.Fatal("an exchange that does not end")
		}
		m.bytes += len(payload)
		answer, err := to.Receive(from.rec.Node, payload)
		if err != nil {
			m.t.Fatal(err)
		}
		payload, from, to = answer, to, from
	}
}

// until plays rounds until each node that is up satisfies ok, and returns how many that took.
func (m *mesh) until(what string, limit int, ok func(*meshNode) bool) int {
	m.t.Helper()
	most, all := 0, 0
	for rounds := 0; ; rounds++ {
		if !slices.ContainsFunc(m.nodes, func(n *meshNode) bool { return !n.down && !ok(n) }) {
			m.t.Logf("%3d nodes: %-38s %2d rounds, %7d bytes a round at most, %7d on average", len(m.nodes), what, rounds, most, all/max(rounds, 1))
			return rounds
		}
		if rounds == limit {
			m.t.Fatalf("%d nodes: %s: not after %d rounds", len(m.nodes), what, limit)
		}
		m.round()
		most, all = max(most, m.bytes), all+m.bytes
	}
}

// complete: n sees every node that is up, in its newest version, and no other.
func (m *mesh) complete(n *meshNode) bool {
	records, want := n.View().Records, 0
	for _, o := range m.nodes {
		if o == n || o.down {
			continue
		}
		want++
		if r := records[o.rec.Node]; r == nil || r.Version != o.rec.Version {
			return false
		}
	}
	return len(records) == want
}

func TestSeedsSimulation(t *testing.T) {
	for _, count := range []int{50, 120} {
		t.Run(strconv.Itoa(count), func(t *testing.T) {
			m := newMesh(t, count)
			m.until("all know all", 10, m.complete)
			quiet, before := 0, make([]<-chan struct{}, count)
			for i, n := range m.nodes {
				before[i] = n.Changed()
			}
			for range 20 {
				m.round()
				quiet += m.bytes
			}
			for _, changed := range before { // nobody becomes suspect in peace
				select {
				case <-changed:
					t.Fatal("a view changed in peace")
				default:
				}
			}
			t.Logf("%3d nodes: in peace %d bytes a second and node, digest %d bytes", count, quiet/20/count, m.digest)

			changed := m.nodes[count/2]
			changed.rec.Version++
			changed.rec.Targets = append(changed.rec.Targets, Target{Kind: driver.SourceReplies, Reply: "r"})
			m.publish(changed)
			m.until("a change is everywhere", 8, m.complete)

			m.nodes[7].down = true
			m.until("a death is known to all", 30, m.complete)

			closed := m.nodes[8]
			if err := closed.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
			m.round()
			closed.down = true
			m.until("a goodbye is known to all", 8, m.complete)

			m.partition()
			m.until("all after a partition of 30 s is healed", 15, m.complete)
			if count == 50 {
				m.forgetGraves()
			}
		})
	}
}

// partition cuts the mesh in two halves for 30 rounds, one of which has no seed, and stops a
// node in each. The seeds are in one half.
func (m *mesh) partition() {
	half := len(m.nodes) / 2
	m.apart = func(a, b *meshNode) bool { return (a.index < half) != (b.index < half) }
	for range 30 {
		m.round()
	}
	m.nodes[3].down, m.nodes[half+3].down = true, true
	for _, n := range m.nodes {
		for id := range n.View().Records {
			if other := m.byID(id); !n.down && m.apart(n, other) {
				m.t.Fatalf("node %d still believes in node %d, which it cannot reach", n.index, other.index)
			}
		}
	}
	m.apart = func(_, _ *meshNode) bool { return false }
}

func (m *mesh) byID(id string) *meshNode {
	for _, n := range m.nodes {
		if n.rec.Node == id {
			return n
		}
	}
	return nil
}

// forgetGraves: the dead are forgotten in time and do not come back.
func (m *mesh) forgetGraves() {
	for range int(defaultSeedLimits(0).Bury/time.Second) + 60 {
		m.round()
	}
	for _, n := range m.nodes {
		if n.down {
			continue
		}
		if !m.complete(n) {
			m.t.Fatalf("node %d sees %d nodes", n.index, len(n.View().Records))
		}
		if len(n.nodes) != len(n.View().Records)+1 {
			m.t.Fatalf("node %d remembers %d nodes and sees %d", n.index, len(n.nodes), len(n.View().Records))
		}
	}
}

// TestSeedsRefuteInTime: somebody who cannot reach a node again and again, which the others can,
// does not make it vanish from any view.
func TestSeedsRefuteInTime(t *testing.T) {
	m := newMesh(t, 100)
	m.until("all know all", 10, m.complete)
	before := make([]<-chan struct{}, len(m.nodes))
	for i, n := range m.nodes {
		before[i] = n.Changed()
	}
	for range 20 {
		m.nodes[20].Gone(m.nodes[70].rec.Node)
		m.round()
	}
	for i, changed := range before {
		select {
		case <-changed:
			t.Fatalf("the view of node %d changed", i)
		default:
		}
	}
}

// TestSeedsHaveNoGhosts: when a node dies together with all that were linked to it, nobody is
// left to suspect it first hand. It is forgotten nevertheless.
func TestSeedsHaveNoGhosts(t *testing.T) {
	m := newMesh(t, 20)
	m.until("all know all", 10, m.complete)
	m.nodes[9].down = true
	gone := m.nodes[9].rec.Node
	view := func() bool {
		return slices.ContainsFunc(m.nodes, func(n *meshNode) bool { return !n.down && n.View().Records[gone] != nil })
	}
	for rounds := 0; view(); rounds++ {
		if rounds > 40 {
			t.Fatal("the dead node is still in a view")
		}
		m.now = m.now.Add(time.Second)
		for _, n := range m.nodes {
			if n.down {
				continue
			}
			// Nobody tries to talk to the dead one.
			peers := slices.DeleteFunc(m.peers(n), func(p *meshNode) bool { return p.down })
			for _, p := range peers[:min(3, len(peers))] {
				m.talk(n, p, n.Digest())
			}
		}
	}
	for _, n := range m.nodes {
		if !n.down && len(n.View().Records) != 18 {
			t.Errorf("node %d sees %d nodes, want 18", n.index, len(n.View().Records))
		}
	}
}
