// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"time"
)

const (
	sweepTime = time.Second
	// tellTime is how often it is logged that entries got too old.
	tellTime = time.Minute
)

// compact moves what waits in the emptiest segment to the last one, if that frees half of it: a
// few entries that nobody wants must not hold the space of thousands. It reports whether space
// was freed. After a crash in between an entry may be in two segments; recover takes it once.
func (s *Spool) compact() bool {
	if len(s.segments) < 2 {
		return false
	}
	old := s.segments[0]
	for _, seg := range s.segments[:len(s.segments)-1] {
		if seg.liveBytes*old.size < old.liveBytes*seg.size {
			old = seg
		}
	}
	if old.liveBytes > old.size/2 {
		return false
	}
	if err := s.move(old); err != nil {
		s.stats.Failed++
		s.o.Logger.Warn("a segment of the spool cannot be compacted", "file", old.path, "err", err.Error())
		return false
	}
	s.clean()
	return true
}

func (s *Spool) move(old *segment) error {
	items := s.itemsOf(old)
	var frames []byte
	for _, it := range items {
		start := len(frames)
		frames = append(frames, make([]byte, it.size)...)
		if _, err := old.file.ReadAt(frames[start:], it.off); err != nil {
			return err
		}
	}
	to, err := s.writable()
	if err != nil {
		return err
	}
	off := to.size
	if err := to.append(frames); err != nil {
		return err
	}
	if s.o.Sync != SyncNone {
		if err := to.file.Sync(); err != nil {
			to.broken = true
			return err
		}
	}
	for _, it := range items {
		old.release(int64(it.size))
		to.hold(int64(it.size))
		it.seg, it.off = to, off
		off += int64(it.size)
	}
	return nil
}

// itemsOf are the entries of a segment that are not settled, where they are kept.
func (s *Spool) itemsOf(seg *segment) []*item {
	var items []*item
	add := func(it *item) {
		if it.seg == seg {
			items = append(items, it)
		}
	}
	for _, q := range s.queues {
		q.each(add)
	}
	for _, it := range s.taken {
		add(&it.item)
	}
	return items
}
