// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net"
	"sync"
	"testing"
)

// outage stands between the driver and a broker that others use too, and lets it be away.
type outage struct {
	target   string
	listener net.Listener
	group    sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // of both sides; guarded by mu
	away  bool                  // guarded by mu
}

// newOutage is one that ends with the test.
func newOutage(t testing.TB, target string) *outage {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &outage{target: target, listener: l, conns: make(map[net.Conn]struct{})}
	o.group.Go(o.accept)
	t.Cleanup(func() {
		_ = l.Close()
		o.begin()
		o.group.Wait()
	})
	return o
}

func (o *outage) addr() string { return o.listener.Addr().String() }

// begin resets all connections, with what is on its way, and lets no new one get to the broker.
func (o *outage) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.away = true
	for c := range o.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
}

func (o *outage) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.away = false
}

func (o *outage) accept() {
	for {
		c, err := o.listener.Accept()
		if err != nil {
			return
		}
		o.group.Go(func() { o.serve(c) })
	}
}

// serve passes on what both sides say until one of them ends.
func (o *outage) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	broker, err := net.Dial("tcp", o.target)
	if err != nil {
		return
	}
	defer func() { _ = broker.Close() }()
	if !o.enter(client, broker) {
		return
	}
	defer o.leave(client, broker)
	var pumps sync.WaitGroup
	pump := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		_, _ = client.Close(), broker.Close()
	}
	pumps.Go(func() { pump(client, broker) })
	pumps.Go(func() { pump(broker, client) })
	pumps.Wait()
}

// enter returns false while the broker is away.
func (o *outage) enter(conns ...net.Conn) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.away {
		return false
	}
	for _, c := range conns {
		o.conns[c] = struct{}{}
	}
	return true
}

func (o *outage) leave(conns ...net.Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range conns {
		delete(o.conns, c)
	}
}
