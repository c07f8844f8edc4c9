// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/qpid/internal/address"
	"github.com/parleymq/parley/plugins/qpid/internal/amqpopen"
)

// session is one life of the connection: from a successful open until it is lost or closed. What
// belongs to a session is made again in the next.
type session struct {
	host    string // as host:port
	product string // the peer's, "" when it sent none
	peer    amqpopen.Peer
	conn    *amqp.Conn
	addr    address.Resolver // of this peer: the mode is resolved
	relay   bool             // the peer offers ANONYMOUS-RELAY
	done    chan struct{}    // closed when the session is over

	socket *amqpopen.Conn
	pool   *pool
}

// newSession is that of a connection on which one AMQP session has begun.
func newSession(s *settings, host string, socket *amqpopen.Conn, conn *amqp.Conn, first *amqp.Session) *session {
	peer := socket.Peer()
	product := peer.Properties["product"]
	return &session{
		host: host, product: product, peer: peer, conn: conn,
		addr: s.addresses.For(product), relay: hasRelay(peer.Offered), done: make(chan struct{}),
		socket: socket, pool: newPool(conn, socket, host, sessionLimit(peer), first),
	}
}

// hasRelay reports whether the peer forwards what is sent to no node by its address.
func hasRelay(offered []string) bool {
	for _, c := range offered {
		if c == "ANONYMOUS-RELAY" {
			return true
		}
	}
	return false
}

// Peer implements uplink.Session.
func (s *session) Peer() string { return s.host }

// Watch implements uplink.Session. That an address takes no messages, which is all that this wire
// knows, is reported by the lanes (uplink.Link.Stall).
func (s *session) Watch(ctx context.Context, _ func(*driver.Error)) *driver.Error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.conn.Done():
		return lostError(s.host, s.conn.Err())
	}
}

// End implements uplink.Session.
func (s *session) End() { close(s.done) }

// Close implements uplink.Session.
func (s *session) Close(deadline time.Time) {
	cut := time.AfterFunc(time.Until(deadline), s.cut)
	defer cut.Stop()
	// The error is that of a connection which is going away anyhow.
	_ = s.conn.Close()
	s.pool.wait()
}

// cut closes the socket, which ends the connection as any loss does.
func (s *session) cut() {
	_ = s.socket.Close() // there is nothing left to lose
}
