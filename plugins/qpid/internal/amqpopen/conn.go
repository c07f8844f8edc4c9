// SPDX-License-Identifier: Apache-2.0

// Package amqpopen reads what an AMQP 1.0 peer says of itself, off the socket that the AMQP library
// reads: the library keeps most of it to itself. Nothing is taken away from the library and nothing
// is changed.
package amqpopen

import (
	"context"
	"net"
	"slices"
	"sync"
)

// Options are what a Conn may do besides.
type Options struct {
	// Trace is called for each frame, in the order of its direction, from the goroutines that read and
	// write; nil for nobody.
	Trace func(Frame)
}

// Conn is a net.Conn that listens to what the peer says. It is to be read by one goroutine at a time,
// and written by one.
type Conn struct {
	net.Conn
	in, out *scanner
	ends    *ends

	mu   sync.Mutex
	peer Peer // guarded by mu
}

// New returns c with an ear on it.
func New(c net.Conn, o Options) *Conn {
	out := &Conn{Conn: c, ends: newEnds()}
	out.in = &scanner{trace: o.Trace, header: out.header, learn: out.learn}
	out.out = &scanner{trace: o.Trace, isOut: true, learn: out.say}
	return out
}

// Read implements net.Conn.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.in.feed(b[:n])
	}
	return n, err
}

// Write implements net.Conn.
func (c *Conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.out.feed(b[:n])
	return n, err
}

// Peer returns what is known so far. It may be called from any goroutine.
func (c *Conn) Peer() Peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peer // its slices and map are replaced, never changed
}

func (c *Conn) header(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peer.Header = slices.Clone(b)
}

func (c *Conn) learn(channel uint16, f *performative) {
	if f.code == codeBegin || f.code == codeEnd {
		c.ends.received(channel, f)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peer.learn(f)
}

// say takes what this side says.
func (c *Conn) say(channel uint16, f *performative) {
	if f.code == codeEnd {
		c.ends.sent(channel)
	}
}

// EndsAnswered waits until this side has answered every session's end that came from the peer, or ctx
// ends. To begin a session before that is not safe: the library may give it the channel of one that
// ended, before it answers the end.
func (c *Conn) EndsAnswered(ctx context.Context) error { return c.ends.answered(ctx) }
