// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/go-zeromq/zmq4/security/null"
)

// hearOutTime bounds how long a peer may take to read why it was refused.
const hearOutTime = 200 * time.Millisecond

// side is who opens a Conn.
type side struct {
	role     zmq4.SocketType
	identity string
	tls      *tls.Config // nil for plain
	server   bool
	endpoint string
	release  func() // called once when the Conn ends
}

// open makes a Conn of a socket, within o.Handshake. The socket is closed when that fails.
func open(ctx context.Context, raw net.Conn, s side, o Options) (*Conn, error) {
	c, err := tryOpen(ctx, raw, s, o)
	if err != nil {
		_ = raw.Close() // it is given up
		return nil, err
	}
	return c, nil
}

func tryOpen(ctx context.Context, raw net.Conn, s side, o Options) (*Conn, error) {
	if err := raw.SetDeadline(time.Now().Add(o.Handshake)); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	peer := Peer{Address: addressOf(raw, s.endpoint)}
	secure, err := secured(ctx, raw, s, &peer)
	if err != nil {
		return nil, err
	}
	c := &Conn{
		raw: raw, out: newOutbox(), o: o, release: s.release,
		ended: make(chan struct{}), flushed: make(chan struct{}),
	}
	c.guard = &guard{Conn: secure, role: string(s.role), o: o, out: c.out, done: c.ended, ping: c.pong}
	c.guard.grant.revoke = c.fail
	if c.zc, err = openZMQ(c.guard, s); err != nil {
		if c.guard.failed != nil {
			err = c.guard.failed
		}
		return nil, err
	}
	// A peer that sends all at once lets zmq4 finish before READY was written.
	if err := c.out.flushTo(secure); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	if err := raw.SetDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	peer.SocketType, peer.Identity = c.guard.meta.socketType, c.guard.meta.identity
	c.peer = peer
	c.start()
	return c, nil
}

// secured does the TLS handshake, if there is one to do.
func secured(ctx context.Context, raw net.Conn, s side, peer *Peer) (net.Conn, error) {
	if s.tls == nil {
		return raw, nil
	}
	var t *tls.Conn
	if s.server {
		t = tls.Server(raw, s.tls)
	} else {
		t = tls.Client(raw, s.tls)
	}
	if err := t.HandshakeContext(ctx); err != nil {
		if s.server {
			hearOut(raw)
		}
		return nil, fmt.Errorf("%w: %w", errTLS, err)
	}
	peer.certified(t.ConnectionState())
	return t, nil
}

// hearOut lets the peer read why it is refused. It thinks that TLS is agreed and goes on sending,
// and closing the socket with that unread would reset the connection.
func hearOut(raw net.Conn) {
	half, ok := raw.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || raw.SetReadDeadline(time.Now().Add(hearOutTime)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(raw, maxCommand)) // nothing of it counts
}

// openZMQ runs zmq4's handshake on the guard. It panics on socket types that it does not know; the
// guard lets none of these through, and if it did, one peer would be refused and nothing else.
func openZMQ(g *guard, s side) (zc *zmq4.Conn, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = refusal("zmq4 panicked: %v", p)
		}
	}()
	return zmq4.Open(g, null.Security(), s.role, zmq4.SocketIdentity(s.identity), false, nil)
}
