// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"time"

	"github.com/parleymq/parley/internal/spool"
	"github.com/parleymq/parley/plugin/driver"
)

const (
	// keepBatch is how many notifications are written to the disk together.
	keepBatch = 1024
	// keepTime bounds waiting for the disk.
	keepTime = 30 * time.Second
)

// keep writes notifications to the disk, in the order of their lines. It is one of the two
// goroutines of a Spool.
func (s *Spool) keep(ctx context.Context) {
	defer s.abandon()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		batch, wait := s.due(time.Now())
		if len(batch) > 0 {
			s.store(ctx, batch)
			continue
		}
		timer.Reset(wait)
		select {
		case <-s.keeping:
		case <-timer.C:
		case <-s.quit:
			return
		case <-ctx.Done():
			return
		}
	}
}

// due takes what is to be written now out of the lines, and says when to look again.
func (s *Spool) due(now time.Time) (batch []*spooling, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait = time.Hour
	for _, l := range s.lanes {
		if l.storing == 0 {
			continue
		}
		first := true // those before it are settled
		for _, e := range l.line {
			switch {
			case len(batch) == keepBatch:
				return batch, 0
			case e.fate == fateStore && (first || now.Sub(e.since) >= lineTime):
				e.fate = fateEnded
				batch = append(batch, e)
			case e.fate == fateStore:
				wait = min(wait, e.since.Add(lineTime).Sub(now))
			case e.fate != fateEnded:
				first = false
			}
		}
		l.advance()
	}
	return batch, wait
}

// store writes a batch and tells its notifications.
func (s *Spool) store(ctx context.Context, batch []*spooling) {
	bounded, cancel := context.WithTimeout(ctx, keepTime)
	defer cancel()
	written := make([]*spool.Pending, len(batch))
	errs := make([]error, len(batch))
	for i, e := range batch {
		written[i], errs[i] = s.disk.Append(e.lane.key, encodeSpooled(e.Message))
	}
	for i, e := range batch {
		if errs[i] == nil {
			errs[i] = written[i].Wait(bounded)
		}
		s.kept(e, errs[i])
	}
	wake(s.replaying)
}

// kept tells a notification what became of it at the disk.
func (s *Spool) kept(e *spooling, err error) {
	if err != nil {
		err = s.unkept(e, err)
	}
	s.mu.Lock()
	l := e.lane
	first := err == nil && !l.told
	switch {
	case err == nil:
		l.told = true
		s.stats.Stored++
		s.t.counters.notificationsSpooled.Add(1)
	case CodeOf(err) == CodeSpoolFull:
		s.stats.Full++
	}
	l.storing--
	s.finish(e)
	s.mu.Unlock()
	if first {
		s.t.opts.Logger.Warn("notifications are stored until the broker takes them", "spool", s.o.Dir, "err", text(e.why))
	}
	e.end(err)
}

// text is an error for the log; a nil one has none.
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// unkept is the error of a notification that could not be stored.
func (s *Spool) unkept(e *spooling, err error) error {
	d := driver.AsError(err)
	wrapped := e.op.errorf(codeByReason(d.Reason), err, "%s", d.Message)
	wrapped.Hint = d.Hint
	switch {
	case d.InDoubt:
		wrapped.Code = CodeInDoubt
		wrapped.Message += " (it may be stored)"
	case d.Reason == driver.ReasonBrokerBlocked:
		wrapped.Code = CodeSpoolFull
	}
	if e.why != nil {
		why := driver.AsError(e.why)
		wrapped.Message += "; it was to be stored because: " + why.Message
		wrapped.Err = e.op.wrap(e.why) // so that one in doubt can be told
	}
	return wrapped
}

// abandon ends what is still to be stored when nobody stores any more, which is when Close had no
// more time.
func (s *Spool) abandon() {
	s.mu.Lock()
	s.gone = true
	var left []*spooling
	for _, l := range s.lanes {
		for _, e := range l.line {
			if e.fate == fateStore || e.fate == fateHeld {
				left = append(left, e)
			}
		}
	}
	for _, e := range left {
		s.finish(e)
	}
	s.mu.Unlock()
	for _, e := range left {
		err := e.op.errorf(CodeClosed, nil, "the spool is closed and had no time to store it")
		if e.why != nil {
			err.Err = e.op.wrap(e.why)
		}
		e.end(err)
	}
}
