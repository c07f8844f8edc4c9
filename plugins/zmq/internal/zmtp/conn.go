// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zeromq/zmq4"
)

const (
	// writeChunk is the most that one write to the socket carries, so that WriteTimeout means
	// progress and not a size.
	writeChunk = 512 * kib
	// drainTime is how long the reader may still have what a peer sent before writing to it failed.
	drainTime = time.Second
	// lingerTime is how long CloseAfterFlush waits for the peer to close after us.
	lingerTime = 500 * time.Millisecond
	// farewellTime is how long what is queued is still written when the peer has closed its half.
	farewellTime = 250 * time.Millisecond
)

// Conn is one ZMTP connection after its handshake. Send, Close, CloseAfterFlush and the getters are
// safe for concurrent use; Recv belongs to one goroutine. It must be called again and again: PINGs
// are answered and a silent peer is noticed in it.
type Conn struct {
	raw   net.Conn // the socket
	guard *guard
	zc    *zmq4.Conn
	out   *outbox
	o     Options
	peer  Peer

	ended   chan struct{} // closed once err is set
	err     error
	end     sync.Once
	flushed chan struct{} // closed when the flusher has ended
	pinger  pinger
	eof     atomic.Bool // the peer sends nothing more
	release func()      // tells the Listener
	// writeDeadline is the flusher's.
	writeDeadline time.Time
}

// start starts what a Conn does by itself. The handshake is over.
func (c *Conn) start() {
	if c.o.PingInterval > 0 && c.guard.minor >= 1 {
		c.guard.window = 3 * c.o.PingInterval
		c.pinger.start(c.o.PingInterval, c.tick)
	}
	go c.flush()
}

// Send queues a message, of at least one frame, and does not wait for the network. The frames may
// be reused at once. The error is ErrBacklog, ErrTooLarge, or why the Conn has ended; nothing is
// queued then. No error means no more than that the bytes are queued.
func (c *Conn) Send(frames [][]byte) error {
	sum, size := 0, 0
	for _, f := range frames {
		sum += len(f)
		size += len(f) + overhead(len(f))
	}
	if len(frames) == 0 || len(frames) > c.o.MaxFrames || sum > c.o.MaxMessage {
		return fmt.Errorf("send to %s: %w: it has %d frames with %d bytes, the limits are %d and %d",
			c.peer.Address, ErrTooLarge, len(frames), sum, c.o.MaxFrames, c.o.MaxMessage)
	}
	return c.queue(size, c.o.MaxBuffered, func() error { return c.zc.SendMsg(zmq4.Msg{Frames: frames}) })
}

func (c *Conn) queue(size, limit int, encode func() error) error {
	err := c.out.add(size, limit, encode)
	if err == nil {
		return nil
	}
	if ended := c.Err(); ended != nil {
		return ended
	}
	return fmt.Errorf("send to %s: %w", c.peer.Address, err)
}

// Recv waits for the next message. The frames are the caller's. The error says why the Conn ended,
// and is the last result.
func (c *Conn) Recv() ([][]byte, error) {
	msg, err := c.receive()
	if err == nil {
		return msg.Frames, nil
	}
	if errors.Is(err, ErrPeerClosed) {
		c.farewell()
	}
	c.fail(err)
	c.guard.giveBack() // what was taken after fail did so
	return nil, c.err
}

// receive turns a panic of zmq4 into an error. The guard lets nothing through that is known to
// cause one.
func (c *Conn) receive() (msg zmq4.Msg, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = refusal("zmq4 panicked: %v", p)
		}
	}()
	msg, err = c.zc.RecvMsg()
	if err != nil && c.guard.failed != nil {
		err = c.guard.failed
	}
	return msg, err
}

// farewell writes what is left for a peer that closed its half: it may be waiting for that.
func (c *Conn) farewell() {
	c.eof.Store(true)
	c.out.seal()
	t := time.NewTimer(farewellTime)
	defer t.Stop()
	select {
	case <-c.flushed:
	case <-c.ended:
	case <-t.C:
	}
}

// flush writes what is queued until the Conn ends or nothing more will come.
func (c *Conn) flush() {
	defer close(c.flushed)
	for {
		batch := c.out.next()
		if len(batch) == 0 {
			return
		}
		if err := c.write(batch); err != nil {
			c.writeFailed(err)
			return
		}
		c.out.recycle(batch)
	}
}

func (c *Conn) write(batch []byte) error {
	for len(batch) > 0 {
		c.extend()
		n, err := c.guard.Conn.Write(batch[:min(len(batch), writeChunk)])
		c.out.wroteSome(n)
		if err != nil {
			return err
		}
		batch = batch[n:]
	}
	return nil
}

// extend sets the deadline of writing, not before each write but when a part of it is over.
func (c *Conn) extend() {
	now := time.Now()
	if c.writeDeadline.Sub(now) >= c.o.WriteTimeout {
		return
	}
	c.writeDeadline = now.Add(c.o.WriteTimeout + c.o.WriteTimeout/4)
	_ = c.guard.SetWriteDeadline(c.writeDeadline) // fails only when the socket is closed, which Write says
}

// writeFailed ends the Conn, but not before the reader had what the peer sent before it went away:
// that may be a goodbye, or the answers to what we asked.
func (c *Conn) writeFailed(err error) {
	if isTimeout(err) {
		c.fail(fmt.Errorf("%w: %d bytes waited for %v", ErrStalled, c.Buffered(), c.o.WriteTimeout))
		return
	}
	if c.eof.Load() {
		c.fail(fmt.Errorf("%w: %w", ErrPeerClosed, err))
		return
	}
	c.out.stop()
	c.guard.drain(drainTime)
	t := time.NewTimer(drainTime)
	defer t.Stop()
	select {
	case <-c.ended:
	case <-t.C:
		c.fail(fmt.Errorf("write: %w", err))
	}
}

// fail ends the Conn for the first reason that comes.
func (c *Conn) fail(why error) {
	c.end.Do(func() {
		c.err = fmt.Errorf("connection with %s: %w", c.peer.Address, why)
		close(c.ended)
		c.out.stop()
		c.pinger.stop()
		_ = c.raw.Close() // there is nothing left to lose
		c.guard.giveBack()
		c.release()
	})
}

// Close ends the Conn at once. What is queued and not written is lost. It waits for the goroutine
// of the Conn and returns nil.
func (c *Conn) Close() error {
	c.fail(ErrClosed)
	<-c.flushed
	return nil
}

// CloseAfterFlush writes what is queued, tells the peer that nothing more comes, gives it half a
// second to close too, so that nothing on its way is lost to a reset, and ends the Conn. New
// messages are refused from the start. The error says that ctx or the connection ended before all
// was written. Whoever calls Recv should go on until it fails.
func (c *Conn) CloseAfterFlush(ctx context.Context) error {
	c.out.seal()
	select {
	case <-c.flushed:
	case <-c.ended:
	case <-ctx.Done():
	}
	left := c.Buffered()
	if left == 0 {
		c.linger(ctx)
	}
	_ = c.Close() // it returns nil
	if left > 0 {
		return fmt.Errorf("close: %d bytes were not written: %w", left, errors.Join(context.Cause(ctx), c.err))
	}
	return nil
}

// linger closes our half and waits for the peer's.
func (c *Conn) linger(ctx context.Context) {
	half, ok := c.guard.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	t := time.NewTimer(lingerTime)
	defer t.Stop()
	select {
	case <-c.ended:
	case <-t.C:
	case <-ctx.Done():
	}
}

// Done is closed when the Conn has ended.
func (c *Conn) Done() <-chan struct{} { return c.ended }

// Err says why the Conn has ended, nil before that.
func (c *Conn) Err() error {
	select {
	case <-c.ended:
		return c.err
	default:
		return nil
	}
}

// Peer is the other side.
func (c *Conn) Peer() Peer { return c.peer }

// Buffered is how many bytes are queued and not written to the socket.
func (c *Conn) Buffered() int { return int(c.out.queued.Load()) }
