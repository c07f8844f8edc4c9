// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/legacy"
	"github.com/parleymq/parley/plugins/zmq/internal/registry"
	"github.com/parleymq/parley/plugins/zmq/internal/wire"
	"github.com/parleymq/parley/plugins/zmq/internal/zmtp"
)

// link is one connection to a peer. Both sides send both ways.
type link struct {
	n      *Node
	conn   *zmtp.Conn
	dialed bool
	want   string // the node that was dialled, "" for whoever is there

	// The rest is guarded by n.mu.
	peer   *peer    // nil before its Hello
	used   bool     // messages or answers went over it, in either direction
	bye    bool     // its peer said goodbye
	frames [][]byte // scratch of send
}

// helloTime bounds the wait for a peer's first packet.
const helloTime = 5 * time.Second

// send puts a packet into the link's buffer. n.mu is held.
func (l *link) send(p *wire.Packet) error {
	l.frames = p.Append(l.frames[:0])
	l.used = l.used || p.Type <= wire.Settle
	return l.conn.Send(l.frames)
}

// say sends what the peer has to hear. A link whose buffer is full is cut: the next one begins anew.
func (l *link) say(p *wire.Packet) {
	if l.send(p) != nil {
		_ = l.conn.Close() // unlink does the rest
	}
}

// accept takes connections until the node ends.
func (n *Node) accept(ctx context.Context, door *zmtp.Listener) {
	for {
		conn, err := door.Accept(ctx)
		if err != nil {
			return
		}
		n.run(func(ctx context.Context) { _ = n.serve(ctx, &link{n: n, conn: conn}) }) // what it ended of is in the log
	}
}

var (
	errSelf    = errors.New("the address is our own")
	errSilent  = errors.New("no hello in time")
	errStrange = errors.New("the first packet is not a hello")
	// errImpostor: nothing is wrong with it, and it is not who was dialled.
	errImpostor = errors.New("another node is at the address now")
	errMixed    = errors.New("a message of version 1 from a peer that began with 2")
)

// serve reads one connection to its end, and says why it ended.
func (n *Node) serve(ctx context.Context, l *link) error {
	conn := l.conn
	defer conn.Close() //nolint:errcheck // it is over
	// Who dials speaks first: a peer of 8.x would not know what a Hello is.
	if l.dialed {
		if err := n.sayHello(l); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	silent := time.AfterFunc(helloTime, func() { _ = conn.Close() })
	defer silent.Stop()
	for {
		frames, err := conn.Recv()
		if err != nil {
			n.unlink(l, err)
			return err
		}
		if err := n.take(l, frames, silent); err != nil {
			n.unlink(l, err)
			if !errors.Is(err, errSelf) && !errors.Is(err, errImpostor) && driver.ReasonOf(err) != driver.ReasonClosed {
				n.log.Warn("a connection was closed: its peer sent what cannot be understood", "peer", conn.Peer().Address, "err", err.Error())
			}
			return err
		}
	}
}

func (n *Node) sayHello(l *link) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	hello := n.hello(false)
	return l.send(&hello)
}

// take decodes one message and does what it says.
func (n *Node) take(l *link, frames [][]byte, silent *time.Timer) error {
	if !l.dialed && legacy.Is(frames) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if l.peer == nil {
			silent.Stop()
			n.meetLegacy(l)
		}
		if l.peer.legacy == nil {
			return errMixed
		}
		return n.handleLegacy(l, frames)
	}
	packet, err := wire.Decode(frames)
	if err != nil {
		return n.notUnderstood(l, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.peer == nil {
		silent.Stop()
		if packet.Type != wire.Hello || packet.Record == nil {
			return errStrange
		}
		return n.greeted(l, packet)
	}
	n.handle(l, packet)
	return nil
}

// notUnderstood refuses a message that cannot be decoded, so that it is not sent for ever. Anything
// else ends the connection.
func (n *Node) notUnderstood(l *link, err error) error {
	bad, ok := errors.AsType[*wire.Error](err)
	n.mu.Lock()
	defer n.mu.Unlock()
	if !ok || l.peer == nil || bad.Seq == 0 && !bad.Unknown {
		return err
	}
	if bad.Unknown {
		return nil // of a later version, and nothing that must be answered
	}
	n.log.Warn("a message is refused: it cannot be understood", "peer", l.conn.Peer().Address, "err", err.Error())
	n.oweNack(l.peer, wire.Nack{Seq: bad.Seq, Reason: wire.NackBad})
	return nil
}

// handle does what a packet says.
func (n *Node) handle(l *link, packet *wire.Packet) {
	p := l.peer
	if p.legacy != nil {
		return // version 2 from a peer that began with 1
	}
	if packet.Type > wire.Heartbeat {
		p.load = packet.Load
	}
	l.used = l.used || packet.Type <= wire.Settle
	switch packet.Type {
	case wire.Call, wire.Cast, wire.Notify, wire.Reply, wire.Heartbeat:
		n.receive(p, packet)
	case wire.Settle:
		p.forget(packet.Floor)
		n.settled(p, packet)
	case wire.Hello:
		n.informed(l, packet)
	case wire.Welcome:
		n.welcomed(p, packet.Number)
	case wire.Recall:
		n.recalled(p, packet)
	case wire.Gossip:
		n.gossiped(l, packet.Payload)
	case wire.Goodbye:
		p.left, l.bye = true, true
		_ = l.conn.Close() // its last word was read
	}
}

// greeted makes a link of a connection whose peer has said who it is.
func (n *Node) greeted(l *link, packet *wire.Packet) error {
	rec := packet.Record
	if rec.Node == n.id {
		return errSelf
	}
	if err := registry.Check(rec); err != nil {
		return err
	}
	if l.want != "" && l.want != rec.Node {
		return errImpostor
	}
	if n.phase == closed {
		return closedError("connection")
	}
	p := n.peers[rec.Node]
	if p == nil {
		p = newPeer(rec.Node)
		n.peers[rec.Node] = p
	}
	l.peer = p
	p.links = append(p.links, l)
	p.down, p.failed, p.left = time.Time{}, nil, false
	if p.gone {
		p.gone = false
		n.reclaim(p, time.Now())
	}
	if p.record == nil || rec.Version >= p.record.Version {
		p.setRecord(rec)
	}
	if g := n.gossiper(); g != nil {
		g.Alive(p.record)
	}
	n.log.Debug("connected to a peer", "peer", p.String(), "address", l.conn.Peer().Address, "dialled", l.dialed)
	if !l.dialed { // before anything else is sent
		hello := n.hello(false)
		_ = l.send(&hello) // a broken link ends by itself
	}
	if len(p.links) == 1 {
		p.torn = false
		n.resend(p)
	}
	n.reroute()
	n.answerHello(l, packet)
	n.moved()
	signal(n.meshes)
	return nil
}

// maxAttempts bounds how often one message is sent over new connections.
const maxAttempts = 20

// resend sends again over a new link what the peer has not settled.
func (n *Node) resend(p *peer) {
	p.behind = slices.Sorted(maps.Keys(p.out))
	for _, pc := range p.out {
		pc.attempt++
		pc.breaks++
	}
	n.catchUp(p, time.Now())
}

// catchUp sends what is to be sent again, as far as there is room for it.
func (n *Node) catchUp(p *peer, now time.Time) {
	for len(p.behind) > 0 && len(p.links) > 0 {
		seq := p.behind[0]
		pc := p.out[seq]
		switch {
		case pc == nil:
		case pc.breaks > maxAttempts:
			// Each time it was sent to this peer the connection broke.
			delete(p.out, seq)
			n.answered(p, pc)
			n.forsake(pc, "the connection to "+p.String())
		default:
			packet := pc.packet(now, p.floor(seq))
			if p.links[0].send(&packet) != nil {
				return // the link broke again, or its buffer is full
			}
		}
		p.behind = p.behind[1:]
	}
}

// unlink forgets a connection that ended.
func (n *Node) unlink(l *link, why error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := l.peer
	if p == nil {
		return
	}
	p.links = slices.DeleteFunc(p.links, func(other *link) bool { return other == l })
	p.torn = p.torn || l.used && !l.bye
	if len(p.links) > 0 {
		if p.torn && !p.left {
			// What was lost with it is not known to either side: both begin anew.
			_ = p.links[0].conn.Close() // and so on
		}
		return
	}
	p.down = time.Now()
	p.dialled = l.dialed
	for _, a := range n.syncs {
		a.forget(p)
	}
	n.log.Debug("lost a peer's connection", "peer", p.String(), "err", why.Error())
	if p.left {
		n.lose(p, "it said goodbye")
	}
	signal(n.meshes)
	signal(n.sweeps)
}

// goodbye tells all peers that this node ends, and returns the links to close.
func (n *Node) goodbye() []*link {
	var links []*link
	last := []wire.Packet{{Type: wire.Goodbye}}
	if g := n.gossiper(); g != nil {
		last = []wire.Packet{{Type: wire.Gossip, Payload: g.Digest()}, {Type: wire.Goodbye}} // which says that we left
	}
	for _, p := range n.peers {
		for _, l := range p.links {
			for i := range last {
				if p.legacy == nil {
					_ = l.send(&last[i]) // it breaks anyway
				}
			}
			links = append(links, l)
		}
	}
	return links
}
