// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// Defaults of [Options]; both are upstream's (control_exchange, rpc_response_timeout).
const (
	DefaultExchange     = "openstack"
	DefaultReplyTimeout = 60 * time.Second
)

// Options are the settings of a [Transport]. Nil, and every zero field, mean the default.
type Options struct {
	// AppName names the application to the broker. Default: the name of the executable.
	AppName string
	// DefaultExchange is the exchange of targets that name none. Default: "openstack".
	DefaultExchange string
	// ReplyTimeout bounds calls and casts whose client and context set no nearer limit.
	// Default: 60 seconds.
	ReplyTimeout time.Duration
	// Aliases are further names of drivers, before the built-in ones; see [ParseURL].
	Aliases map[string]string
	// Logger takes the log records of the transport and, when it has none of its own, of
	// everything made on it. Default: slog.Default().
	Logger *slog.Logger
	// Host runs the driver. Default: one that all transports of the program share, or, when
	// DriverPath is set, one of this transport's own.
	Host *Host
	// DriverPath are directories searched for drivers before all others.
	DriverPath []string
	// Isolated gives the transport driver processes of its own, shared with no other
	// transport of the application.
	Isolated bool
	// OnState is told where the transport stands, at each change. It must not block, and may be
	// called from any goroutine until Close has returned.
	OnState func(State)
	// ScopedFanout keeps fanout casts within their exchange, where the driver can: clients and
	// servers of the transport then meet only those that have it too. It is for Parley on both
	// sides: upstream's fanout to a topic reaches servers of that topic in every exchange.
	ScopedFanout bool
	// RemoteErrors is what clients without their own use. Default: *[RemoteError] for all.
	RemoteErrors *RemoteErrors
	// ClientMiddleware and ServerMiddleware are around those of every client and server made on
	// the transport.
	ClientMiddleware []ClientMiddleware
	ServerMiddleware []ServerMiddleware
}

// withDefaults returns a copy of o with every default filled in.
func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.AppName == "" {
		c.AppName = filepath.Base(os.Args[0])
	}
	if c.DefaultExchange == "" {
		c.DefaultExchange = DefaultExchange
	}
	if c.ReplyTimeout <= 0 {
		c.ReplyTimeout = DefaultReplyTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Transport is one connection to one broker, through a driver. Clients, servers and notifiers
// are made on it; it may be shared by any number of them and used by any number of
// goroutines. Close it when the last of them is done.
type Transport struct {
	conn    driver.Conn
	async   driver.AsyncSender         // nil when the conn has no such ability
	info    func() (driver.Info, bool) // what the driver says of itself; false when it does not tell
	opts    Options
	url     *URL // nil unless opened by URL
	codec   codec
	replies *replies

	counters transportCounters
	states   *states
	unscoped sync.Map // unscopedFanouts that warnUnscoped has logged

	closing chan struct{} // closed when Close is called

	mu sync.Mutex // guards the rest
	// users counts the operations that use conn: calls, casts, listening servers. Close
	// waits for them, because nothing may be called on a closed Conn.
	users  int
	closed bool
	idle   chan struct{} // closed once the transport is closed and users is zero
	result error         // of closing the conn; read after done is closed
	done   chan struct{}
}

// NewTransport returns a Transport on a connection that is open already; applications call
// [Open], which finds and starts drivers, and tests may want [OpenDriver]. The Transport owns
// conn from then on. A conn with the method Info() driver.Info lets it refuse early what the
// driver cannot do.
func NewTransport(conn driver.Conn, opts *Options) *Transport {
	o := opts.withDefaults()
	return newTransport(conn, o, newStates(o.OnState))
}

func newTransport(conn driver.Conn, opts Options, states *states) *Transport {
	t := &Transport{
		conn:    conn,
		opts:    opts,
		states:  states,
		closing: make(chan struct{}),
		idle:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	t.async, _ = conn.(driver.AsyncSender)
	t.info = infoOf(conn)
	t.replies = newReplies(t)
	return t
}

// infoOf asks a Conn each time: the driver may be swapped for a newer one.
func infoOf(conn driver.Conn) func() (driver.Info, bool) {
	i, ok := conn.(interface{ Info() driver.Info })
	return func() (driver.Info, bool) {
		if !ok {
			return driver.Info{}, false
		}
		return i.Info(), true
	}
}

// Info returns what the driver says of itself. It is zero when the connection does not tell.
func (t *Transport) Info() driver.Info {
	info, _ := t.info()
	return info
}

// Ping returns nil once the broker has answered. It fails with ErrUnavailable, with the error
// of ctx, or with ErrUnsupported when the driver has no way to ask.
func (t *Transport) Ping(ctx context.Context) error {
	pinger, ok := t.conn.(driver.Pinger)
	if !ok {
		return &Error{Code: CodeUnsupported, Op: "ping", Message: "the driver has no way to ask its broker"}
	}
	op := operation{verb: "ping"}
	if err := t.enter(op); err != nil {
		return err
	}
	defer t.leave()
	return op.wrap(pinger.Ping(ctx))
}

// Close ends the transport. Calls that wait for their answer fail with ErrClosed at once;
// sends in flight and servers that have not been shut down get until the end of ctx to finish.
// It may be called more than once, from any goroutine; the later calls wait for the first.
func (t *Transport) Close(ctx context.Context) error {
	if !t.beginClose() {
		select {
		case <-t.done:
			return t.result
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer close(t.done)
	t.replies.fail(errClosed(operation{verb: "call"}))
	select {
	case <-t.idle:
	case <-ctx.Done():
		t.opts.Logger.WarnContext(ctx, "closing the transport while it is in use")
	}
	t.replies.close(ctx)
	t.result = operation{verb: "close"}.wrap(t.conn.Close(ctx))
	t.states.end()
	return t.result
}

// beginClose reports whether this call is the first one.
func (t *Transport) beginClose() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.closed = true
	close(t.closing)
	if t.users == 0 {
		close(t.idle)
	}
	return true
}

// enter registers a user of the conn; it fails when the transport is closed.
func (t *Transport) enter(op operation) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errClosed(op)
	}
	t.users++
	return nil
}

// enterAgain registers one more user while another is registered.
func (t *Transport) enterAgain() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.users++
}

// leave ends what enter began.
func (t *Transport) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.users--
	if t.closed && t.users == 0 {
		close(t.idle)
	}
}

func errClosed(op operation) error {
	return op.errorf(CodeClosed, nil, "the transport is closed")
}

// requires fails when the driver is known to lack a capability.
func (t *Transport) requires(c driver.Capability, what string, op operation) error {
	info, known := t.info()
	if !known || info.Has(c) {
		return nil
	}
	e := op.errorf(CodeUnsupported, nil, "the driver %q cannot do %s", info.Name, what)
	e.Hint = "use another driver, or do without"
	return e
}

// cleanupTimeout bounds the closing of what is of no use any more.
const cleanupTimeout = 5 * time.Second
