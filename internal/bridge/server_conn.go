// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"sync"

	"github.com/parleymq/parley/plugin/driver"
)

// serverConn is one open connection of the driver.
type serverConn struct {
	id   uint64
	conn driver.Conn
	// ctx ends when the connection is closed, and with it its streams.
	ctx    context.Context
	cancel context.CancelFunc

	listeners sync.WaitGroup // Listen streams; added to while the connection is not closing
	closed    chan struct{}  // closed when the driver's Close has returned

	// Guarded by Server.mu.
	sends   int  // Send streams
	closing bool // no further stream
}

func newServerConn(id uint64, conn driver.Conn) *serverConn {
	sc := &serverConn{id: id, conn: conn, closed: make(chan struct{})}
	sc.ctx, sc.cancel = context.WithCancel(context.Background())
	return sc
}

// conn returns an open connection.
func (s *Server) conn(epoch, id uint64) (*serverConn, error) {
	return s.useConn(epoch, id, func(*serverConn) {})
}

// useConn returns an open connection, after use, which is called with mu held.
func (s *Server) useConn(epoch, id uint64, use func(*serverConn)) (*serverConn, error) {
	if err := s.checkEpoch(epoch); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sc, ok := s.conns[id]
	if !ok || sc.closing {
		return nil, driver.Errorf(driver.ReasonClosed, "connection %d is not open", id)
	}
	use(sc)
	return sc, nil
}

// sendEnded counts down a connection's Send streams. The host keeps one as long as it wants the
// connection: the end of the last one without CloseConn is a host that gave the connection up,
// and would open it again under another number.
func (s *Server) sendEnded(sc *serverConn) {
	s.mu.Lock()
	sc.sends--
	abandoned := sc.sends == 0 && !sc.closing
	sc.closing = sc.closing || abandoned
	s.mu.Unlock()
	if !abandoned {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	sc.cancel() // nobody is left to whom its listeners could deliver
	sc.awaitListeners(ctx)
	if err := s.closeConn(ctx, sc); err != nil {
		s.logger.Warn("closing a connection that the application gave up failed", "conn", sc.id, "err", err.Error())
	}
}

// awaitListeners waits until the listeners of a connection that is closing are closed, or ctx
// ends. Its own goroutine ends with the last of them.
func (sc *serverConn) awaitListeners(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		sc.listeners.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// closeConn closes a connection, once; who comes second waits for the first.
func (s *Server) closeConn(ctx context.Context, sc *serverConn) (err error) {
	s.mu.Lock()
	_, mine := s.conns[sc.id]
	delete(s.conns, sc.id)
	sc.closing = true
	if mine {
		s.closings[sc] = struct{}{}
	}
	s.mu.Unlock()
	if !mine {
		select {
		case <-sc.closed:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() {
		sc.cancel()
		s.mu.Lock()
		delete(s.closings, sc)
		s.mu.Unlock()
		close(sc.closed)
	}()
	defer s.recoverTo("Close", &err)
	return sc.conn.Close(ctx)
}

// CloseAll closes every connection, at once, and returns the first error. It waits for those
// that are being closed already.
func (s *Server) CloseAll(ctx context.Context) error {
	s.mu.Lock()
	all := make([]*serverConn, 0, len(s.conns)+len(s.closings))
	for _, sc := range s.conns {
		all = append(all, sc)
	}
	for sc := range s.closings {
		all = append(all, sc)
	}
	s.mu.Unlock()
	errs := make(chan error, len(all))
	for _, sc := range all {
		go func() { errs <- s.closeConn(ctx, sc) }()
	}
	var first error
	for range all {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}
