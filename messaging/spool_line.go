// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// lane is one order of a spool. Its replay is the replaying goroutine's; the rest is guarded by
// Spool.mu.
type lane struct {
	key string
	// line are the notifications that were begun and are not settled, in the order of the calls.
	line []*spooling
	// stored says that some may be on disk, or are to go there, so that new ones go behind them.
	stored bool
	// storing counts those that are to go to the disk; begun is all of them that ever were.
	storing int
	begun   uint64
	// holding: the last of those on disk are on their way, and new ones wait for these.
	holding bool
	// told: it was logged that notifications are stored.
	told bool

	replay laneReplay
}

// fate is where a notification in a line stands.
type fate uint8

const (
	fateSending fate = iota
	fateHeld
	fateStore // it is to go to the disk
	fateEnded // the line does not need it any more
)

// spooling is a notification on its way to the broker or to the disk. Guarded by Spool.mu.
type spooling struct {
	topicMessage
	lane   *lane
	fate   fate
	since  time.Time   // when it was decided to store it
	why    error       // why it is stored; nil for one behind others
	launch func()      // sends it
	end    func(error) // tells its fate, once
	unwait func() bool // of the end of its context; nil unless it was held
}

// lineTime is how long a notification waits to be stored for those before it whose fate is not
// known yet. It bounds the wait behind somebody else's timeout.
const lineTime = 2 * time.Second

// send sends m, or stores it. end is told the fate, once and from any goroutine; it does not block.
func (s *Spool) send(ctx context.Context, m topicMessage, end func(error)) {
	e := &spooling{topicMessage: m, end: end}
	e.launch = func() {
		s.async.SendAsync(ctx, []*driver.Message{m.Message}, func(_ int, err error) { s.tried(ctx, e, err) })
	}
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		end(m.op.errorf(CodeClosed, nil, "the spool is closed"))
		return
	}
	l := s.laneOf(s.keyOf(m.Message))
	e.lane = l
	l.line = append(l.line, e)
	s.open++
	switch {
	case l.holding:
		e.fate = fateHeld
		e.unwait = context.AfterFunc(ctx, func() { s.withdraw(ctx, e) })
	case l.stored:
		s.toStore(e, nil)
	default:
		e.fate = fateSending
	}
	fate := e.fate
	s.mu.Unlock()
	if fate == fateSending {
		e.launch()
	}
}

// keyOf is the lane of a message.
func (s *Spool) keyOf(m *driver.Message) string {
	if info, known := s.t.info(); known && info.Has(driver.CapDirect) {
		return m.Target.Exchange + "\x00" + m.Target.Topic + "\x00" + m.Priority
	}
	return ""
}

// laneOf needs s.mu.
func (s *Spool) laneOf(key string) *lane {
	l := s.lanes[key]
	if l == nil {
		l = &lane{key: key, replay: newLaneReplay()}
		s.lanes[key] = l
	}
	return l
}

// toStore decides that a notification goes to the disk. It needs s.mu.
func (s *Spool) toStore(e *spooling, why error) {
	l := e.lane
	e.fate, e.why, e.since = fateStore, why, time.Now()
	l.stored = true
	l.storing++
	l.begun++
	wake(s.keeping)
}

// tried is told what the driver says of a notification. It does not block.
func (s *Spool) tried(ctx context.Context, e *spooling, err error) {
	s.mu.Lock()
	if err != nil && !s.gone && storable(ctx, err) {
		s.toStore(e, err)
		s.mu.Unlock()
		return
	}
	s.finish(e)
	s.mu.Unlock()
	e.end(sendError(ctx, e.op, err))
}

// withdraw is called when the context of one that is held ends: one that is cancelled is not sent,
// and one whose time is over is stored.
func (s *Spool) withdraw(ctx context.Context, e *spooling) {
	s.mu.Lock()
	switch {
	case e.fate != fateHeld:
		s.mu.Unlock()
		return
	case !errors.Is(ctx.Err(), context.Canceled):
		s.toStore(e, nil)
		s.mu.Unlock()
		return
	}
	s.finish(e)
	s.mu.Unlock()
	e.end(ctx.Err())
}

// finish takes a notification out of its line. It needs s.mu; whoever called it calls end.
func (s *Spool) finish(e *spooling) {
	if e.unwait != nil {
		e.unwait()
	}
	e.fate = fateEnded
	e.lane.advance()
	s.open--
	s.settleQuit()
	wake(s.keeping) // for those behind it
}

// settleQuit lets the keeping goroutine end when there is nothing left to do. It needs s.mu.
func (s *Spool) settleQuit() {
	if s.closing && s.open == 0 && !s.quitting {
		s.quitting = true
		close(s.quit)
	}
}

// advance forgets those at the head of the line that are settled. It needs Spool.mu.
func (l *lane) advance() {
	for len(l.line) > 0 && l.line[0].fate == fateEnded {
		l.line[0] = nil
		l.line = l.line[1:]
	}
}

// storable reports whether a notification that failed is stored. What it would fail with again is
// the application's to know, and one that the application gave up is not sent behind its back.
func storable(ctx context.Context, err error) bool {
	d := driver.AsError(err)
	if d.InDoubt {
		return true
	}
	switch d.Reason {
	case driver.ReasonNotConnected, driver.ReasonBrokerBlocked, driver.ReasonDriverGone, driver.ReasonNoRoute,
		driver.ReasonExpired, driver.ReasonCancelled, driver.ReasonInternal:
		return !errors.Is(ctx.Err(), context.Canceled)
	default:
		return false
	}
}
