// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"github.com/parleymq/parley/plugins/zmq/internal/registry"
	"github.com/parleymq/parley/plugins/zmq/internal/wire"
	"github.com/parleymq/parley/plugins/zmq/internal/zmtp"
)

// address is an endpoint that is dialled though nobody knows who is there.
type address struct {
	dialling bool
	peer     *peer // who was found there
	self     bool
	tried    bool
	failed   error // the last try, nil when it was a success or is the first
}

const (
	// patience is how long the side that did not dial waits for the other.
	patience = 300 * time.Millisecond
	// firstRetry to lastRetry are the pauses between tries to dial.
	firstRetry = 20 * time.Millisecond
	lastRetry  = 2 * time.Second
	// searchTime bounds the first discovery.
	searchTime = time.Second
)

// meshing keeps links to the peers that are to have one.
func (n *Node) meshing(ctx context.Context) {
	n.search(ctx)
	for {
		changed := n.o.Registry.Changed()
		n.mu.Lock()
		n.merge()
		next := n.dialAll(time.Now())
		n.mu.Unlock()
		timer := time.NewTimer(next)
		select {
		case <-changed:
		case <-n.meshes:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// search is the first discovery: everybody in the first view is dialled, and then it is known who
// is missing.
func (n *Node) search(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	// Who listens to nothing is known as well, so that others can tell it at once what they do.
	err := n.publish(ctx)
	if err == nil {
		err = n.o.Registry.Refresh(ctx)
	}
	if err != nil {
		n.log.Warn("cannot look for peers yet", "err", err.Error())
	}
	n.mu.Lock()
	n.merge()
	if len(n.peers) <= n.o.MeshLimit {
		for _, p := range n.peers {
			p.dialled = true // who comes later dials
		}
	}
	n.dialAll(time.Now())
	n.mu.Unlock()
	n.meet(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.phase == searching {
		n.phase = ready
	}
	now := time.Now()
	for n.early.len() > 0 {
		if pc := n.early.pop(); pc.report != nil {
			n.submit(pc, now)
		}
	}
	n.retryAll()
	signal(n.sweeps)
}

// merge takes the registry's view in.
func (n *Node) merge() {
	view := n.o.Registry.View()
	changed := false
	for id, rec := range view.Records {
		if id == n.id {
			continue
		}
		p := n.peers[id]
		if p == nil {
			p = newPeer(id)
			p.down = time.Now()
			n.peers[id] = p
		}
		p.listed = true
		if p.record == nil || rec.Version > p.record.Version {
			p.setRecord(rec)
			changed = true
		}
	}
	for id, p := range n.peers {
		if view.Records[id] == nil && p.listed {
			p.listed = false
			signal(n.sweeps)
		}
	}
	for _, endpoint := range view.Addresses {
		if n.addresses[endpoint] == nil && !slices.Contains(n.endpoints, endpoint) {
			n.addresses[endpoint] = new(address)
		}
	}
	for endpoint := range n.addresses {
		if !slices.Contains(view.Addresses, endpoint) {
			delete(n.addresses, endpoint)
		}
	}
	if changed {
		n.reroute()
	}
}

// dialAll starts to dial whom there is to be a link to. It returns when to look again.
func (n *Node) dialAll(now time.Time) time.Duration {
	next := 5 * time.Second
	small := n.small()
	for _, p := range n.peers {
		if p.local || p.dialling || len(p.links) > 0 || p.record == nil || p.left || !p.listed && p.gone {
			continue
		}
		if !small && !p.wanted && !p.dialled {
			continue
		}
		if wait := patience - now.Sub(p.down); !p.dialled && !p.wanted && wait > 0 {
			next = min(next, wait)
			continue
		}
		p.dialling = true
		rec := p.record
		n.run(func(ctx context.Context) { n.keepDialling(ctx, p, rec) })
	}
	for endpoint, a := range n.addresses {
		if a.dialling || a.self || a.peer != nil && len(a.peer.links) > 0 {
			continue
		}
		a.dialling = true
		n.run(func(ctx context.Context) { n.tryAddress(ctx, endpoint, a) })
	}
	return next
}

// met reports whether every peer that is to have a link has one, or was tried in vain.
func (n *Node) met() bool {
	if n.small() {
		for _, p := range n.peers {
			if !p.local && p.record != nil && !p.gone && len(p.links) == 0 && p.failed == nil {
				return false
			}
		}
	}
	for _, a := range n.addresses {
		if !a.tried {
			return false
		}
	}
	return true
}

// small reports whether everybody is to have a link to everybody.
func (n *Node) small() bool {
	count := 0
	for _, p := range n.peers {
		if (!p.gone || p.listed) && p.legacy == nil {
			count++
		}
	}
	return count <= n.o.MeshLimit
}

// moved wakes those who wait for links.
func (n *Node) moved() {
	close(n.mesh)
	n.mesh = make(chan struct{})
}

// keepDialling dials a peer until there is a link or it is not to be had, with growing pauses.
func (n *Node) keepDialling(ctx context.Context, p *peer, rec *registry.Record) {
	defer func() {
		n.mu.Lock()
		p.dialling = false
		n.moved()
		n.mu.Unlock()
		signal(n.meshes)
	}()
	refused := 0
	for pause := firstRetry; ctx.Err() == nil; pause = min(2*pause, lastRetry) {
		err := n.dialPeer(ctx, p, rec)
		if err == nil || n.linked(p) {
			return
		}
		if isRefused(err) {
			refused++
		}
		if n.dialFailed(p, err, refused) {
			return
		}
		if !sleep(ctx, pause+rand.N(pause/4)) { //nolint:gosec // jitter
			return
		}
	}
}

// dialPeer dials the peer's endpoints in turn, and serves the first that answers to its end.
func (n *Node) dialPeer(ctx context.Context, p *peer, rec *registry.Record) error {
	var last error
	for _, endpoint := range rec.Endpoints {
		conn, err := zmtp.Dial(ctx, endpoint, n.dialOptions())
		if err != nil {
			last = err
			continue
		}
		up := make(chan struct{})
		n.run(func(ctx context.Context) {
			defer close(up)
			if rec.Legacy {
				_ = n.serveLegacy(ctx, conn, p) // what it ended of is in the log
				return
			}
			_ = n.serve(ctx, &link{n: n, conn: conn, dialed: true, want: p.id})
		})
		return n.awaitLink(ctx, p, up)
	}
	if last == nil {
		last = errors.New("it has no address")
	}
	return last
}

// awaitLink waits until the peer has a link, or the connection that was to be one ended.
func (n *Node) awaitLink(ctx context.Context, p *peer, ended <-chan struct{}) error {
	for {
		n.mu.Lock()
		up, changed := len(p.links) > 0, n.mesh
		n.mu.Unlock()
		if up {
			return nil
		}
		select {
		case <-changed:
		case <-ended:
			if n.linked(p) {
				return nil
			}
			return errSilent
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (n *Node) dialOptions() zmtp.Options {
	o := n.o.Conn
	o.TLS = n.o.Dial
	return o
}

func (n *Node) linked(p *peer) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(p.links) > 0
}

// dialFailed notes that a peer cannot be reached, and says whether to give up.
func (n *Node) dialFailed(p *peer, err error, refused int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.failed == nil {
		n.log.Debug("cannot reach a peer", "peer", p.String(), "err", err.Error())
	}
	p.failed = err
	n.moved()
	if refused >= maxRefused || time.Since(p.down) >= n.o.DeadAfter {
		n.lose(p, err.Error())
	}
	return p.gone && !p.listed || p.left
}

// maxRefused is how often a peer's machine may say that nobody listens at its address before it is
// gone.
const maxRefused = 3

// isRefused reports whether the peer's machine says that nobody is there.
func isRefused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT)
}

// tryAddress dials an address once, serves it to its end, and waits a moment before it may be
// tried again.
func (n *Node) tryAddress(ctx context.Context, endpoint string, a *address) {
	conn, err := zmtp.Dial(ctx, endpoint, n.dialOptions())
	if err == nil {
		n.run(func(ctx context.Context) {
			err := n.serve(ctx, &link{n: n, conn: conn, dialed: true})
			n.mu.Lock()
			a.self = a.self || errors.Is(err, errSelf)
			n.mu.Unlock()
		})
		n.meetAddress(ctx, conn, a)
	} else {
		n.log.Debug("cannot reach an address", "endpoint", endpoint, "err", err.Error())
	}
	n.mu.Lock()
	a.tried, a.failed = true, err
	n.moved()
	n.mu.Unlock()
	sleep(ctx, 200*time.Millisecond+rand.N(100*time.Millisecond)) //nolint:gosec // jitter
	n.mu.Lock()
	a.dialling = false
	n.mu.Unlock()
	signal(n.meshes)
}

// meetAddress waits until it is known who is at an address.
func (n *Node) meetAddress(ctx context.Context, conn *zmtp.Conn, a *address) {
	ctx, cancel := context.WithTimeout(ctx, helloTime)
	defer cancel()
	for {
		n.mu.Lock()
		for _, p := range n.peers {
			if slices.ContainsFunc(p.links, func(l *link) bool { return l.conn == conn }) {
				a.peer = p
			}
		}
		found, changed := a.peer != nil && len(a.peer.links) > 0, n.mesh
		n.mu.Unlock()
		if found {
			return
		}
		select {
		case <-changed:
		case <-conn.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

// gossiper is the registry when it has no store of its own.
func (n *Node) gossiper() registry.Gossiper {
	g, _ := n.o.Registry.(registry.Gossiper)
	return g
}

// gossiping tells a few peers about all the others.
func (n *Node) gossiping(ctx context.Context) {
	g := n.gossiper()
	if g == nil {
		return
	}
	for sleep(ctx, time.Second) {
		payload := g.Digest()
		n.mu.Lock()
		ids := slices.Collect(maps.Keys(n.peers))
		//nolint:gosec // it is no secret whom we tell
		rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		told := 0
		for _, id := range ids {
			if p := n.peers[id]; p.legacy == nil && len(p.links) > 0 && told < 3 {
				_ = p.links[0].send(&wire.Packet{Type: wire.Gossip, Payload: payload})
				told++
			}
		}
		n.mu.Unlock()
	}
}

func (n *Node) gossiped(l *link, payload []byte) {
	g := n.gossiper()
	if g == nil {
		return
	}
	answer, err := g.Receive(l.peer.id, payload)
	if err != nil {
		n.log.Warn("gossip of a peer cannot be understood", "peer", l.peer.String(), "err", err.Error())
		return
	}
	if answer != nil {
		_ = l.send(&wire.Packet{Type: wire.Gossip, Payload: answer})
	}
}

// sleep reports whether d passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
