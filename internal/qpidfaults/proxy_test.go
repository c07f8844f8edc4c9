// SPDX-License-Identifier: Apache-2.0

package qpidfaults

import (
	"io"
	"net"
	"sync"
	"testing"
)

// proxy stands between one application and the broker, and knows nothing of what they say.
type proxy struct {
	target   string
	listener net.Listener
	group    sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]net.Conn // of the application and of the broker; guarded by mu
	taken  int                   // how many there have been; guarded by mu
	refuse bool                  // guarded by mu
	closed bool                  // guarded by mu
}

// runProxy starts a proxy, which ends with the test.
func runProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &proxy{target: target, listener: l, conns: make(map[net.Conn]net.Conn)}
	p.group.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.cut()
		p.group.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.group.Go(func() { p.serve(conn) })
	}
}

// serve passes on what both sides say until one of them ends.
func (p *proxy) serve(app net.Conn) {
	defer func() { _ = app.Close() }()
	p.mu.Lock()
	refuse := p.refuse
	p.mu.Unlock()
	if refuse {
		return
	}
	broker, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer func() { _ = broker.Close() }()
	if !p.enter(app, broker) {
		return
	}
	var pumps sync.WaitGroup
	pump := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		_, _ = app.Close(), broker.Close()
	}
	pumps.Go(func() { pump(app, broker) })
	pumps.Go(func() { pump(broker, app) })
	pumps.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, app)
}

func (p *proxy) enter(app, broker net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.conns[app] = broker
	p.taken++
	return true
}

// cut resets all connections, with what is on its way, and returns how many there were.
func (p *proxy) cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for app, broker := range p.conns {
		for _, side := range []net.Conn{app, broker} {
			if tcp, ok := side.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = side.Close()
		}
	}
	return len(p.conns)
}

// seen is how many connections there have been.
func (p *proxy) seen() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}

// setRefuse closes each new connection at once, or takes them again.
func (p *proxy) setRefuse(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}
