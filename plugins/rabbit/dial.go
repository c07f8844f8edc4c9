// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/plugin/driver"
)

const (
	// dialTimeout bounds one attempt, from the name's lookup to the open virtual host.
	dialTimeout = 10 * time.Second
	frameSize   = 128 << 10
)

// session is one connection to a broker, from its login to its loss.
type session struct {
	conn   *amqp.Connection
	socket *corkConn
	host   string // host:port, for people
	closes chan *amqp.Error
	blocks chan amqp.Blocking
	done   chan struct{} // closed when the connection is lost or closed
}

// dial makes one attempt at one host.
func dial(ctx context.Context, s *settings, h driver.Host) (*session, *driver.Error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	addr := h.Address(defaultPort)
	dialer := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 10 * time.Second, Count: 9},
		Control:         userTimeout(s.heartbeat),
	}
	c, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, connectError(addr, h, s.vhost, err)
	}
	// The library clears the deadline when the virtual host is open. ctx ends the handshake
	// by closing the socket under it.
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return nil, connectError(addr, h, s.vhost, errors.Join(err, c.Close()))
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	socket := newCorkConn(c)
	conn, err := amqp.Open(socket, amqpConfig(s, h))
	if err != nil {
		_ = c.Close() // the library may have done so
		return nil, connectError(addr, h, s.vhost, err)
	}
	return &session{
		conn: conn, socket: socket, host: addr, done: make(chan struct{}),
		closes: conn.NotifyClose(make(chan *amqp.Error, 1)),
		blocks: conn.NotifyBlocked(make(chan amqp.Blocking, 8)),
	}, nil
}

func amqpConfig(s *settings, h driver.Host) amqp.Config {
	properties := amqp.Table{
		"product":  "Parley",
		"version":  driverVersion,
		"platform": "Go",
		// The form that upstream's connections have, for lists of connections.
		"connection_name": s.appName + ":" + strconv.Itoa(os.Getpid()) + ":" + uuid.NewString(),
	}
	return amqp.Config{
		SASL: []amqp.Authentication{newLogin(s.loginMethod, h, properties)}, Vhost: s.vhost,
		FrameSize: frameSize, Heartbeat: s.heartbeat, Properties: properties, Locale: "en_US",
	}
}

// close ends the connection by the deadline at the latest, politely if possible.
func (s *session) close(deadline time.Time) {
	// The error is that of a connection which is going away anyhow.
	_ = s.conn.CloseDeadline(deadline)
	s.cut()
}

// cut closes the socket, which ends the connection as any loss does.
func (s *session) cut() {
	_ = s.socket.Close() // there is nothing left to lose
}
