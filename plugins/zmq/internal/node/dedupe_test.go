// SPDX-License-Identifier: Apache-2.0

package node

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/wire"
)

// model is a sender that does everything the protocol allows: it has two links, which break at any
// time, and sends everything that is not settled again whenever it likes, in any order.
type model struct {
	*world
	rnd   *rand.Rand
	node  *Node
	links [2]*stranger
	next  uint64
	open  map[uint64]string // numbers that are not settled, and whose they are
	told  map[string]bool   // settled as done
	floor uint64            // nothing below it is open

	breaks int
}

func (m *model) relink(i int) {
	if m.links[i] != nil {
		m.links[i].end()
	}
	s := m.dial(m.node, strangerID(77))
	s.version = 1
	s.hello("model")
	m.links[i] = s
	m.breaks++
	m.resend()
}

// mend makes links anew that the node has closed: it does so when another one of the same peer broke.
func (m *model) mend() {
	for i, s := range m.links {
		select {
		case <-s.conn.Done():
			m.relink(i)
		default:
		}
	}
}

// resend sends again what is not settled, over either link.
func (m *model) resend() {
	for _, seq := range sortedKeys(m.open) {
		m.transmit(seq, 1)
		if m.rnd.IntN(20) == 0 {
			m.transmit(seq, 2)
		}
	}
}

func sortedKeys(all map[uint64]string) []uint64 {
	var keys []uint64
	for k := range all {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (m *model) transmit(seq uint64, attempt uint32) {
	s := m.links[m.rnd.IntN(2)]
	if s == nil {
		s = m.links[0]
	}
	for m.floor <= m.next && m.open[m.floor] == "" {
		m.floor++
	}
	packet := wire.Packet{Type: wire.Cast, Seq: seq, Attempt: attempt, Floor: m.floor, Message: *cast("t", m.open[seq])}
	_ = s.conn.Send(packet.Append(nil)) // a broken link is made anew
}

func (m *model) give(id string) {
	m.next++
	m.open[m.next] = id
	m.transmit(m.next, 0)
}

// answers takes in the settlements that have come. It reports whether there were any.
func (m *model) answers() bool {
	some := false
	for _, s := range m.links {
		for more := s != nil; more; {
			select {
			case p, ok := <-s.packets:
				if more = ok; ok && p.Type == wire.Settle {
					some = true
					m.settled(p)
				}
			default:
				more = false
			}
		}
	}
	return some
}

// settle reports whether no more than most are open.
func (m *model) settle(most int) bool {
	m.mend()
	for m.answers() {
	}
	return len(m.open) <= most
}

func (m *model) settled(p *wire.Packet) {
	for _, r := range p.Done {
		for seq := r.From; seq <= r.To; seq++ {
			if id, ok := m.open[seq]; ok {
				if m.told[id] {
					m.Errorf("%s is done twice", id)
				}
				m.told[id] = true
				delete(m.open, seq)
			}
		}
	}
	for _, nack := range p.Nacks {
		if id, ok := m.open[nack.Seq]; ok {
			delete(m.open, nack.Seq)
			m.give(id)
		}
	}
}

// TestEachOnce: whatever happens to the links, each message is delivered once and done once.
func TestEachOnce(t *testing.T) {
	const count = 10_000
	w := newWorld(t)
	n := w.open(func(o *Options) { o.QueueMessages = 100 })
	l := w.listen(n, server("t", "s"))
	m := &model{world: w, node: n, open: make(map[uint64]string), told: make(map[string]bool)}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	m.rnd = rand.New(rand.NewPCG(seed, 1))
	m.relink(0)
	m.relink(1)

	got := make(map[string]int)
	delivered := make(chan struct{})
	go func() {
		defer close(delivered)
		requeue := rand.New(rand.NewPCG(seed, 2))
		back := make(map[string]bool)
		for len(got) < count {
			ds, err := l.Poll(w.soon(), 64)
			if err != nil {
				return
			}
			for _, d := range ds {
				r := driver.Accepted
				if !back[d.UniqueID] && requeue.IntN(50) == 0 {
					back[d.UniqueID], r = true, driver.Requeued
				} else {
					got[d.UniqueID]++
				}
				w.done(l, d, r)
			}
		}
	}()
	for i := range count {
		m.give(strconv.Itoa(i))
		if m.rnd.IntN(500) == 0 {
			m.relink(m.rnd.IntN(2))
		}
		if m.rnd.IntN(200) == 0 {
			m.resend()
		}
		m.mend()
		m.answers()
		w.until("there are answers", func() bool { return m.settle(600) })
	}
	w.until("everything is settled", func() bool { return m.settle(0) })
	<-delivered
	for id, times := range got {
		if times != 1 {
			t.Errorf("%s was delivered %d times", id, times)
		}
	}
	if len(got) != count || len(m.open) != 0 {
		t.Errorf("%d of %d were delivered, %d are open", len(got), count, len(m.open))
	}
	w.wantNothing(l, 1)
	t.Logf("%d messages, %d numbers, %d breaks", count, m.next, m.breaks)
}

// TestForget: numbers are forgotten, also when one message is not done for long.
func TestForget(t *testing.T) {
	p := newPeer("p")
	p.in[1] = &inbound{}
	for seq := uint64(2); seq < 3*maxFinished; seq++ {
		p.forget(1)
		p.finish(seq, 0)
	}
	if len(p.finished) > maxFinished {
		t.Errorf("%d numbers are kept", len(p.finished))
	}
	if p.isFinished(1) || !p.isFinished(2) || !p.isFinished(3*maxFinished-1) || p.isFinished(3*maxFinished) {
		t.Error("what is under way counts as finished, or what is finished does not")
	}
	delete(p.in, 1)
	p.finish(1, 0)
	for seq := uint64(3 * maxFinished); seq < 5*maxFinished; seq++ {
		p.finish(seq, 0)
		p.forget(seq)
	}
	if len(p.finished) > 2*minForget {
		t.Errorf("%d numbers are kept below the floor", len(p.finished))
	}

	p = newPeer("p")
	p.out[1] = &parcel{}
	p.number(1)
	for seq := uint64(2); seq < 100_000; seq++ {
		p.number(seq)
	}
	if p.order.len() > 2*minForget || p.floor(100_000) != 1 {
		t.Errorf("%d numbers are in order, the floor is %d", p.order.len(), p.floor(100_000))
	}
}
