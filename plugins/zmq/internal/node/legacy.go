// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"strconv"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/legacy"
	"github.com/parleymq/parley/plugins/zmq/internal/registry"
	"github.com/parleymq/parley/plugins/zmq/internal/wire"
	"github.com/parleymq/parley/plugins/zmq/internal/zmtp"
)

// Peers of oslo.messaging 8.x know no acknowledgements: what is written to one is taken for done,
// and what it sends is not answered until there is a reply. Their requests name no target, because
// each of their listeners has a port of its own (oslo_messaging/_drivers/zmq_driver/server); a node
// has one port, so that only one server and one listener to notifications can be meant.

// legacyPeer is what is kept of a peer of 8.x.
type legacyPeer struct {
	seq   uint64
	calls map[string]legacyCall // that it was sent, by their id; bounded by maxLegacyCalls
}

type legacyCall struct {
	replyTo, callID string
	expires         time.Time
}

const (
	maxLegacyCalls = 10_000
	// legacyCallTime is how long the reply to a call without a limit is waited for.
	legacyCallTime = 10 * time.Minute
)

// meetLegacy makes a peer of a connection whose first message is one of 8.x.
func (n *Node) meetLegacy(l *link) {
	n.strangers++
	id := "oslo8-" + strconv.FormatUint(n.strangers, 10)
	p := newPeer(id)
	p.legacy = &legacyPeer{calls: make(map[string]legacyCall)}
	p.record = &registry.Record{
		Node: id, Name: "oslo.messaging at " + l.conn.Peer().Address, Legacy: true,
		Targets: []registry.Target{{Kind: driver.SourceReplies, Reply: id}},
	}
	p.left = true // with its connection it is gone
	l.peer = p
	p.links = append(p.links, l)
	n.peers[id] = p
	n.reroute()
	n.log.Debug("a peer of oslo.messaging 8 has connected", "peer", p.String())
}

// handleLegacy does what a message of 8.x says.
func (n *Node) handleLegacy(l *link, frames [][]byte) error {
	if l.dialed {
		return n.legacyReply(l.peer, frames)
	}
	r, err := legacy.DecodeRequest(frames)
	if err != nil {
		return err
	}
	m := r.Message
	if !n.aim(&m) {
		n.log.Warn("a request of oslo.messaging 8 names no target, and there is not exactly one listener it could be for",
			"peer", l.peer.String(), "kind", m.Kind.String())
		return nil
	}
	if m.Kind == driver.Call {
		m.ReplyTo = l.peer.id
	}
	for _, pool := range n.poolsFor(&m) {
		l.peer.legacy.seq++
		n.receive(l.peer, &wire.Packet{Type: typeOf(m.Kind), Seq: l.peer.legacy.seq, Floor: l.peer.legacy.seq, Pool: pool, Message: m})
	}
	return nil
}

// poolsFor are the pools of listeners here that are to have a copy each.
func (n *Node) poolsFor(m *driver.Message) []string {
	if m.Kind != driver.Notification {
		return []string{""}
	}
	var pools []string
	for l := range n.listeners {
		k := keyOf(m)
		if k.pool = l.src.Pool; !l.stopped && l.hears(k) {
			pools = appendNew(pools, k.pool)
		}
	}
	return pools
}

// aim gives a request the target of the one listener that it can be for.
func (n *Node) aim(m *driver.Message) bool {
	var only *registry.Target
	for l := range n.listeners {
		if l.stopped {
			continue
		}
		for _, t := range l.targets() {
			if t.Kind == driver.SourceReplies || (t.Kind == driver.SourceNotifications) != (m.Kind == driver.Notification) {
				continue
			}
			if t.Kind == driver.SourceNotifications && t.Priority != m.Priority {
				continue
			}
			if only != nil && (only.Exchange != t.Exchange || only.Topic != t.Topic) {
				return false
			}
			only = &t
		}
	}
	if only == nil {
		return false
	}
	m.Target.Exchange, m.Target.Topic = only.Exchange, only.Topic
	return true
}

// legacyReply takes the answer to a call in.
func (n *Node) legacyReply(p *peer, frames [][]byte) error {
	id, body, failure, err := legacy.DecodeReply(frames)
	if err != nil {
		return err
	}
	call, ok := p.legacy.calls[id]
	if !ok {
		return nil // it came too late
	}
	delete(p.legacy.calls, id)
	p.legacy.seq++
	n.receive(p, &wire.Packet{Type: wire.Reply, Seq: p.legacy.seq, Floor: p.legacy.seq, Message: driver.Message{
		Kind: driver.Reply, ReplyTo: call.replyTo, CallID: call.callID, UniqueID: id, Body: body, Failure: failure,
	}})
	return nil
}

// transmitLegacy writes a parcel to a peer of 8.x, and is done with it.
func (n *Node) transmitLegacy(p *peer, pc *parcel, now time.Time) bool {
	m := &pc.message
	var frames [][]byte
	switch m.Kind {
	case driver.Reply:
		frames = legacy.AppendReply(nil, m.CallID, m.Body, m.Failure)
	case driver.Heartbeat: // they know none
	default:
		frames = legacy.AppendRequest(nil, legacy.TypeOf(m), m.UniqueID, m)
		p.expect(m, now)
	}
	if frames != nil && p.links[0].conn.Send(frames) != nil {
		return false
	}
	n.tell(pc, nil)
	n.drop(pc)
	return true
}

// expect notes a call, so that its reply finds the way back.
func (p *peer) expect(m *driver.Message, now time.Time) {
	if m.Kind != driver.Call {
		return
	}
	if len(p.legacy.calls) >= maxLegacyCalls {
		for id, c := range p.legacy.calls {
			if now.After(c.expires) {
				delete(p.legacy.calls, id)
			}
		}
	}
	if len(p.legacy.calls) >= maxLegacyCalls {
		return // its caller learns it by its deadline
	}
	wait := m.TimeLeft
	if wait <= 0 {
		wait = legacyCallTime
	}
	p.legacy.calls[m.UniqueID] = legacyCall{replyTo: m.ReplyTo, callID: m.CallID, expires: now.Add(wait)}
}

// serveLegacy reads a connection that we dialled to a server of 8.x.
func (n *Node) serveLegacy(ctx context.Context, conn *zmtp.Conn, p *peer) error {
	defer conn.Close() //nolint:errcheck // it is over
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	l := &link{n: n, conn: conn, dialed: true, peer: p}
	n.mu.Lock()
	if p.legacy == nil {
		p.legacy = &legacyPeer{calls: make(map[string]legacyCall)}
	}
	p.links = append(p.links, l)
	p.down, p.failed, p.gone = time.Time{}, nil, false
	n.reroute()
	n.moved()
	n.mu.Unlock()
	for {
		frames, err := conn.Recv()
		if err == nil {
			n.mu.Lock()
			err = n.handleLegacy(l, frames)
			n.mu.Unlock()
		}
		if err != nil {
			n.unlink(l, err)
			return err
		}
	}
}
