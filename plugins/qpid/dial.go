// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	amqp "github.com/Azure/go-amqp"
	"github.com/google/uuid"

	"github.com/parleymq/parley/internal/tlspeer"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/qpid/internal/amqpopen"
	"github.com/parleymq/parley/plugins/qpid/internal/sieve"
)

const (
	// dialTimeout bounds one attempt, from the name's lookup to the first session.
	dialTimeout = 10 * time.Second
	// deadPeer is how long a peer may leave unacknowledged what was written, when no idle timeout
	// says otherwise.
	deadPeer = 30 * time.Second
	// leastWrite is the least time that a write has. The library gives it what the caller's ctx has
	// left, and ends the connection of everybody when that is not enough.
	leastWrite = 5 * time.Second
	// channelMax is what upstream asks for.
	channelMax = 32767
)

// dial makes one attempt at one host.
func dial(ctx context.Context, s *settings, h driver.Host) (*session, *driver.Error) {
	ctx, cancel := context.WithTimeout(ctx, s.dialTimeout)
	defer cancel()
	a := &attempt{set: s, host: h, addr: h.Address(defaultPort)}
	c, failure := a.connect(ctx)
	if failure != nil {
		return nil, failure
	}
	joined := newJoinConn(patientWriter{c})
	conn, err := amqp.NewConn(ctx, joined, a.options())
	if err != nil {
		_ = joined.Close() // the library may have done so
		return nil, a.openError(ctx, c.Peer(), err)
	}
	// A peer that does not know the hostname opens the connection and closes it right behind, which the
	// library tells at the next use.
	first, err := conn.NewSession(ctx, nil)
	if err != nil {
		failure = a.refusal(c.Peer(), conn, err)
		_ = c.Close() // the failure says more
		_ = conn.Close()
		return nil, failure
	}
	return newSession(s, a.addr, c, conn, first), nil
}

// attempt is one try to connect a host.
type attempt struct {
	set  *settings
	host driver.Host
	addr string // host:port, for people
	sasl amqp.SASLType
	name string // that TLS asked for, which peers take for the hostname when the open frame has none
}

// connect makes the connection, encrypted if that is asked for, and prepares the login.
func (a *attempt) connect(ctx context.Context) (*amqpopen.Conn, *driver.Error) {
	dead := deadPeer
	if a.set.idleTimeout > 0 {
		dead = a.set.idleTimeout
	}
	dialer := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
		Control:         userTimeout(dead),
	}
	plain, err := dialer.DialContext(ctx, "tcp", a.addr)
	if err != nil {
		return nil, driver.Errorf(driver.ReasonNotConnected, "cannot connect to %s: %w", a.addr, err).
			WithHint("check that the broker runs and that host and port are right")
	}
	c, failure := a.secure(ctx, plain)
	if failure == nil {
		a.sasl, failure = a.set.login.sasl(a.host, plain, a.set.tls != nil)
	}
	if failure != nil {
		_ = plain.Close() // the failure says more
		return nil, failure
	}
	return amqpopen.New(sieve.New(c, sieve.Options{Report: a.unreadable()}), amqpopen.Options{Trace: a.tracer()}), nil
}

// secure is the TLS handshake, where TLS is asked for. The files of certificates are read each
// time: those that were renewed are used from then on.
func (a *attempt) secure(ctx context.Context, c net.Conn) (net.Conn, *driver.Error) {
	if a.set.tls == nil {
		return c, nil
	}
	cfg, err := a.set.tls.Config(a.host.Name)
	if err != nil {
		// Of a driver that was opened with these files: it is no mistake of the options now.
		e := *driver.AsError(err)
		e.Reason = driver.ReasonTLSFailed
		return nil, &e
	}
	a.name = cfg.ServerName
	secure := tls.Client(c, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		if failure := a.set.tls.Failure(a.addr, err); failure != nil {
			return nil, failure
		}
		return nil, driver.Errorf(driver.ReasonNotConnected, "cannot connect to %s: %w", a.addr, err)
	}
	return secure, nil
}

// options are those of the open frame, which has what upstream's has.
func (a *attempt) options() *amqp.ConnOptions {
	node, err := os.Hostname()
	if err != nil {
		node = "localhost"
	}
	o := &amqp.ConnOptions{
		ContainerID: a.set.container,
		HostName:    a.set.hostname,
		IdleTimeout: -1, // none; zero would be the library's minute
		MaxSessions: channelMax,
		Properties: map[string]any{
			"process": filepath.Base(os.Args[0]), "pid": int64(os.Getpid()), "node": node,
		},
		SASLType:     a.sasl,
		WriteTimeout: a.set.dialTimeout,
	}
	if a.set.idleTimeout > 0 {
		o.IdleTimeout = max(a.set.idleTimeout, 2*time.Millisecond) // half of it is sent, in whole milliseconds
	}
	if o.ContainerID == "" {
		id := uuid.New()
		o.ContainerID = strings.Join([]string{
			"openstack.org/om/container", node, a.set.appName, strconv.Itoa(os.Getpid()), strings.ReplaceAll(id.String(), "-", ""),
		}, "/")
	}
	return o
}

// unreadable logs the first message of a connection that the AMQP library could not read; who
// listens rejects each.
func (a *attempt) unreadable() func(why string) {
	log, level := a.set.log.With("host", a.addr), slog.LevelWarn
	return func(why string) {
		log.LogAttrs(context.Background(), level, "a message that cannot be read", slog.String("reason", why))
		level = slog.LevelDebug
	}
}

// tracer logs frames, nil unless that is asked for.
func (a *attempt) tracer() func(amqpopen.Frame) {
	if !a.set.trace {
		return nil
	}
	log := a.set.log.With("host", a.addr)
	return func(f amqpopen.Frame) {
		direction := "received"
		if f.Out {
			direction = "sent"
		}
		log.LogAttrs(context.Background(), slog.LevelDebug, "frame "+direction, slog.String("frame", f.Name),
			slog.Int("channel", int(f.Channel)), slog.Int64("bytes", int64(f.Size)), slog.String("fields", f.Fields))
	}
}

// openError is why the connection was not opened: what the peer said is better than what the library
// makes of it.
func (a *attempt) openError(ctx context.Context, peer amqpopen.Peer, err error) *driver.Error {
	if failure := a.set.login.refusal(a.addr, a.host, peer); failure != nil {
		return failure
	}
	if failure := a.foreignProtocol(peer); failure != nil {
		return failure
	}
	if timeout, ok := errors.AsType[net.Error](err); ctx.Err() != nil || ok && timeout.Timeout() {
		return a.silence(peer)
	}
	if a.set.tls != nil {
		// In TLS 1.3 a broker refuses a certificate when the handshake is over for this side, and its
		// word may be lost when we write into that. One that does not write hears it.
		if _, refused := a.set.tls.Probe(ctx, a.addr, a.host.Name); driver.ReasonOf(refused) == driver.ReasonTLSFailed {
			return driver.AsError(refused)
		}
	}
	failure := driver.Errorf(driver.ReasonNotConnected, "%s closed the connection instead of opening it: %s", a.addr, foreign(err.Error()))
	if a.set.tls != nil {
		return failure.WithHint("the broker's log may say more")
	}
	return failure.WithHint("check that host and port are those of a peer for AMQP 1.0; if it is a port for TLS, set %s=true", tlspeer.OptEnabled)
}

// foreignProtocol is what answered instead of a peer for AMQP 1.0, nil if one did, or nobody.
func (a *attempt) foreignProtocol(peer amqpopen.Peer) *driver.Error {
	header := peer.Header
	switch {
	case peer.HeaderID() == amqpopen.HeaderTLS:
		return driver.Errorf(driver.ReasonUnsupported, "%s wants TLS within AMQP, which is not spoken here", a.addr).
			WithHint("take the broker's TLS port (5671 as a rule) and set %s=true", tlspeer.OptEnabled)
	case len(header) == 0, peer.HeaderID() != amqpopen.NoHeader:
		return nil
	case string(header) == "AMQP\x00\x00\x09\x01" || string(header) == "AMQP\x01\x01\x00\x09":
		return driver.Errorf(driver.ReasonNotConnected, "%s speaks AMQP 0-9-1, and not 1.0", a.addr).
			WithHint("for RabbitMQ take rabbit://, or enable its plugin rabbitmq_amqp1_0")
	case strings.HasPrefix(string(header), "AMQP"):
		return driver.Errorf(driver.ReasonNotConnected, "%s speaks another version of AMQP than 1.0: its header is %q", a.addr, header).
			WithHint("take a peer that speaks AMQP 1.0")
	case len(header) > 1 && header[0] == 0x15 && header[1] == 3:
		return driver.Errorf(driver.ReasonNotConnected, "%s speaks TLS on this port", a.addr).
			WithHint("set %s=true", tlspeer.OptEnabled)
	default:
		return driver.Errorf(driver.ReasonNotConnected, "%s answered something that is no AMQP: %q", a.addr, header).
			WithHint("check that host and port are those of a peer for AMQP 1.0")
	}
}

// silence says what the peer did not answer.
func (a *attempt) silence(peer amqpopen.Peer) *driver.Error {
	what := "the beginning of AMQP"
	switch {
	case peer.Opened:
		what = "the beginning of a session"
	case peer.HeaderID() == amqpopen.HeaderAMQP:
		what = "the opening of the connection"
	case peer.Mechanisms != nil:
		what = "the login"
	case peer.HeaderID() == amqpopen.HeaderSASL:
		what = "the beginning of the login"
	}
	failure := driver.Errorf(driver.ReasonNotConnected, "%s is connected and did not answer %s within %s", a.addr, what, a.set.dialTimeout)
	if len(peer.Header) == 0 && a.set.tls == nil {
		return failure.WithHint("if it is a port for TLS, set %s=true; else the broker hangs, and its log may say why", tlspeer.OptEnabled)
	}
	return failure.WithHint("the broker hangs, and its log may say why")
}

// refusal is why a connection that was opened ended at once.
func (a *attempt) refusal(peer amqpopen.Peer, conn *amqp.Conn, err error) *driver.Error {
	if e, ok := errors.AsType[*amqp.Error](conn.Err()); ok {
		err = e
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return a.silence(peer)
	}
	e, ok := errors.AsType[*amqp.Error](err)
	if !ok {
		return driver.Errorf(driver.ReasonNotConnected, "%s closed the connection behind its opening and does not say why", a.addr).
			WithHint("the broker's log may say more")
	}
	switch e.Condition {
	case amqp.ErrCondNotFound:
		return driver.Errorf(driver.ReasonVirtualHostMissing, "%s has no virtual host %q: %s", a.addr, cmp.Or(a.set.hostname, a.name), answerText(e)).
			WithHint("%s", a.vhostHint())
	case amqp.ErrCondUnauthorizedAccess, amqp.ErrCondNotAllowed:
		return driver.Errorf(driver.ReasonAuthRefused, "%s does not let user %q in: %s", a.addr, a.set.login.user(a.host), answerText(e)).
			WithHint("allow the user to use the broker and the virtual host %q", a.set.hostname)
	default:
		return driver.Errorf(driver.ReasonNotConnected, "%s closed the connection: %s", a.addr, answerText(e))
	}
}

func (a *attempt) vhostHint() string {
	switch {
	case a.set.hostname == "" && a.name != "":
		return "the peer takes the name of the TLS handshake for its virtual host: name one behind the last slash of the URL, with " +
			optPseudoVhost + "=false, or give the virtual host that name as well"
	case a.set.hostname == "":
		return "name one behind the last slash of the URL, with " + optPseudoVhost + "=false, or give the broker a default one"
	}
	return "create it, change the path of the URL, or leave out " + optPseudoVhost + "=false to make it a part of the addresses"
}

// sessionLimit is how many AMQP sessions a peer allows on a connection.
func sessionLimit(peer amqpopen.Peer) int {
	if !peer.Opened {
		return math.MaxUint16 // cannot be; the library has its own limit
	}
	return int(min(peer.ChannelMax, channelMax)) + 1
}

// patientWriter gives each write the least time.
type patientWriter struct{ *amqpopen.Conn }

// SetWriteDeadline implements net.Conn.
func (w patientWriter) SetWriteDeadline(t time.Time) error {
	if least := time.Now().Add(leastWrite); !t.IsZero() && t.Before(least) {
		t = least
	}
	return w.Conn.SetWriteDeadline(t)
}
