// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/registry"
	"github.com/parleymq/parley/plugins/zmq/internal/wire"
)

// announcement waits for the peers to have taken a record in.
type announcement struct {
	waiting map[*peer]struct{}
	all     chan struct{} // closed when waiting is empty
}

func (a *announcement) forget(p *peer) {
	if _, ok := a.waiting[p]; !ok {
		return
	}
	delete(a.waiting, p)
	if len(a.waiting) == 0 {
		close(a.all)
	}
}

// recordLocked is what the node says of itself now.
func (n *Node) recordLocked() *registry.Record {
	rec := &registry.Record{
		Node: n.id, Instance: n.o.Instance, Name: n.o.Name, Endpoints: n.endpoints, Version: n.version,
	}
	for l := range n.listeners {
		if !l.stopped {
			rec.Targets = append(rec.Targets, l.targets()...)
		}
	}
	return rec
}

// announceNow changes the own record and tells the linked peers, who need not answer.
func (n *Node) announceNow() {
	n.version++
	n.self.record = n.recordLocked()
	n.reroute()
	hello := n.hello(false)
	for _, p := range n.peers {
		if p.legacy == nil && len(p.links) > 0 {
			p.links[0].say(&hello) // the next link begins with a Hello
		}
	}
}

func (n *Node) hello(sync bool) wire.Packet {
	return wire.Packet{Type: wire.Hello, Record: n.self.record, Number: n.number, Sync: sync, Load: n.load()}
}

// publish makes the registry have the record of now.
func (n *Node) publish(ctx context.Context) error {
	n.mu.Lock()
	rec := *n.self.record
	n.mu.Unlock()
	return unregistered("announce what is listened to", n.o.Registry.Publish(ctx, rec))
}

// unregistered says what the registry did not do.
func unregistered(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case heals(err):
		return driver.Errorf(driver.ReasonNotConnected, "%s: %w", what, err)
	default:
		return driver.Errorf(driver.ReasonOf(err), "%s: %w", what, err)
	}
}

// heals reports whether a registry may do later what it did not do now.
func heals(err error) bool {
	reason := driver.ReasonOf(err)
	return reason != driver.ReasonConfig && reason != driver.ReasonClosed
}

// register makes the registry have the record, and looks for peers. A registry that is away is
// waited for, as a broker would be.
func (n *Node) register(ctx context.Context) error {
	for {
		err := n.publish(ctx)
		if err == nil {
			err = unregistered("look for peers", n.o.Registry.Refresh(ctx))
		}
		if err == nil || !heals(err) || !sleep(ctx, registerAgain) {
			return err
		}
	}
}

// registerAgain is the pause before a registry that is away is asked again.
const registerAgain = 200 * time.Millisecond

// announceTime bounds the wait for peers that do not answer.
const announceTime = time.Second

// announce publishes a changed record, and returns when everybody who could send us something
// knows it: the registry has it, and the peers that we know have answered, as far as they do.
func (n *Node) announce(ctx context.Context) error {
	n.mu.Lock()
	n.version++
	n.self.record = n.recordLocked()
	n.reroute()
	n.mu.Unlock()
	if err := n.register(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, announceTime)
	defer cancel()
	n.mu.Lock()
	n.merge()
	n.mu.Unlock()
	signal(n.meshes)
	n.meet(ctx)
	n.sync(ctx)
	return nil
}

// meet waits until every peer of a small mesh is linked, or was found to be away.
func (n *Node) meet(ctx context.Context) {
	for {
		n.mu.Lock()
		met, changed := n.met(), n.mesh
		n.mu.Unlock()
		if met {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// sync tells the linked peers the record, and waits for their answers.
func (n *Node) sync(ctx context.Context) {
	n.mu.Lock()
	n.number++
	number := n.number
	a := &announcement{waiting: make(map[*peer]struct{}), all: make(chan struct{})}
	hello := n.hello(true)
	for _, p := range n.peers {
		if p.legacy == nil && len(p.links) > 0 && p.links[0].send(&hello) == nil {
			a.waiting[p] = struct{}{}
		}
	}
	none := len(a.waiting) == 0
	n.syncs[number] = a
	n.mu.Unlock()
	if !none {
		select {
		case <-a.all:
		case <-ctx.Done():
		}
	}
	n.mu.Lock()
	delete(n.syncs, number)
	n.mu.Unlock()
}

// informed takes in a peer's new record.
func (n *Node) informed(l *link, packet *wire.Packet) {
	p := l.peer
	if packet.Record != nil && packet.Record.Node == p.id && registry.Check(packet.Record) == nil && packet.Record.Version >= p.record.Version {
		changed := packet.Record.Version > p.record.Version
		p.setRecord(packet.Record)
		if g := n.gossiper(); g != nil && changed {
			g.Alive(p.record)
		}
		if changed {
			n.reroute()
		}
	}
	n.answerHello(l, packet)
}

func (n *Node) answerHello(l *link, packet *wire.Packet) {
	if packet.Sync {
		welcome := wire.Packet{Type: wire.Welcome, Number: packet.Number, Load: n.load()}
		_ = l.send(&welcome)
	}
}

func (n *Node) welcomed(p *peer, number uint64) {
	if a := n.syncs[number]; a != nil {
		a.forget(p)
	}
}

// advertised replaces the host of a tcp endpoint. One that listens on every address is told by the
// host's name.
func advertised(endpoint, host string) string {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "tcp" {
		return endpoint
	}
	at := u.Hostname()
	switch ip := net.ParseIP(at); {
	case host != "":
		at = strings.Trim(host, "[]")
	case ip != nil && ip.IsUnspecified():
		at = outwardHost()
	}
	return "tcp://" + net.JoinHostPort(at, u.Port())
}

// outwardHost is the first address of this machine that is not a loopback's, or a loopback's.
func outwardHost() string {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "127.0.0.1"
	}
	i := slices.IndexFunc(addresses, func(a net.Addr) bool {
		ip, ok := a.(*net.IPNet)
		return ok && ip.IP.IsGlobalUnicast()
	})
	if i < 0 {
		return "127.0.0.1"
	}
	return addresses[i].(*net.IPNet).IP.String() //nolint:forcetypeassert // checked above
}
