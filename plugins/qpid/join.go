// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"runtime"
	"sync"
	"time"
)

const (
	// joinSize is how many bytes wait for the socket before a writer waits for room.
	joinSize = 64 << 10
	// joinGrace is how long the last bytes have to be written when the connection is closed.
	joinGrace = time.Second
)

// joinConn is a socket whose writes are joined: a goroutine writes what has come meanwhile by one
// system call. The AMQP library writes each frame on its own and waits for that, so that a message
// costs it, and the peer, a system call or two. Nothing waits for a timer: bytes are on their way as soon
// as whoever can write more has done so.
//
// What Write takes may be lost like anything that the kernel has taken and not sent. A failed write
// ends the connection, as any other loss does, and is what Read and Write return from then on.
type joinConn struct {
	net.Conn
	wake  chan struct{} // of capacity one
	ended chan struct{} // closed with the goroutine
	room  *sync.Cond    // of mu: there is room, or there will be none

	mu       sync.Mutex
	buf      []byte    // waits for the socket; guarded by mu
	deadline time.Time // of what is in buf; guarded by mu
	closed   bool      // guarded by mu
	err      error     // of the first write that failed; guarded by mu
}

// newJoinConn starts the goroutine, which ends with Close.
func newJoinConn(c net.Conn) *joinConn {
	j := &joinConn{Conn: c, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	j.room = sync.NewCond(&j.mu)
	go j.run()
	return j
}

// Write implements net.Conn. It returns when the bytes are copied.
func (j *joinConn) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.err == nil && !j.closed && len(j.buf) > 0 && len(j.buf)+len(p) > joinSize {
		j.room.Wait() // the goroutine's write has a deadline
	}
	switch {
	case j.err != nil:
		return 0, j.err
	case j.closed:
		return 0, net.ErrClosed
	}
	j.buf = append(j.buf, p...)
	signal(j.wake)
	return len(p), nil
}

// Read implements net.Conn.
func (j *joinConn) Read(p []byte) (int, error) {
	n, err := j.Conn.Read(p)
	if err != nil {
		j.mu.Lock()
		defer j.mu.Unlock()
		if j.err != nil {
			err = j.err // it says why the socket was closed
		}
	}
	return n, err
}

// SetWriteDeadline implements net.Conn: it holds for what is written from now on.
func (j *joinConn) SetWriteDeadline(t time.Time) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.deadline = t
	return nil
}

// Close implements net.Conn. What was written before it has joinGrace to leave.
func (j *joinConn) Close() error {
	j.mu.Lock()
	j.closed = true
	j.room.Broadcast()
	j.mu.Unlock()
	signal(j.wake)
	cut := time.AfterFunc(joinGrace, func() { _ = j.Conn.Close() })
	<-j.ended
	cut.Stop()
	return j.Conn.Close()
}

// run writes until the connection is closed or a write fails.
func (j *joinConn) run() {
	defer close(j.ended)
	var out []byte
	for {
		more, deadline, over := j.take(out)
		switch {
		case len(more) > 0:
			if j.flush(more, deadline) != nil {
				return
			}
		case over:
			return
		default:
			<-j.wake // Close wakes it
			// Those who have more to write go first: it is their messages, one behind the other, that
			// are worth joining. When nobody can run this goes on at once.
			runtime.Gosched()
		}
		if out = more[:0]; cap(out) > 2*joinSize {
			out = nil // a large message went by; do not keep its size
		}
	}
}

// take returns what is to be written, in exchange for a buffer to be filled.
func (j *joinConn) take(empty []byte) (full []byte, deadline time.Time, over bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.buf) == 0 {
		return empty, time.Time{}, j.closed
	}
	full, j.buf = j.buf, empty
	j.room.Broadcast()
	return full, j.deadline, false
}

func (j *joinConn) flush(p []byte, deadline time.Time) error {
	err := j.Conn.SetWriteDeadline(deadline)
	if err == nil {
		_, err = j.Conn.Write(p)
	}
	if err == nil {
		return nil
	}
	j.mu.Lock()
	j.err, j.buf = err, nil
	j.room.Broadcast()
	j.mu.Unlock()
	_ = j.Conn.Close() // err says more
	return err
}
