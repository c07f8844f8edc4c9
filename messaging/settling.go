// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/parleymq/parley/plugin/driver"
)

// settling tells a listener what became of its deliveries. One goroutine does, with all that has
// gathered since it last did: reports of a driver, which settle requests, must not call it. With
// SettleOnPoll there is nothing to tell.
type settling struct {
	listener driver.Listener
	logger   *slog.Logger
	wake     chan struct{} // has room for one; filled when there is something to tell
	done     chan struct{} // closed when the goroutine has ended; nil with SettleOnPoll
	// keeps says that the driver would drop what is given back by Requeued (DONE-3): it is kept
	// until the listener is closed instead, which gives it back (CLOSE-4).
	keeps bool

	mu       sync.Mutex // guards the rest
	open     map[uint64]struct{}
	outcomes []driver.Outcome
	closed   bool
}

func newSettling(l driver.Listener, logger *slog.Logger, p AckPolicy) *settling {
	s := &settling{listener: l, logger: logger, wake: make(chan struct{}, 1), open: make(map[uint64]struct{})}
	if p == AckAfterHandler {
		s.done = make(chan struct{})
	}
	return s
}

// run tells until close was called and everything is told.
func (s *settling) run(ctx context.Context) {
	defer close(s.done)
	var batch []driver.Outcome
	for range s.wake {
		s.mu.Lock()
		batch, s.outcomes = s.outcomes, batch[:0]
		closed := s.closed
		s.mu.Unlock()
		s.tell(ctx, batch)
		if closed {
			return
		}
	}
}

func (s *settling) tell(ctx context.Context, batch []driver.Outcome) {
	if len(batch) == 0 {
		return
	}
	if slices.ContainsFunc(batch, func(o driver.Outcome) bool { return o.Result == driver.Requeued }) {
		// In the order they came: brokers may put back what comes last in front.
		slices.SortFunc(batch, func(a, b driver.Outcome) int { return cmp.Compare(a.Token, b.Token) })
	}
	ctx, cancel := context.WithTimeout(ctx, cleanupTimeout)
	defer cancel()
	if err := s.listener.Done(ctx, batch); err != nil { // the broker gives those messages again
		s.logger.LogAttrs(ctx, slog.LevelDebug, "settling messages failed", slog.Int("messages", len(batch)), errorAttr(err))
	}
}

// begin remembers deliveries that are to be settled.
func (s *settling) begin(batch []*driver.Delivery) {
	if s.done == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range batch {
		if d.Token != 0 {
			s.open[d.Token] = struct{}{}
		}
	}
}

// settle settles deliveries. It does not block. A token that is settled already is ignored.
func (s *settling) settle(result driver.Result, tokens ...uint64) {
	if s.done == nil || len(tokens) == 0 || s.keeps && result == driver.Requeued {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	for _, t := range tokens {
		if _, open := s.open[t]; open {
			delete(s.open, t)
			s.outcomes = append(s.outcomes, driver.Outcome{Token: t, Result: result})
		}
	}
	s.wakeUp()
}

func (s *settling) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// close gives back what is still open, in the order it came, and waits until everything is told.
// It returns how many it gave back. What comes later is ignored.
func (s *settling) close() int {
	if s.done == nil {
		return 0
	}
	s.mu.Lock()
	back := slices.Sorted(maps.Keys(s.open))
	for _, t := range back {
		if s.keeps {
			break
		}
		s.outcomes = append(s.outcomes, driver.Outcome{Token: t, Result: driver.Requeued})
	}
	clear(s.open)
	s.closed = true
	s.wakeUp()
	s.mu.Unlock()
	<-s.done
	return len(back)
}
