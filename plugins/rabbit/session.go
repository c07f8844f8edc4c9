// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/plugin/driver"
)

// session is one connection to a broker, from its login to its loss.
type session struct {
	conn   *amqp.Connection
	socket *corkConn
	host   string // host:port, for people
	closes chan *amqp.Error
	blocks chan amqp.Blocking
	done   chan struct{} // closed when the connection is lost or closed
	log    *slog.Logger  // of the link
}

// Peer implements uplink.Session.
func (s *session) Peer() string { return s.host }

// Watch implements uplink.Session.
func (s *session) Watch(ctx context.Context, blocked func(*driver.Error)) *driver.Error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.closes:
			s.cut()
			return lostError(s.host, err)
		case b, ok := <-s.blocks:
			if !ok {
				s.blocks = nil // closed together with closes
				continue
			}
			if !b.Active {
				s.log.Info("the broker takes messages again", "host", s.host)
				blocked(nil)
				continue
			}
			s.log.Warn("the broker is blocked", "host", s.host, "reason", b.Reason)
			blocked(driver.Errorf(driver.ReasonBrokerBlocked, "%s takes no messages: %s", s.host, b.Reason).
				WithHint("free memory or disk space at the broker"))
		}
	}
}

// End implements uplink.Session.
func (s *session) End() { close(s.done) }

// Close implements uplink.Session.
func (s *session) Close(deadline time.Time) {
	// The error is that of a connection which is going away anyhow.
	_ = s.conn.CloseDeadline(deadline)
	s.cut()
}

// cut closes the socket, which ends the connection as any loss does.
func (s *session) cut() {
	_ = s.socket.Close() // there is nothing left to lose
}
