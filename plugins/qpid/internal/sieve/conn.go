// SPDX-License-Identifier: Apache-2.0

package sieve

import (
	"encoding/binary"
	"errors"
	"net"
)

const (
	headerLen = 8 // of a protocol header, and of the fixed part of a frame
	// maxFrame is more than any frame that go-amqp allows its peer. It says so itself; here it only
	// bounds the memory.
	maxFrame = 16 << 20
	readSize = 32 << 10
	// maxOpen bounds the messages that are received in parts at the same time.
	maxOpen = 1 << 16
)

// What ends a connection.
var (
	// errLate: the part of a message that was passed on cannot be taken back.
	errLate     = errors.New("the peer sends a message in parts whose later ones cannot be read")
	errTransfer = errors.New("the peer sends a transfer that cannot be read")
	errOpen     = errors.New("the peer sends too many messages in parts at the same time")
)

// Options are what a Conn may do besides.
type Options struct {
	// Report is told why a message was overwritten, from the goroutine that reads; nil for nobody.
	Report func(why string)
}

// Conn is a net.Conn whose messages can be read. It is to be read by one goroutine at a time.
type Conn struct {
	net.Conn
	report func(string)

	buf     []byte         // has raw in it
	raw     []byte         // from the socket, and not read from here yet
	ready   []byte         // the start of raw that may be read
	foreign bool           // the peer speaks something else, which is not looked at
	started bool           // a protocol header has passed
	open    map[link]*scan // messages that are not whole yet
	spare   *scan          // for the next message
	failure error          // what ends the connection
	ended   error          // of the last read, to be returned behind what it brought
}

// link is one link of the peer, by its numbers on the wire.
type link struct {
	channel uint16
	handle  uint32
}

// New returns c with its messages sieved.
func New(c net.Conn, o Options) *Conn {
	if o.Report == nil {
		o.Report = func(string) {}
	}
	return &Conn{Conn: c, report: o.Report, open: make(map[link]*scan), spare: new(scan)}
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	for len(c.ready) == 0 {
		if c.failure != nil {
			return 0, c.failure
		}
		if err := c.ended; err != nil {
			c.ended = nil
			return 0, err
		}
		if c.foreign {
			return c.Conn.Read(p)
		}
		c.fill()
	}
	n := copy(p, c.ready)
	c.ready = c.ready[n:]
	c.raw = c.raw[n:]
	return n, nil
}

// fill reads more and finds what of it may be read. What was found before has been read.
func (c *Conn) fill() {
	kept := len(c.raw)
	if cap(c.buf)-kept < readSize/2 {
		c.buf = append(make([]byte, 0, max(readSize, 2*cap(c.buf))), c.raw...)
	} else {
		copy(c.buf[:kept], c.raw)
	}
	n, err := c.Conn.Read(c.buf[kept:cap(c.buf)])
	c.raw = c.buf[:kept+n]
	passed := 0
	for {
		size := c.next(c.raw[passed:])
		if size == 0 || c.failure != nil {
			break
		}
		passed += size
	}
	c.ready = c.raw[:passed]
	c.ended = err
}

// next returns the length of what may pass of rest: a header, a frame or, of a peer that speaks
// something else, all; 0 when there is too little to tell.
func (c *Conn) next(rest []byte) int {
	switch {
	case len(rest) == 0:
		return 0
	case c.foreign, !c.started && string(rest[:min(len(rest), 4)]) != "AMQP"[:min(len(rest), 4)]:
		c.foreign = true
		return len(rest)
	case len(rest) < headerLen:
		return 0
	case string(rest[:4]) == "AMQP":
		c.started = true
		return headerLen
	}
	size := int64(binary.BigEndian.Uint32(rest))
	if start := 4 * int64(rest[4]); size < headerLen || size > maxFrame || start < headerLen || start > size {
		c.foreign = true // go-amqp refuses it
		return len(rest)
	}
	if int64(len(rest)) < size {
		return 0
	}
	if rest[5] == 0 {
		c.frame(binary.BigEndian.Uint16(rest[6:]), rest[4*int(rest[4]):size])
	}
	return int(size)
}

// frame looks at the body of a frame, and changes it if it has to.
func (c *Conn) frame(channel uint16, body []byte) {
	code, rest, _ := descriptor(body)
	switch code {
	case codeDetach, codeEnd:
		c.forget(channel, code, rest)
		return
	case codeTransfer:
	default:
		return
	}
	t, ok := readTransfer(rest)
	if !ok {
		c.failure = errTransfer
		return
	}
	on := link{channel, t.handle}
	s := c.open[on]
	first := s == nil
	if first {
		s = c.spare
		s.reset()
	}
	why := s.feed(t.payload, !t.more)
	if t.aborted {
		delete(c.open, on)
		return // the library drops it unread
	}
	if why != "" {
		if first {
			c.report(why)
		}
		s.hidden = first || s.hidden
		if !s.hidden || !hide(t.payload, why) {
			c.failure = errLate
			return
		}
	}
	if !t.more {
		delete(c.open, on)
		return
	}
	if first {
		if len(c.open) == maxOpen {
			c.failure = errOpen
			return
		}
		c.open[on], c.spare = s, new(scan)
	}
}

// forget drops the messages in parts of a link or a session that ended.
func (c *Conn) forget(channel uint16, code uint64, rest []byte) {
	fields, _, _, _ := list(rest)
	_, handle, _, _ := simple(fields)
	for on := range c.open {
		if on.channel == channel && (code == codeEnd || on.handle == number(handle)) {
			delete(c.open, on)
		}
	}
}

// hide overwrites a payload with a section of data of its size, which has the reason in it. It fails
// when there is no such section.
func hide(payload []byte, why string) bool {
	n := len(payload)
	var start []byte
	switch {
	case n == 0:
		return true
	case n >= 8:
		start = binary.BigEndian.AppendUint32([]byte{0x00, 0x53, sectionData, 0xb0}, uint32(n-8))
	case n >= 5:
		start = []byte{0x00, 0x53, sectionData, 0xa0, byte(n - 5)}
	default:
		return false
	}
	copy(payload, start)
	text := payload[len(start):]
	text = text[copy(text, "unreadable: "+why):]
	for i := range text {
		text[i] = ' '
	}
	return true
}
