// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"net"
	"sync"
	"testing"
)

// tap keeps what a connection receives, so that a test sees the sections of messages as they were
// on the wire.
type tap struct {
	net.Conn

	mu   sync.Mutex
	seen []byte
	read int // how much of seen next has read
}

func (c *tap) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, p[:n]...)
	return n, err
}

// next returns the payload of the next transfer received. Messages that are received one after the
// other are those of the transfers in their order.
func (c *tap) next(t *testing.T) []byte {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.read == 0 {
		c.read = len("AMQP\x00\x01\x00\x00")
	}
	for len(c.seen)-c.read >= 8 {
		rest := c.seen[c.read:]
		size := int(binary.BigEndian.Uint32(rest))
		if size < 8 || size > len(rest) {
			break
		}
		c.read += size
		if body := rest[4*int(rest[4]) : size]; len(body) > 3 && string(body[:3]) == "\x00\x53\x14" {
			return append([]byte(nil), body[performativeLen(t, body):]...)
		}
	}
	t.Fatal("no further transfer was received")
	return nil
}

// performativeLen is the length of a described list at the start of body.
func performativeLen(t *testing.T, body []byte) int {
	t.Helper()
	switch body[3] {
	case 0xc0:
		return 5 + int(body[4])
	case 0xd0:
		return 8 + int(binary.BigEndian.Uint32(body[4:]))
	default:
		t.Fatalf("a transfer of type %#x", body[3])
		return 0
	}
}
