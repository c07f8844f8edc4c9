// SPDX-License-Identifier: Apache-2.0

package scripted

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

const (
	minFrameSize = 512
	// patience bounds what a client may keep the peer waiting for.
	patience = 30 * time.Second
)

var (
	headerAMQP = []byte{'A', 'M', 'Q', 'P', 0, 1, 0, 0}
	headerSASL = []byte{'A', 'M', 'Q', 'P', 3, 1, 0, 0}
)

// conn is one connection of a client.
type conn struct {
	peer    *Peer
	id      int
	socket  net.Conn
	options Options

	wake chan struct{} // of capacity one: there is something to write, or to end for

	// The rest is guarded by peer.mu.
	out      [][]byte // to be written
	leave    bool     // the socket is closed when all is written
	closing  bool     // a close frame was sent
	sessions map[uint16]*session
	frameMax uint32        // the client's
	idle     time.Duration // the client's: it wants to hear something as often
}

// serve does all of a connection.
func (c *conn) serve() {
	done := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() { c.write(done) })
	in := bufio.NewReader(c.socket)
	if c.handshake(in) {
		c.read(in)
	}
	c.linger(in)
	close(done)
	writer.Wait()
	_ = c.socket.Close()
	c.over()
}

// linger waits for the client to go once it was told to, so that it reads what it was told.
func (c *conn) linger(in io.Reader) {
	c.peer.mu.Lock()
	c.leave = true
	c.poke()
	c.peer.mu.Unlock()
	_ = c.socket.SetReadDeadline(time.Now().Add(patience))
	_, _ = io.Copy(io.Discard, in) // until the writer or the client ends the connection
}

// over gives back what the connection had.
func (c *conn) over() {
	p := c.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range c.sessions {
		s.drop()
	}
	delete(p.conns, c)
	for address, n := range p.nodes {
		if n.owner != c {
			continue
		}
		delete(p.nodes, address)
		for l := range p.links {
			if l.attach.Sender && l.node == n {
				l.detach(&Error{ResourceDeleted, "the node " + address + " is deleted"}, true)
			}
		}
	}
	p.record(Event{Conn: c.id, Name: "gone"})
}

// cut resets the connection.
func (c *conn) cut() {
	if tcp, ok := c.socket.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.socket.Close()
}

// close ends the connection by the protocol.
func (c *conn) close(err *Error) {
	if !c.closing {
		c.frame(0, 0, codeClose, List{err.value()}, nil)
		c.closing = true
	}
}

// frame queues a frame. Nothing follows a close.
func (c *conn) frame(kind byte, channel uint16, code uint64, fields List, payload []byte) {
	if c.closing {
		return
	}
	b := appendFrame(nil, kind, channel, code, fields, payload)
	if c.peer.empty && kind == 0 {
		nothing := []byte{0, 0, 0, frameHeaderSize, 2, 0, 0, 0}
		b = append(append(append([]byte{}, nothing...), b...), nothing...)
	}
	c.queue(b)
}

func (c *conn) queue(b []byte) {
	c.out = append(c.out, b)
	c.poke()
}

func (c *conn) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// write writes what is queued, and empty frames as often as the client wants them, until the
// connection is over.
func (c *conn) write(done <-chan struct{}) {
	last := time.Now()
	for {
		c.peer.mu.Lock()
		idle, leave := c.idle, c.leave && !c.peer.muted
		var out [][]byte
		if !c.peer.muted {
			out, c.out = c.out, nil
			if len(out) == 0 && idle > 0 && time.Since(last) >= idle/2 {
				out = [][]byte{{0, 0, 0, frameHeaderSize, 2, 0, 0, 0}}
			}
		}
		c.peer.mu.Unlock()
		if len(out) > 0 {
			last = time.Now()
			_ = c.socket.SetWriteDeadline(last.Add(patience))
			_, _ = c.socket.Write(bytes.Join(out, nil)) // the reader sees that it is over
			continue
		}
		if leave {
			c.finish()
		}
		var due <-chan time.Time // nil without a limit of the client
		if idle > 0 {
			due = time.After(max(idle/4, time.Millisecond))
		}
		select {
		case <-c.wake:
		case <-due:
		case <-done:
			return
		case <-c.peer.ctx.Done():
			c.cut()
			<-done
			return
		}
	}
}

// finish tells the client that nothing follows. What it may still send is read and dropped by
// linger.
func (c *conn) finish() {
	if tcp, ok := c.socket.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}

// read handles frames until the connection is over.
func (c *conn) read(in io.Reader) {
	for {
		deadline := time.Time{}
		if c.options.IdleTimeout > 0 {
			deadline = time.Now().Add(c.options.IdleTimeout)
		}
		_ = c.socket.SetReadDeadline(deadline)
		f, err := readFrame(in, c.options.MaxFrameSize)
		c.peer.mu.Lock()
		over := c.failed(err) || c.handle(f)
		c.peer.mu.Unlock()
		if over {
			return
		}
	}
}

// failed deals with what cannot be read.
func (c *conn) failed(err error) bool {
	switch {
	case err == nil:
		return false
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.violation("nothing was sent for %v, which is the idle timeout", c.options.IdleTimeout)
		c.close(&Error{ResourceLimit, "nothing was heard for too long"})
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), isReset(err):
	default:
		c.violation("%v", err)
		c.close(&Error{"amqp:connection:framing-error", err.Error()})
	}
	return true
}

// isReset reports whether the other side, or the end of a test, broke the connection.
func isReset(err error) bool {
	_, ok := errors.AsType[*net.OpError](err)
	return ok || errors.Is(err, io.ErrUnexpectedEOF)
}

// handle does what a frame asks for, and reports whether the connection is over.
func (c *conn) handle(f frame) bool {
	e := Event{Conn: c.id, Channel: f.channel, Fields: f.fields}
	switch {
	case f.kind != 0:
		c.violation("a frame of SASL after SASL")
		return false
	case f.code == 0:
		e.Name = "empty"
		c.peer.record(e)
		return false
	case f.code == codeClose:
		e.Name, e.Error = "close", errorAt(f.fields, 0)
		c.peer.record(e)
		c.close(nil)
		return true
	case c.closing:
		return false // it may have been under way
	case f.code == codeBegin:
		e.Name = "begin"
		c.peer.record(e)
		c.begin(f)
		return false
	}
	s := c.sessions[f.channel]
	if s == nil {
		c.violation("frame %#02x on channel %d, which has no session", f.code, f.channel)
		c.close(&Error{NotAllowed, "no such session"})
		return false
	}
	s.handle(f, e)
	return false
}
