// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/internal/tlspeer"
	"github.com/parleymq/parley/plugin/driver"
)

const (
	// dialTimeout bounds one attempt, from the name's lookup to the open virtual host.
	dialTimeout = 10 * time.Second
	frameSize   = 128 << 10
)

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
	secure, failure := s.secure(ctx, c, h)
	if failure != nil {
		_ = c.Close() // the failure says more
		return nil, failure
	}
	header := &headerConn{Conn: secure}
	socket := newCorkConn(header)
	conn, err := amqp.Open(socket, amqpConfig(s, h))
	if err != nil {
		_ = c.Close() // the library may have done so
		if failure := header.foreignError(addr); failure != nil {
			return nil, failure
		}
		return nil, s.openError(ctx, addr, h, err)
	}
	return &session{
		conn: conn, socket: socket, host: addr, done: make(chan struct{}),
		closes: conn.NotifyClose(make(chan *amqp.Error, 1)),
		blocks: conn.NotifyBlocked(make(chan amqp.Blocking, 8)),
	}, nil
}

// secure is the TLS handshake, where TLS is asked for. The files of certificates are read each
// time: those that were renewed are used from then on.
func (s *settings) secure(ctx context.Context, c net.Conn, h driver.Host) (net.Conn, *driver.Error) {
	if s.tls == nil {
		return c, nil
	}
	cfg, err := s.tls.Config(h.Name)
	if err != nil {
		// Of a driver that was opened with these files: it is no mistake of the options now.
		e := *driver.AsError(err)
		e.Reason = driver.ReasonTLSFailed
		return nil, &e
	}
	secure := tls.Client(c, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		addr := h.Address(defaultPort)
		if failure := s.tls.Failure(addr, err); failure != nil {
			return nil, failure
		}
		return nil, connectError(addr, h, s.vhost, err)
	}
	return secure, nil
}

// openError is why AMQP was not opened.
func (s *settings) openError(ctx context.Context, addr string, h driver.Host, err error) *driver.Error {
	failure := connectError(addr, h, s.vhost, err)
	if answer, ok := errors.AsType[*amqp.Error](err); ok && answer.Server {
		return failure
	}
	if s.tls == nil {
		return failure.WithHint("check that host and port are those of a broker; if it is a port for TLS, set %s=true", tlspeer.OptEnabled)
	}
	// In TLS 1.3 a broker refuses a certificate when the handshake is over for this side, and its
	// word may be lost when we write into that. One that does not write hears it.
	if _, refused := s.tls.Probe(ctx, addr, h.Name); driver.ReasonOf(refused) == driver.ReasonTLSFailed {
		return driver.AsError(refused)
	}
	return failure
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
