// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"slices"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// takeBytes is how many bytes Take returns at most, unless the first entry alone has more.
const takeBytes = 16 << 20

// Take returns the oldest entries of a key that wait, max at most and about 16 MiB, or none. They
// stay on disk until Done; Back makes them wait again, and so does a restart. An entry that
// cannot be read any more is dropped and logged.
func (s *Spool) Take(key string, max int) ([]Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed(s.o.Dir)
	}
	s.sweep()
	q := s.queues[key]
	if q == nil {
		return nil, nil
	}
	var entries []Entry
	for bytes := 0; q.len() > 0 && len(entries) < max; {
		it := *q.front()
		if len(entries) > 0 && bytes+int(it.size) > takeBytes {
			break
		}
		rec, err := it.seg.read(it)
		if err != nil && !errors.Is(err, errTorn) && !errors.Is(err, errDamaged) {
			if len(entries) > 0 {
				break // the next Take says it
			}
			s.stats.Failed++
			return nil, diskError(err, "read the spool %s", s.o.Dir)
		}
		q.pop()
		if err != nil {
			s.damaged(it, err)
			continue
		}
		bytes += int(it.size)
		s.taken[it.id] = &takenItem{item: it, key: key}
		entries = append(entries, Entry{ID: rec.id, Key: key, Data: rec.data, At: time.UnixMilli(rec.at)})
	}
	s.tidy(key, q)
	return entries, nil
}

func (s *Spool) damaged(it item, err error) {
	s.stats.Damaged++
	s.o.Logger.Error("a spooled notification cannot be read and is lost", "file", it.seg.path, "offset", it.off, "err", err.Error())
	it.seg.release(int64(it.size))
	s.clean()
}

func (s *Spool) tidy(key string, q *queue) {
	if q.len() == 0 {
		delete(s.queues, key)
	}
}

// Done settles entries that were taken: they are not there any more. Ids that are not taken are
// ignored. An error says that the disk failed to note it: after a restart they will be there
// once more.
func (s *Spool) Done(entries ...uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed(s.o.Dir)
	}
	notes := map[*segment][]byte{}
	for _, id := range entries {
		it, ok := s.taken[id]
		if !ok {
			continue
		}
		delete(s.taken, id)
		s.stats.Settled++
		it.seg.release(int64(it.size))
		notes[it.seg] = appendSettled(notes[it.seg], id)
	}
	var failed error
	for seg, ids := range notes {
		if seg.live == 0 && !s.last(seg) {
			continue // it is about to be deleted
		}
		if err := seg.settle(ids); err != nil {
			s.stats.Failed++
			failed = err
		}
	}
	s.clean()
	if failed != nil {
		return diskError(failed, "note in the spool %s what is settled", s.o.Dir)
	}
	return nil
}

// Back gives back entries that were taken: they wait again, in their old places.
func (s *Spool) Back(entries ...uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range entries {
		if it, ok := s.taken[id]; ok {
			delete(s.taken, id)
			s.queue(it.key).giveBack(it.item)
		}
	}
}

// last reports whether seg is the one that is written to.
func (s *Spool) last(seg *segment) bool { return seg == s.segments[len(s.segments)-1] }

// clean deletes the segments in which nothing waits any more, but for the last.
func (s *Spool) clean() {
	if len(s.segments) == 0 {
		return
	}
	last := s.segments[len(s.segments)-1]
	s.segments = slices.DeleteFunc(s.segments, func(seg *segment) bool {
		if seg.live > 0 || seg == last {
			return false
		}
		seg.remove()
		return true
	})
}

// sweep drops what is too old, once a second at most.
func (s *Spool) sweep() {
	now := s.now()
	if since := now.Sub(s.swept); s.closed || since >= 0 && since < min(s.o.MaxAge/10, sweepTime) {
		return
	}
	s.swept = now
	limit, dropped := now.Add(-s.o.MaxAge).UnixMilli(), 0
	for key, q := range s.queues {
		for it := q.front(); it != nil && it.at < limit; it = q.front() {
			old := q.pop()
			old.seg.release(int64(old.size))
			dropped++
		}
		s.tidy(key, q)
	}
	if dropped == 0 {
		return
	}
	s.stats.Aged += uint64(dropped)
	s.clean()
	if now.Sub(s.told) >= tellTime {
		s.told = now
		s.o.Logger.Warn("spooled notifications that nobody took got too old and are dropped",
			"spool", s.o.Dir, "age", s.o.MaxAge, "dropped", dropped, "in_all", s.stats.Aged)
	}
}

// makeRoom makes sure that an entry of size bytes fits.
func (s *Spool) makeRoom(size int64) error {
	limit := s.o.MaxBytes - int64(len(segmentMagic))
	fits := func() bool { return s.bytes()+size <= limit }
	if s.entries() < s.o.MaxEntries {
		if fits() {
			return nil
		}
		s.dropLast()
		for !fits() && s.compact() {
			continue
		}
		if fits() {
			return nil
		}
	}
	return driver.Errorf(driver.ReasonBrokerBlocked, "the spool %s is full: %d notifications wait in %d of %d bytes", s.o.Dir, s.entries(), s.bytes(), s.o.MaxBytes).
		WithHint("%s (%d bytes and %d notifications now)", s.o.FullHint, s.o.MaxBytes, s.o.MaxEntries)
}
