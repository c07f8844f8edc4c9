// SPDX-License-Identifier: Apache-2.0

package scripted

import (
	"bytes"
	"io"
	"time"
)

// handshake is everything before the first session. It reports whether the connection is open.
func (c *conn) handshake(in io.Reader) bool {
	_ = c.socket.SetReadDeadline(time.Now().Add(patience))
	header, ok := c.header(in)
	switch {
	case !ok:
		return false
	case c.options.Greeting != nil:
		c.say(c.options.Greeting)
		return false
	case bytes.Equal(header, headerSASL):
		if !c.login(in) {
			return false
		}
		if header, ok = c.header(in); !ok {
			return false
		}
	case c.options.RequireSASL:
		c.say(headerSASL)
		return false
	}
	c.say(headerAMQP) // also as the protocol's answer to a header that it does not know
	if !bytes.Equal(header, headerAMQP) {
		c.peer.mu.Lock()
		c.violation("the header %q", header)
		c.peer.mu.Unlock()
		return false
	}
	return c.open(in)
}

func (c *conn) header(in io.Reader) ([]byte, bool) {
	header := make([]byte, len(headerAMQP))
	if _, err := io.ReadFull(in, header); err != nil {
		return nil, false
	}
	c.peer.mu.Lock()
	defer c.peer.mu.Unlock()
	c.peer.record(Event{Conn: c.id, Name: "header", Header: header})
	return header, true
}

// say queues bytes that are no frame.
func (c *conn) say(b []byte) {
	c.peer.mu.Lock()
	defer c.peer.mu.Unlock()
	c.queue(b)
}

// login is SASL. It reports whether the client was let in.
func (c *conn) login(in io.Reader) bool {
	p := c.peer
	c.say(headerSASL)
	p.mu.Lock()
	c.frame(1, 0, codeMechanisms, List{symbols(c.options.Mechanisms)}, nil)
	p.mu.Unlock()
	f, err := readFrame(in, minFrameSize)
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.failed(err) {
		return false
	}
	if f.kind != 1 || f.code != codeInit {
		c.violation("frame %#02x instead of sasl-init", f.code)
		return false
	}
	p.record(Event{Conn: c.id, Name: "sasl-init", Fields: f.fields})
	response, _ := f.fields.at(1).([]byte)
	code := byte(0)
	if c.options.Login != nil {
		code = c.options.Login(f.fields.text(0), response)
	}
	c.frame(1, 0, codeOutcome, List{code}, nil)
	return code == 0
}

// open exchanges the open frames.
func (c *conn) open(in io.Reader) bool {
	p, o := c.peer, c.options
	f, err := readFrame(in, o.MaxFrameSize)
	p.mu.Lock()
	if c.failed(err) {
		p.mu.Unlock()
		return false
	}
	p.record(Event{Conn: c.id, Name: "open", Fields: f.fields})
	if f.code != codeOpen || f.kind != 0 {
		c.violation("frame %#02x instead of open", f.code)
		p.mu.Unlock()
		return false
	}
	c.frameMax = uint32(min(f.fields.num(2, 1<<20), 1<<20))
	p.mu.Unlock()
	if o.OpenDelay > 0 {
		timer := time.NewTimer(o.OpenDelay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.ctx.Done():
			return false
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c.idle = time.Duration(f.fields.num(4, 0)) * time.Millisecond
	c.frame(0, 0, codeOpen, c.options.openFields(), nil)
	if o.CloseAfterOpen != nil {
		c.close(o.CloseAfterOpen)
	}
	return true
}

func (o Options) openFields() List {
	properties := Map{}
	for name, v := range o.Properties {
		properties[Symbol(name)] = v
	}
	if o.Product != "" {
		properties[Symbol("product")] = o.Product
	}
	var idle any
	if o.IdleTimeout > 0 {
		idle = uint32(o.IdleTimeout.Milliseconds() / 2)
	}
	return List{
		"scripted", nil, o.MaxFrameSize, o.ChannelMax, idle, nil, nil,
		symbolArray(o.Capabilities), nil, properties,
	}
}
