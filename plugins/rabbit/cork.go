// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"sync"
)

// corkSize is when a corked connection writes although it is corked.
const corkSize = 64 << 10

// corkConn is a socket that holds back what is written to it between cork and uncork.
//
// The AMQP library flushes after every publishing and every acknowledgement, which is one
// system call each. A batch between cork and uncork is written by one, and nothing ever waits
// for a timer: a batch is what there was to write anyway.
type corkConn struct {
	net.Conn

	mu    sync.Mutex
	buf   []byte // held back; guarded by mu
	corks int    // guarded by mu
	loose int    // of corks, those that end with the next write; guarded by mu
	err   error  // of the first write that failed; guarded by mu
}

func newCorkConn(c net.Conn) *corkConn { return &corkConn{Conn: c} }

// Write implements net.Conn. Of what is held back an error shows at uncork.
func (c *corkConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	c.corks, c.loose = c.corks-c.loose, 0
	if c.corks == 0 && len(c.buf) == 0 {
		n, err := c.Conn.Write(p)
		c.err = err
		return n, err
	}
	c.buf = append(c.buf, p...)
	if c.corks == 0 || len(c.buf) >= corkSize {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (c *corkConn) cork() {
	c.mu.Lock()
	c.corks++
	c.mu.Unlock()
}

// uncorkWithNext is uncork for who is about to write once more and to wait for the answer: what was
// held back goes together with that, or with whatever else is written before it.
func (c *corkConn) uncorkWithNext() {
	c.mu.Lock()
	c.loose++
	c.mu.Unlock()
}

// uncork writes what was held back. After an error the socket is closed, which ends the
// connection as any other loss does.
func (c *corkConn) uncork() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.corks--
	if c.corks > c.loose || len(c.buf) == 0 {
		return c.err
	}
	return c.flush()
}

// flush needs mu.
func (c *corkConn) flush() error {
	if c.err == nil {
		_, c.err = c.Conn.Write(c.buf)
	}
	if cap(c.buf) > 4*corkSize {
		c.buf = nil // a large message went by; do not keep its size
	}
	c.buf = c.buf[:0]
	if c.err != nil {
		_ = c.Close() // err says more
	}
	return c.err
}
