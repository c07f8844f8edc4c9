// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-zeromq/zmq4"

	"github.com/parleymq/parley/plugin/driver"
)

// Listener accepts peers as a ROUTER. All its methods are safe for concurrent use.
type Listener struct {
	o        Options
	ln       net.Listener
	endpoint string
	unlink   func()

	shaking handshakes
	slots   chan struct{} // one for each goroutine in a handshake, ended ones too
	conns   atomic.Int64  // open
	ready   chan *Conn
	closing chan struct{}
	close   sync.Once
	work    sync.WaitGroup
	refused complaints
}

// Listen listens on endpoint: tcp with a host, an address or * (port 0 for a free one, a range for
// its first free one), or ipc with an absolute path. A socket file that a dead process left is
// replaced, one that somebody listens on is refused; the file has mode 0600. The error is a
// *driver.Error.
func Listen(ctx context.Context, endpoint string, o Options) (*Listener, error) {
	o = o.withDefaults()
	if o.Budget == nil {
		o.Budget = NewBudget(defaultBudget)
	}
	e, err := parseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	l := &Listener{
		o: o, shaking: handshakes{most: o.MaxHandshakes}, ready: make(chan *Conn), closing: make(chan struct{}),
		slots:   make(chan struct{}, 2*o.MaxHandshakes),
		refused: complaints{log: o.Logger},
	}
	if e.path != "" {
		err = l.listenIPC(ctx, e)
	} else {
		err = l.listenTCP(ctx, e)
	}
	if err != nil {
		return nil, err
	}
	l.work.Go(l.acceptAll)
	return l, nil
}

func (l *Listener) listenTCP(ctx context.Context, e endpoint) error {
	var config net.ListenConfig
	var err error
	for port := e.low; port <= e.high; port++ {
		var ln net.Listener
		if ln, err = config.Listen(ctx, "tcp", e.address(port)); err == nil {
			l.ln, l.endpoint, l.unlink = ln, e.with(ln.Addr().(*net.TCPAddr).Port), func() {}
			return nil
		}
		if !inUse(err) {
			break
		}
	}
	failure := driver.Errorf(driver.ReasonNotConnected, "cannot listen on %s: %w", e.text, err)
	if inUse(err) {
		return failure.WithHint("another process listens there: take another port, or a range of ports")
	}
	return failure.WithHint("the host must be an address of this machine, or * for all")
}

// Endpoint is where the Listener listens, with the real port.
func (l *Listener) Endpoint() string { return l.endpoint }

// Accept waits for a peer that has finished its handshake. The error is ctx's, or ErrClosed.
func (l *Listener) Accept(ctx context.Context) (*Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.closing:
		return nil, fmt.Errorf("accept on %s: %w", l.endpoint, ErrClosed)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Close ends the Listener and those connections that nobody accepted yet, waits for its goroutines,
// and removes its ipc file. Accepted Conns stay with their owners.
func (l *Listener) Close() error {
	l.close.Do(func() {
		close(l.closing)
		_ = l.ln.Close() // ends acceptAll, which is all that it is for
		l.unlink()
	})
	l.shaking.closeAll()
	l.work.Wait()
	return nil
}

// acceptAll takes sockets and leaves each to a goroutine of its own. Nothing but Close ends it:
// being out of file descriptors, for one, passes.
func (l *Listener) acceptAll() {
	const least, most = 5 * time.Millisecond, 200 * time.Millisecond
	wait := least
	for {
		raw, err := l.ln.Accept()
		if err == nil {
			wait = least
			l.welcome(raw)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		l.refused.warn("cannot accept peers for a moment", "endpoint", l.endpoint, "error", err)
		select {
		case <-time.After(wait):
			wait = min(2*wait, most)
		case <-l.closing:
			return
		}
	}
}

// welcome starts a handshake, unless there are too many Conns.
func (l *Listener) welcome(raw net.Conn) {
	if l.conns.Load() >= int64(l.o.MaxConns) {
		l.full(raw)
		return
	}
	a := l.shaking.add(raw)
	select {
	case l.slots <- struct{}{}: // those whose sockets are closed already are about to leave theirs
		l.work.Go(func() { l.shake(a) })
	case <-l.closing:
	}
	select {
	case <-l.closing:
		_ = raw.Close() // Close may have looked through shaking before
	default:
	}
}

func (l *Listener) full(raw net.Conn) {
	_ = raw.Close() // it is given up
	l.refused.warn("a peer was refused: there are too many", "endpoint", l.endpoint, "peer", addressOf(raw, ""), "limit", l.o.MaxConns)
}

// shake finishes one handshake and hands the Conn to Accept.
func (l *Listener) shake(a *attempt) {
	c, err := open(context.Background(), a.conn, side{
		role: zmq4.Router, tls: l.o.TLS, server: true, endpoint: l.endpoint, release: func() { l.conns.Add(-1) },
	}, l.o)
	l.shaking.remove(a)
	<-l.slots
	if err != nil {
		l.complain(a, err)
		return
	}
	if l.conns.Add(1) > int64(l.o.MaxConns) {
		_ = c.Close() // it returns nil
		l.full(a.conn)
		return
	}
	select {
	case l.ready <- c:
	case <-c.Done():
	case <-l.closing:
		_ = c.Close() // it returns nil
	}
}

func (l *Listener) complain(a *attempt, err error) {
	select {
	case <-l.closing:
		return
	default:
	}
	peer := addressOf(a.conn, "")
	if failure := tlsFailure("a peer", err); failure != nil {
		l.refused.warn("a peer was refused: no TLS", "endpoint", l.endpoint, "peer", peer, "reason", failure.Reason, "error", err, "hint", failure.Hint)
		return
	}
	switch {
	case a.evicted.Load():
		err = fmt.Errorf("%d newer ones came before it had finished", l.o.MaxHandshakes)
	case errors.Is(err, ErrPeerClosed), errors.Is(err, syscall.ECONNRESET):
		// Health checks do that.
		l.o.Logger.Debug("a peer closed the connection in its handshake", "endpoint", l.endpoint, "peer", peer)
		return
	case isTimeout(err):
		err = fmt.Errorf("it did not finish in %v", l.o.Handshake)
	}
	l.refused.warn("a peer was refused in its handshake", "endpoint", l.endpoint, "peer", peer, "error", err)
}
