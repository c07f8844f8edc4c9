// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// TCPProxy stands between clients and a broker on a loopback port, and knows nothing of what they say.
type TCPProxy struct {
	target   string
	listener net.Listener
	group    sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]net.Conn // of the client and of the broker; guarded by mu
	taken  int                   // how many there have been; guarded by mu
	refuse bool                  // guarded by mu
}

// RunTCPProxy starts a proxy, which ends with the test.
func RunTCPProxy(tb testing.TB, target string) *TCPProxy {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &TCPProxy{target: target, listener: l, conns: make(map[net.Conn]net.Conn)}
	p.group.Go(p.accept)
	tb.Cleanup(func() {
		_ = l.Close()
		p.Refuse(true)
		p.Cut()
		p.group.Wait()
	})
	return p
}

// Addr is the proxy's own host:port.
func (p *TCPProxy) Addr() string { return p.listener.Addr().String() }

// Cut resets all connections, with what is on its way, and returns how many there were.
func (p *TCPProxy) Cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for client, broker := range p.conns {
		for _, side := range []net.Conn{client, broker} {
			if tcp, ok := side.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = side.Close()
		}
	}
	return len(p.conns)
}

// Seen is how many connections there have been that were not refused.
func (p *TCPProxy) Seen() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}

// Refuse lets no new connection get to the broker, or each again. Those that there are go on.
func (p *TCPProxy) Refuse(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}

func (p *TCPProxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.group.Go(func() { p.serve(client) })
	}
}

// serve passes on what both sides say until one of them ends.
func (p *TCPProxy) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	broker, err := net.Dial("tcp", p.target) //nolint:noctx // a broker of this machine takes it or not at once
	if err != nil {
		return
	}
	defer func() { _ = broker.Close() }()
	if !p.enter(client, broker) {
		return
	}
	defer p.leave(client)
	var pumps sync.WaitGroup
	pump := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		_, _ = client.Close(), broker.Close()
	}
	pumps.Go(func() { pump(client, broker) })
	pumps.Go(func() { pump(broker, client) })
	pumps.Wait()
}

func (p *TCPProxy) enter(client, broker net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse {
		return false
	}
	p.conns[client] = broker
	p.taken++
	return true
}

func (p *TCPProxy) leave(client net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, client)
}
