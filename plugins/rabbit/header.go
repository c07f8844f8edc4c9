// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"strings"
	"sync/atomic"

	"github.com/parleymq/parley/plugin/driver"
)

// headerSize is that of the header with which a broker names the version it speaks, in place of an
// answer to ours.
const headerSize = 8

// headerConn keeps what a peer says first, for the error when it is no AMQP 0-9-1.
type headerConn struct {
	net.Conn

	seen []byte // of the one goroutine that reads
	head atomic.Pointer[string]
}

// Read implements net.Conn.
func (c *headerConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if room := headerSize - len(c.seen); room > 0 && n > 0 {
		c.seen = append(c.seen, p[:min(n, room)]...)
		head := string(c.seen)
		c.head.Store(&head)
	}
	return n, err
}

// foreignError is what else than AMQP 0-9-1 the peer at addr speaks, nil if nobody knows.
func (c *headerConn) foreignError(addr string) *driver.Error {
	head := c.head.Load()
	switch {
	case head == nil:
		return nil
	case *head == "AMQP\x00\x01\x00\x00", *head == "AMQP\x03\x01\x00\x00": // bare, and with a login
		return driver.Errorf(driver.ReasonNotConnected, "%s speaks AMQP 1.0, and not 0-9-1", addr).
			WithHint("for another broker than RabbitMQ take qpid://")
	case strings.HasPrefix(*head, "AMQP"):
		return driver.Errorf(driver.ReasonNotConnected, "%s speaks another version of AMQP than 0-9-1: its header is %q", addr, *head).
			WithHint("check that host and port are those of a RabbitMQ")
	default:
		return nil
	}
}
