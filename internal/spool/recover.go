// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// recover reads what is in the directory.
func (s *Spool) recover() error {
	numbers, err := s.list()
	if err != nil {
		return err
	}
	// An entry may be in two segments, after a crash in compact: what is settled in one is settled,
	// and of two the later one counts.
	settled := map[uint64]bool{}
	for _, n := range numbers {
		seg, err := openSegment(s.o.Dir, n)
		if err != nil {
			return err
		}
		s.segments = append(s.segments, seg)
		s.nextSegment = n + 1
		if err := seg.readJournal(func(id uint64) { settled[id] = true; s.sawID(id) }); err != nil {
			return err
		}
	}
	var moved []*segment
	for i, seg := range slices.Backward(s.segments) {
		twice, err := s.readSegment(seg, i == len(s.segments)-1, settled)
		if err != nil {
			return err
		}
		if twice {
			moved = append(moved, seg)
		}
	}
	s.sortQueues()
	for _, seg := range moved {
		s.finishMove(seg)
	}
	s.clean()
	return nil
}

// finishMove moves what is left in a segment, so that it can be deleted: else what it has twice
// would be there again once the later segment is deleted.
func (s *Spool) finishMove(old *segment) {
	if err := s.move(old); err != nil {
		s.o.Logger.Warn("a segment of the spool cannot be compacted; what is settled may be there again", "file", old.path, "err", err.Error())
	}
}

// list returns the numbers of the segments, and removes journals that were left without one.
func (s *Spool) list() ([]uint64, error) {
	files, err := os.ReadDir(s.o.Dir)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, f := range files {
		if n, ok := parseSegment(f.Name()); ok && f.Type().IsRegular() && n < math.MaxUint64 {
			numbers = append(numbers, n)
		}
	}
	for _, f := range files {
		if digits, ok := strings.CutSuffix(f.Name(), journalSuffix); ok {
			if n, ok := parseSegment(digits + segmentSuffix); ok && !slices.Contains(numbers, n) {
				_ = os.Remove(filepath.Join(s.o.Dir, f.Name()))
			}
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

func (s *Spool) sawID(id uint64) {
	if id < math.MaxUint64 { // which only a forged file has
		s.nextID = max(s.nextID, id+1)
	}
}

func openSegment(dir string, number uint64) (*segment, error) {
	path := segmentPath(dir, number)
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &segment{path: path, file: file, placed: true}, nil
}

// readJournal calls found for what is settled. What a killed process wrote by half is cut.
func (g *segment) readJournal(found func(uint64)) error {
	file, err := os.OpenFile(g.journalPath(), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	g.journal = file
	if g.journalSize, err = scanJournal(file, found); err != nil {
		return err
	}
	return file.Truncate(g.journalSize)
}

// readSegment puts the entries of a segment that are not in done into the queues, and into done
// as not settled. It reports whether one was there already. Behind the last whole frame of the
// last segment is what a killed process wrote by half: it is cut.
func (s *Spool) readSegment(seg *segment, last bool, done map[uint64]bool) (twice bool, err error) {
	info, err := seg.file.Stat()
	if err != nil {
		return false, err
	}
	now := s.now().UnixMilli()
	found, err := scan(io.NewSectionReader(seg.file, 0, info.Size()), info.Size(), func(off int64, frame int, rec record) {
		s.sawID(rec.id)
		if settled, known := done[rec.id]; known {
			twice = twice || !settled
			return
		}
		done[rec.id] = false
		seg.hold(int64(frame))
		s.queue(rec.key).push(item{id: rec.id, at: min(rec.at, now), seg: seg, off: off, size: int32(frame)})
	})
	if err != nil {
		return false, err
	}
	seg.size = info.Size()
	if found.damaged > 0 {
		s.stats.Damaged += uint64(found.damaged)
		s.o.Logger.Error("spooled notifications cannot be read and are lost", "file", seg.path, "count", found.damaged)
	}
	return twice, s.cutEnd(seg, last, found.good)
}

// cutEnd makes the file end where its last whole frame does.
func (s *Spool) cutEnd(seg *segment, last bool, good int64) error {
	if good == 0 {
		seg.broken = true // not even its first bytes are there
	}
	if good == seg.size {
		return nil
	}
	if !last {
		// It was broken when it was left, and is deleted when all else in it is settled.
		seg.broken = true
		s.o.Logger.Error("the end of a segment of the spool cannot be read", "file", seg.path, "bytes", seg.size-good)
		return nil
	}
	s.o.Logger.Warn("a notification that was being spooled when the process ended is cut off", "file", seg.path, "bytes", seg.size-good)
	seg.size = good
	return seg.file.Truncate(good)
}

// sortQueues restores the order of ids that compact has changed in the files.
func (s *Spool) sortQueues() {
	for _, q := range s.queues {
		q.sort()
	}
}
