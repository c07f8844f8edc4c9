// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

const (
	// turnWait is how long a Hello waits for the session before it to end.
	turnWait = 2 * time.Second
	// turnCloseTimeout bounds closing what a host left open.
	turnCloseTimeout = 5 * time.Second
)

// turn is what a Server that is Successive knows of the host whose turn it is.
type turn struct {
	sessions int
	over     chan struct{} // closed when the last session has ended and what it left is closed
}

// beginSession counts a session of the host whose turn it is.
func (s *Server) beginSession() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turn.sessions++; s.turn.sessions == 1 {
		s.turn.over = make(chan struct{})
	}
}

// endSession ends the host's turn with its last session: what it has open is closed, and
// another host may come.
func (s *Server) endSession() {
	s.mu.Lock()
	last := s.cfg.Successive && s.turn.sessions == 1
	s.mu.Unlock()
	if last {
		s.closeTurn()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn.sessions--
	if s.turn.sessions > 0 {
		return
	}
	if s.cfg.Successive {
		s.epoch = 0
	}
	close(s.turn.over)
}

// closeTurn closes what a host left open, and forgets the states that it was not told.
func (s *Server) closeTurn() {
	ctx, cancel := context.WithTimeout(context.Background(), turnCloseTimeout)
	defer cancel()
	if err := s.CloseAll(ctx); err != nil {
		s.logger.Warn("closing what the application left open failed", "err", err.Error())
	}
	for {
		select {
		case <-s.states:
		default:
			return
		}
	}
}

// awaitTurn lets a host come when the one before it has gone. Without Successive it does nothing.
func (s *Server) awaitTurn(ctx context.Context, epoch uint64) error {
	if !s.cfg.Successive {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, turnWait)
	defer cancel()
	for {
		s.mu.Lock()
		busy, over := s.turn.sessions > 0, s.turn.over
		left := s.epoch != 0 && s.epoch != epoch // by a host that said Hello and no more
		if !busy && left {
			s.epoch = 0
		}
		s.mu.Unlock()
		if !busy {
			if left {
				s.closeTurn()
			}
			return nil
		}
		select {
		case <-over:
		case <-ctx.Done():
			return driver.Errorf(driver.ReasonDriverGone, "this driver serves another application").
				WithHint("a driver that was started with --debug serves one application at a time: end the other one first")
		}
	}
}

// Register serves the driver on r, without go-plugin.
func (s *Server) Register(r grpc.ServiceRegistrar) { pb.RegisterDriverServer(r, s) }
