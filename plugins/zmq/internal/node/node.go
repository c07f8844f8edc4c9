// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/parleymq/parley/internal/spool"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/registry"
	"github.com/parleymq/parley/plugins/zmq/internal/zmtp"
)

// Options are what a Node is made of. Zero values of numbers stand for the defaults named.
type Options struct {
	// Instance and Name are those of registry.Record.
	Instance string
	Name     string
	// Bind are the endpoints to listen on, with {node} for the node's id; Advertise replaces their
	// host in the record.
	Bind      []string
	Advertise string
	// Registry is how peers are found. The node closes it.
	Registry registry.Registry
	// Conn bounds connections, with TLS as a listener has it; Dial is the TLS to dial with.
	// Identity is set by the node.
	Conn zmtp.Options
	Dial *tls.Config

	// QueueMessages and QueueBytes bound what waits in one listener: 10000 and 64 MiB.
	QueueMessages int
	QueueBytes    int
	// PendingMessages and PendingBytes bound what was sent and is not done: 20000 and 256 MiB.
	// Senders wait above it.
	PendingMessages int
	PendingBytes    int
	// Window bounds what one peer was sent and has not answered: 1024.
	Window int
	// MaxMessage bounds one message: 64 MiB.
	MaxMessage int
	// RouteWait is how long a Mandatory message waits for a listener to be found: 1 s.
	RouteWait time.Duration
	// HoldTime is how long a message without a limit, or a reply, waits for a listener: 60 s.
	HoldTime time.Duration
	// DeadAfter is how long a peer may be without a link before it counts as gone: 3 s.
	DeadAfter time.Duration
	// OrphanTime is how long a gone application is waited for: 5 s.
	OrphanTime time.Duration
	// MeshLimit is up to how many nodes everybody has a link to everybody: 32.
	MeshLimit int

	// Spool is where notifications are stored that nobody listens to, nil for nowhere.
	Spool *spool.Options

	Logger *slog.Logger
	Report func(driver.State)
}

func (o *Options) fill() {
	set(&o.QueueMessages, 10_000)
	set(&o.QueueBytes, 64<<20)
	set(&o.PendingMessages, 20_000)
	set(&o.PendingBytes, 256<<20)
	set(&o.Window, 1024)
	set(&o.MaxMessage, 64<<20)
	set(&o.RouteWait, time.Second)
	set(&o.HoldTime, time.Minute)
	set(&o.DeadAfter, 3*time.Second)
	set(&o.OrphanTime, 5*time.Second)
	set(&o.MeshLimit, 32)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Report == nil {
		o.Report = func(driver.State) {}
	}
}

func set[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Node implements driver.Conn, driver.AsyncSender and driver.Pinger.
type Node struct {
	o         Options
	id        string
	log       *slog.Logger
	endpoints []string
	doors     []*zmtp.Listener
	began     time.Time

	// run starts a goroutine of the node, whose ctx ends with it; cancel ends them, wg waits.
	run    func(func(context.Context))
	cancel context.CancelFunc
	wg     sync.WaitGroup

	settles chan struct{} // of capacity one: somebody has settlements to send
	meshes  chan struct{} // of capacity one: peers, links or the view changed
	sweeps  chan struct{} // of capacity one: something is to be looked at earlier

	// All the rest is guarded by mu.
	mu        sync.Mutex
	phase     phase
	seq       uint64
	version   uint64
	peers     map[string]*peer
	self      *peer
	addresses map[string]*address
	routes    routes
	replies   map[string]time.Time // reply names that were listened to, and when last
	waiting   map[key]*queue[*parcel]
	waits     int            // parcels in waiting
	early     queue[*parcel] // fanouts and notifications of the time before the first discovery
	orphans   map[string][]*parcel
	dirty     []*peer // with settlements to send
	listeners map[*Listener]struct{}
	syncs     map[uint64]*announcement
	strangers uint64        // peers of 8.x that connected so far
	number    uint64        // of the last announcement
	mesh      chan struct{} // closed when links come or fail
	pending   room
	lost      int         // casts that were with an application that died, since they were last logged
	spool     *spooler    // nil without one
	lazy      bool        // lazyTimer runs
	lazyTimer *time.Timer // signals settles
	resting   bool        // the sweeping goroutine does not look at what is under way
	reported  driver.Phase
}

// unfinishedBytes bounds the big messages of all peers together that have not come whole.
const unfinishedBytes = 256 << 20

// phase is how far a node is.
type phase uint8

const (
	searching phase = iota // the first discovery is under way: nobody is said to be missing
	ready
	closing // no more messages are taken
	closed
)

var (
	_ driver.Conn        = (*Node)(nil)
	_ driver.AsyncSender = (*Node)(nil)
	_ driver.Pinger      = (*Node)(nil)
)

// Open starts a node. It listens at once and waits for nobody.
func Open(o Options) (*Node, error) {
	o.fill()
	n := &Node{
		o: o, id: newID(), log: o.Logger, began: time.Now(),
		settles: make(chan struct{}, 1), meshes: make(chan struct{}, 1), sweeps: make(chan struct{}, 1),
		peers: make(map[string]*peer), addresses: make(map[string]*address), replies: make(map[string]time.Time),
		waiting: make(map[key]*queue[*parcel]), orphans: make(map[string][]*parcel),
		listeners: make(map[*Listener]struct{}), syncs: make(map[uint64]*announcement), mesh: make(chan struct{}),
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	n.run = func(f func(context.Context)) { n.wg.Go(func() { f(ctx) }) }
	n.lazyTimer = time.AfterFunc(time.Hour, func() { signal(n.settles) })
	n.lazyTimer.Stop()
	n.o.Conn.Identity = n.id
	n.o.Conn.Budget = zmtp.NewBudget(unfinishedBytes)
	n.pending = room{messages: o.PendingMessages, bytes: o.PendingBytes, changed: make(chan struct{})}
	n.self = newPeer(n.id)
	n.self.local = true
	n.routes = newRoutes()
	if err := n.bind(); err != nil {
		cancel()
		n.closeDoors()
		return nil, err
	}
	n.self.record = n.recordLocked()
	n.peers[n.id] = n.self
	for _, door := range n.doors {
		n.run(func(ctx context.Context) { n.accept(ctx, door) })
	}
	if o.Spool != nil {
		n.spool = &spooler{wake: make(chan struct{}, 1)}
		n.run(n.spooling)
	}
	n.run(n.settling)
	n.run(n.sweeping)
	n.run(n.meshing)
	n.run(n.gossiping)
	return n, nil
}

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (n *Node) bind() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, endpoint := range n.o.Bind {
		endpoint = strings.ReplaceAll(endpoint, "{node}", n.id)
		door, err := zmtp.Listen(ctx, endpoint, n.o.Conn)
		if err != nil {
			return err
		}
		n.doors = append(n.doors, door)
		n.endpoints = append(n.endpoints, advertised(door.Endpoint(), n.o.Advertise))
	}
	return nil
}

func (n *Node) closeDoors() {
	for _, door := range n.doors {
		_ = door.Close() // nothing can be done about a socket that does not close
	}
}

// Ping implements driver.Pinger: the registry answers, or peers do.
func (n *Node) Ping(ctx context.Context) error {
	n.mu.Lock()
	over := n.phase >= closing
	n.mu.Unlock()
	if over {
		return closedError("connection")
	}
	return n.o.Registry.Refresh(ctx)
}

// Close implements driver.Conn.
func (n *Node) Close(ctx context.Context) error {
	n.mu.Lock()
	if n.phase >= closing {
		n.mu.Unlock()
		n.wg.Wait()
		return nil
	}
	n.phase = closing
	n.pending.wake()
	n.mu.Unlock()
	n.finish(ctx)

	n.mu.Lock()
	for l := range n.listeners {
		n.closeListener(l)
	}
	n.sendSettlements()
	n.phase = closed
	n.failAll()
	n.mu.Unlock()
	err := n.leave(ctx)
	n.mu.Lock()
	links := n.goodbye()
	n.mu.Unlock()
	n.hangUp(ctx, links)
	n.cancel()
	n.lazyTimer.Stop()
	n.closeDoors()
	n.wg.Wait()
	return err
}

// leave withdraws the record, before the links are closed: who loses one would look for us.
func (n *Node) leave(ctx context.Context) error {
	limit := maxLeaveTime
	if end, ok := ctx.Deadline(); ok { // of which the links need a part
		limit = min(max(time.Until(end)/2, minLeaveTime), maxLeaveTime)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := n.o.Registry.Close(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return driver.Errorf(driver.ReasonNotConnected, "withdraw the record of this node: the registry did not answer within %v", limit.Round(time.Millisecond)).
			WithHint("the other nodes find out by themselves that this one is gone")
	}
	return err
}

// minLeaveTime and maxLeaveTime bound telling a registry that may be away, or a disk that is busy.
const (
	minLeaveTime = time.Second
	maxLeaveTime = 3 * time.Second
)

// hangUp closes the links when what is in their buffers is written. A peer that does not read
// learns it from the connection.
func (n *Node) hangUp(ctx context.Context, links []*link) {
	ctx, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	var wg sync.WaitGroup
	for _, l := range links {
		wg.Go(func() { _ = l.conn.CloseAfterFlush(ctx) })
	}
	wg.Wait()
}

// flushTime bounds the last words to all peers.
const flushTime = time.Second

// finish waits until all that was sent is answered, and what came back has found another receiver,
// for a moment or until ctx ends.
func (n *Node) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, closeTime)
	defer cancel()
	for {
		n.mu.Lock()
		open, changed := n.pending.unreported+n.homeless(), n.pending.changed
		n.mu.Unlock()
		if open == 0 {
			return
		}
		select {
		case <-changed:
		case <-time.After(homelessTime):
		case <-ctx.Done():
			return
		}
	}
}

// homelessTime is how often it is looked whether somebody has taken what nobody has.
const homelessTime = 20 * time.Millisecond

// homeless counts what was taken once and then came back, or whose receiver is gone: nobody but
// this node has it. Replies may wait for readers that never come.
func (n *Node) homeless() int {
	count := 0
	for _, list := range n.orphans {
		count += len(list)
	}
	for k, q := range n.waiting {
		if k.kind != driver.SourceReplies {
			count += q.len()
		}
	}
	for _, p := range n.peers {
		if len(p.links) > 0 || p.local {
			continue
		}
		for _, pc := range p.out {
			if pc.to.kind != driver.SourceReplies {
				count++
			}
		}
	}
	return count
}

// closeTime bounds the wait for sends in flight, whatever the ctx of Close says.
const closeTime = 2500 * time.Millisecond

func closedError(what string) *driver.Error {
	return driver.Errorf(driver.ReasonClosed, "the %s is closed", what)
}

// signal puts a token into a channel of capacity one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
