// SPDX-License-Identifier: Apache-2.0

package scripted

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"
)

// Options say what a peer is. The zero Options are a patient broker without a product name.
type Options struct {
	Product      string
	Capabilities []string // offered in the open frame
	// Properties are further ones of the open frame.
	Properties map[string]string

	ChannelMax     uint16        // 255 if zero
	MaxFrameSize   uint32        // 65536 if zero, 512 at least
	IdleTimeout    time.Duration // sent as half of it; a client that is silent for longer is closed. Zero for none
	MaxMessageSize uint64        // zero for no limit
	Credit         uint32        // of each link on which a client sends; 100 if zero

	// Greeting is sent instead of the peer's header, and nothing after it.
	Greeting []byte
	// Mechanisms are offered when the client asks for SASL; ANONYMOUS and PLAIN if nil. Empty and
	// not nil, the peer offers none.
	Mechanisms []string
	// RequireSASL answers a client that does without SASL as the protocol wants: with the header of
	// SASL, and an end.
	RequireSASL bool
	// Login returns the code of the SASL outcome, 0 for success. Nil lets everybody in.
	Login func(mechanism string, response []byte) byte
	// OpenDelay is how long the peer waits with its open frame.
	OpenDelay time.Duration
	// CloseAfterOpen closes each connection after the open frame, as Broker-J does for a host name
	// that it does not know.
	CloseAfterOpen *Error
}

func (o Options) withDefaults() Options {
	if o.ChannelMax == 0 {
		o.ChannelMax = 255
	}
	if o.MaxFrameSize == 0 {
		o.MaxFrameSize = 65536
	}
	if o.Credit == 0 {
		o.Credit = 100
	}
	if o.Mechanisms == nil {
		o.Mechanisms = []string{"ANONYMOUS", "PLAIN"}
	}
	return o
}

// Peer is a scripted AMQP 1.0 peer.
type Peer struct {
	listener net.Listener
	group    sync.WaitGroup
	ctx      context.Context // ends with Close; wakes everything that waits
	stop     context.CancelFunc

	mu         sync.Mutex // guards everything below, and the state of conns, sessions, links and nodes
	options    Options
	changed    chan struct{} // closed and replaced with each event
	events     []Event
	violations []string
	conns      map[*conn]struct{}
	links      map[*link]struct{}
	nodes      map[string]*node
	last       int // number of the last connection
	muted      bool
	empty      bool
	held       map[string]bool // addresses without credit
	onMessage  scripts
	onSender   scripts
	onReceiver scripts
}

// Start listens on a free loopback port. The caller closes the peer.
func Start(options Options) (*Peer, error) {
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start a scripted AMQP peer: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &Peer{
		listener: listener, ctx: ctx, stop: stop, options: options.withDefaults(), changed: make(chan struct{}),
		conns: map[*conn]struct{}{}, links: map[*link]struct{}{}, nodes: map[string]*node{}, held: map[string]bool{},
		onMessage: scripts{}, onSender: scripts{}, onReceiver: scripts{},
	}
	p.group.Go(p.accept)
	return p, nil
}

// Run is Start for one test.
func Run(tb testing.TB, options Options) *Peer {
	tb.Helper()
	p, err := Start(options)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Close)
	return p
}

// Addr is the peer's own host:port.
func (p *Peer) Addr() string { return p.listener.Addr().String() }

// SetOptions changes what the peer is for connections to come.
func (p *Peer) SetOptions(options Options) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.options = options.withDefaults()
}

// Conns is how many connections are open.
func (p *Peer) Conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

// Close cuts all connections, takes no more, and returns when nothing of the peer runs. What was
// recorded stays.
func (p *Peer) Close() {
	p.stop()
	_ = p.listener.Close() // a second Close finds it closed
	p.CutAll()
	p.group.Wait()
}

// accept takes connections until the listener is closed.
func (p *Peer) accept() {
	for {
		socket, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.last++
		c := &conn{
			peer: p, id: p.last, socket: socket, options: p.options, wake: make(chan struct{}, 1),
			sessions: map[uint16]*session{}, frameMax: minFrameSize,
		}
		p.conns[c] = struct{}{}
		p.record(Event{Conn: c.id, Name: "connect"})
		closed := p.ctx.Err() != nil
		p.mu.Unlock()
		if closed {
			c.cut()
		}
		p.group.Go(c.serve)
	}
}
