// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/parleymq/parley/internal/spool"
	"github.com/parleymq/parley/plugin/driver"
)

const (
	// replayWindow is how many stored notifications are sent at a time. After a failure it is one,
	// and doubles with every success: what the broker does not take is found with little in doubt.
	replayWindow = 1024
	// firstPause and lastPause bound the waits between tries while the broker is away. It also
	// counts when the driver says that the broker is back.
	firstPause = 250 * time.Millisecond
	lastPause  = 5 * time.Second
	// lookAgain is how often it is looked for what got too old.
	lookAgain = 30 * time.Second
	// oddTries is how often a notification may fail in a way that is perhaps its own fault before
	// it is set aside: with the pauses, half a minute.
	oddTries = 8
)

// laneReplay is how far the replay of a lane is. Only the replaying goroutine uses it.
type laneReplay struct {
	window int
	pause  time.Duration
	until  time.Time      // when it is tried again
	odd    map[uint64]int // failures that are perhaps the notification's own fault
}

func newLaneReplay() laneReplay { return laneReplay{window: 1, odd: make(map[uint64]int)} }

func (r *laneReplay) succeeded() {
	r.window, r.pause, r.until = min(r.window*2, replayWindow), 0, time.Time{}
}

func (r *laneReplay) failed() {
	r.window, r.pause = 1, min(max(r.pause*2, firstPause), lastPause)
	r.until = time.Now().Add(r.pause)
}

// replay sends what is stored. It is one of the two goroutines of a Spool.
func (s *Spool) replay(ctx context.Context) {
	defer s.storeAllHeld()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-s.replaying:
		case <-timer.C:
		}
		timer.Reset(s.pass(ctx))
	}
}

// recovered makes the lanes of what an earlier process left, so that new notifications go behind.
func (s *Spool) recovered() {
	keys := s.disk.Keys()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		s.laneOf(key).stored = true
	}
}

func (s *Spool) storeAllHeld() {
	s.mu.Lock()
	lanes := slices.Collect(maps.Values(s.lanes))
	s.mu.Unlock()
	for _, l := range lanes {
		s.storeHeld(l)
	}
}

// pass sends all that the broker takes now, and says when to look again.
func (s *Spool) pass(ctx context.Context) time.Duration {
	for {
		progress, next := false, lookAgain
		for _, key := range s.disk.Keys() {
			select {
			case <-s.stop:
				return next
			default:
			}
			l := s.lane(key)
			if time.Until(l.replay.until) <= 0 {
				progress = s.round(ctx, l) || progress
			}
			if wait := time.Until(l.replay.until); wait > 0 {
				next = min(next, wait)
			}
		}
		s.emptied()
		if !progress {
			return next
		}
	}
}

// lane returns a lane; when the transport is ready again it is tried at once.
func (s *Spool) lane(key string) *lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.back {
		s.back = false
		for _, l := range s.lanes {
			l.replay.until, l.replay.pause = time.Time{}, 0
		}
	}
	return s.laneOf(key)
}

// round sends the next ones of a lane and reports whether the broker took them all.
func (s *Spool) round(ctx context.Context, l *lane) bool {
	if err := s.t.enter(operation{verb: "send stored notifications"}); err != nil {
		return s.putOff(l, err) // the transport is closed, and the spool will be
	}
	defer s.t.leave()
	s.hold(l)
	taken, err := s.disk.Take(l.key, l.replay.window)
	if err != nil {
		s.t.opts.Logger.Error("stored notifications cannot be read", "spool", s.o.Dir, "err", err.Error())
		return s.putOff(l, err)
	}
	batch, entries := s.decode(taken)
	if len(batch) == 0 {
		return len(taken) > 0
	}
	bounded, cancel := context.WithTimeout(ctx, s.t.opts.ReplyTimeout)
	defer cancel()
	if why := s.settle(l, entries, batch, s.t.conn.Send(bounded, batch)); why != nil {
		return s.putOff(l, why)
	}
	l.replay.succeeded()
	return true
}

// putOff tries a lane again later. It returns false.
func (s *Spool) putOff(l *lane, why error) bool {
	l.replay.failed()
	s.storeHeld(l)
	s.t.opts.Logger.Debug("stored notifications wait", "spool", s.o.Dir, "again_in", l.replay.pause, "err", why.Error())
	return false
}

// decode reads what was stored. What cannot be read is lost.
func (s *Spool) decode(entries []spool.Entry) ([]*driver.Message, []spool.Entry) {
	var batch []*driver.Message
	var good []spool.Entry
	for _, e := range entries {
		m, err := decodeSpooled(e.Data)
		if err != nil {
			s.count(func(st *SpoolStats) { st.Damaged++ })
			s.t.opts.Logger.Error("a stored notification cannot be read and is lost", "spool", s.o.Dir, "err", err.Error())
			s.done(e.ID)
			continue
		}
		batch, good = append(batch, m), append(good, e)
	}
	return batch, good
}

func (s *Spool) count(f func(*SpoolStats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.stats)
}

// done settles entries at the disk.
func (s *Spool) done(ids ...uint64) {
	if err := s.disk.Done(ids...); err != nil {
		s.t.opts.Logger.Warn("stored notifications that were sent may be sent again", "spool", s.o.Dir, "err", err.Error())
	}
}

// settle tells the disk what became of entries. It returns why some have to wait, or nil.
func (s *Spool) settle(l *lane, entries []spool.Entry, batch []*driver.Message, err error) error {
	var done, back []uint64
	var why error
	sent := uint64(0)
	for i, e := range entries {
		failed := driver.MessageErr(err, i)
		switch {
		case failed == nil:
			sent++
			done = append(done, e.ID)
		case l.replay.hopeless(e.ID, failed):
			s.setAside(l.key, e, batch[i], failed)
			done = append(done, e.ID)
		default:
			why = failed
			back = append(back, e.ID)
		}
	}
	for _, id := range done {
		delete(l.replay.odd, id)
	}
	s.count(func(st *SpoolStats) { st.Sent += sent })
	s.done(done...)
	s.disk.Back(back...)
	return why
}

// hopeless reports whether the broker does not take this one notification, however often.
func (r *laneReplay) hopeless(id uint64, err error) bool {
	d := driver.AsError(err)
	if d.InDoubt {
		return false
	}
	switch d.Reason {
	case driver.ReasonMessageTooLarge:
		return true
	case driver.ReasonAccessRefused, driver.ReasonPrecondition, driver.ReasonUnsupported, driver.ReasonInternal,
		driver.ReasonDriverBug, driver.ReasonProtocol:
		r.odd[id]++
		return r.odd[id] >= oddTries
	default: // it is about the connection
		return false
	}
}

// hold makes new notifications wait for those on disk when these are few: else, under load, there
// would always be some more there, and all would have to go by the disk. While the broker is away
// they are stored without a wait.
func (s *Spool) hold(l *lane) {
	if l.replay.window == 1 || s.disk.Len(l.key) > l.replay.window {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l.holding = true
}

// storeHeld stores those that were held.
func (s *Spool) storeHeld(l *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.holding = false
	for _, e := range l.line {
		if e.fate == fateHeld {
			s.toStore(e, nil)
		}
	}
}

// emptied lets lanes with nothing on disk send again. It sees also what got too old there.
func (s *Spool) emptied() {
	for l, begun := range s.storedLanes() {
		if s.disk.Len(l.key) > 0 || !s.reopen(l, begun) {
			continue
		}
		s.sendHeld(l)
	}
}

// storedLanes are the lanes that may have something on disk, with how many it ever were.
func (s *Spool) storedLanes() map[*lane]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	lanes := make(map[*lane]uint64)
	for _, l := range s.lanes {
		if l.stored && l.storing == 0 {
			lanes[l] = l.begun
		}
	}
	return lanes
}

// reopen lets a lane send, unless something came meanwhile that is stored.
func (s *Spool) reopen(l *lane, begun uint64) bool {
	s.mu.Lock()
	open := l.begun == begun
	told := open && l.told
	if open {
		l.stored, l.told = false, false
	}
	s.mu.Unlock()
	if told {
		s.t.opts.Logger.Info("no notifications are stored any more", "spool", s.o.Dir)
	}
	return open
}

// sendHeld sends those that were held, in their order. Those that come meanwhile are held, so that
// they do not overtake.
func (s *Spool) sendHeld(l *lane) {
	for {
		held := s.takeHeld(l)
		if len(held) == 0 {
			break
		}
		for _, e := range held {
			e.launch()
		}
	}
	s.storeHeld(l) // when one of them failed
}

// takeHeld takes those that are held to send them. When there are none, or one that was sent
// failed, it returns none; without a failure none are held from then on.
func (s *Spool) takeHeld(l *lane) []*spooling {
	s.mu.Lock()
	defer s.mu.Unlock()
	var held []*spooling
	for _, e := range l.line {
		if e.fate == fateHeld && !l.stored {
			e.fate = fateSending
			held = append(held, e)
		}
	}
	if len(held) == 0 && !l.stored {
		l.holding = false
	}
	return held
}

// setAside keeps a notification that the broker refuses out of the way of the others.
func (s *Spool) setAside(key string, e spool.Entry, m *driver.Message, why error) {
	// What cannot be parsed has no more than its ids, which is no reason to lose it.
	n, _ := parseNotification(&driver.Delivery{Message: *m})
	logger := s.t.opts.Logger.With("spool", s.o.Dir, "topic", m.Target.Topic, "event_type", truncate(n.EventType, maxShownMethod),
		"message_id", n.MessageID, "err", why.Error())
	ctx, cancel := context.WithTimeout(context.Background(), keepTime)
	defer cancel()
	s.count(func(st *SpoolStats) { st.Refused++ })
	if err := s.aside.Put(ctx, key, e.Data); err != nil {
		s.count(func(st *SpoolStats) { st.Lost++ })
		logger.Error("a stored notification is lost: the broker refuses it, and it cannot be kept", "disk", err.Error())
	} else {
		logger.Error("a stored notification is set aside: the broker refuses it")
	}
	if s.o.OnRefused != nil {
		s.o.OnRefused(n, operation{verb: "notify", method: n.EventType, target: Target{Exchange: m.Target.Exchange, Topic: m.Target.Topic}}.wrap(why))
	}
}

// RetryRefused lets those that were set aside be sent again, behind what waits, and returns how many
// they are. It fails with ErrSpoolFull when there is no room for more, with ErrClosed, and with
// the error of ctx.
func (s *Spool) RetryRefused(ctx context.Context) (int, error) {
	moved := 0
	for _, key := range s.aside.Keys() {
		for {
			if err := ctx.Err(); err != nil {
				return moved, err
			}
			entries, err := s.aside.Take(key, 64)
			if err != nil || len(entries) == 0 {
				if err != nil {
					return moved, operation{verb: "retry refused"}.wrap(err)
				}
				break
			}
			n, err := s.putBack(ctx, key, entries)
			moved += n
			if err != nil {
				return moved, err
			}
		}
	}
	return moved, nil
}

// putBack moves entries from aside to the disk.
func (s *Spool) putBack(ctx context.Context, key string, entries []spool.Entry) (int, error) {
	s.mu.Lock()
	l := s.laneOf(key)
	l.stored = true
	l.storing++
	l.begun++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		l.storing--
		s.mu.Unlock()
		wake(s.replaying)
	}()
	for i, e := range entries {
		err := s.disk.Put(ctx, key, e.Data)
		if err == nil {
			err = s.aside.Done(e.ID)
		}
		if err != nil {
			for _, left := range entries[i:] {
				s.aside.Back(left.ID)
			}
			return i, s.unkept(&spooling{topicMessage: topicMessage{op: operation{verb: "retry refused"}}}, err)
		}
	}
	return len(entries), nil
}
