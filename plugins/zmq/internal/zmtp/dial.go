// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/go-zeromq/zmq4"

	"github.com/parleymq/parley/plugin/driver"
)

// Dial connects to endpoint and shakes hands, as a DEALER. With TLS the peer's certificate must be
// for the ServerName of o.TLS, or, when that is empty, for the endpoint's host. The error is a
// *driver.Error, or ctx's.
func Dial(ctx context.Context, endpoint string, o Options) (*Conn, error) {
	o = o.withDefaults()
	e, err := parseEndpoint(endpoint)
	if err == nil {
		err = e.dialable()
	}
	if err != nil {
		return nil, err
	}
	if len(o.Identity) > 255 || strings.HasPrefix(o.Identity, "\x00") {
		return nil, driver.Errorf(driver.ReasonConfig, "an identity has 1 to 255 bytes and does not start with a zero byte")
	}
	raw, err := e.connect(ctx, o.DialTimeout)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, notConnected(endpoint, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() }) // wakes whoever reads or writes
	c, err := open(ctx, raw, side{
		role: zmq4.Dealer, identity: o.Identity, tls: clientConfig(o.TLS, e.host), endpoint: endpoint, release: func() {},
	}, o)
	switch canceled := !stop(); {
	case err == nil && canceled:
		_ = c.Close() // it returns nil
		return nil, context.Cause(ctx)
	case err == nil:
		return c, nil
	case canceled:
		return nil, context.Cause(ctx)
	}
	return nil, notAgreed(endpoint, o, err)
}

func (e *endpoint) connect(ctx context.Context, timeout time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout}
	if e.path != "" {
		return d.DialContext(ctx, "unix", e.path)
	}
	return d.DialContext(ctx, "tcp", e.address(e.low))
}

// clientConfig fills in whose certificate is expected.
func clientConfig(c *tls.Config, host string) *tls.Config {
	if c == nil || c.ServerName != "" || host == "" {
		return c
	}
	c = c.Clone()
	c.ServerName = host
	return c
}

// notConnected is a failure before the socket was connected.
func notConnected(endpoint string, err error) *driver.Error {
	e := driver.Errorf(driver.ReasonNotConnected, "cannot connect to %s: %w", endpoint, err)
	dns, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case isDNS && dns.IsNotFound:
		return e.WithHint("the name is not known: check it, or write an address")
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
		return e.WithHint("nothing listens there: start the peer, or check its address and port")
	case isTimeout(err):
		return e.WithHint("nothing answers there: check the address and what filters packets on the way")
	default:
		return e
	}
}

// notAgreed is a failure of the handshake.
func notAgreed(endpoint string, o Options, err error) *driver.Error {
	if e := tlsFailure(endpoint, err); e != nil {
		return e
	}
	e := driver.Errorf(driver.ReasonNotConnected, "no connection with %s: %w", endpoint, err)
	switch {
	case errors.Is(err, errMechanism):
		e.Reason, e.Retryable = driver.ReasonAuthRefused, false
		return e.WithHint("this driver speaks NULL, and TLS below it: make the peer do so")
	case errors.Is(err, errIncompatible):
		return e.WithHint("a ROUTER is expected there: check the port")
	case errors.Is(err, ErrProtocol):
		return e.WithHint("something else than a zmq peer listens there, or one of the two sides uses TLS alone")
	case isTimeout(err):
		return e.WithHint("it did not finish the handshake in %v: it is overloaded, or something else listens there, or it waits for TLS", o.Handshake)
	case errors.Is(err, ErrPeerClosed), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return e.WithHint("it has too many connections, or waits for TLS, or something else listens there; its log may say more")
	default:
		return e
	}
}
