// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
)

const (
	segmentSuffix = ".seg"
	journalSuffix = ".done"
)

// segment is a file of entries, and the journal of those that are settled. All fields need the
// lock of the Spool; file may be synced without it.
type segment struct {
	path string
	file *os.File
	size int64
	// broken: nothing may be appended any more, as what is at the end is not known.
	broken bool

	journal     *os.File // nil until something is settled
	journalSize int64

	// live and liveBytes are of the entries that are not settled.
	live      int
	liveBytes int64

	// placed is the syncer's: the directory was synced with it. unsynced says that a sync
	// failed, removed that the file is gone.
	placed            bool
	unsynced, removed atomic.Bool
}

func segmentPath(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x", number)+segmentSuffix)
}

// parseSegment returns the number in the name of a segment.
func parseSegment(name string) (number uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	number, err := strconv.ParseUint(digits, 16, 64)
	return number, err == nil
}

func createSegment(dir string, number uint64) (*segment, error) {
	path := segmentPath(dir, number)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	seg := &segment{path: path, file: file}
	if err := seg.append([]byte(segmentMagic)); err != nil {
		seg.remove()
		return nil, err
	}
	return seg, nil
}

// append writes b at the end, wholly or not at all: what was written of it is cut off, and when
// even that fails, nothing is written to this segment any more.
func (g *segment) append(b []byte) error {
	if _, err := g.file.WriteAt(b, g.size); err != nil {
		if g.file.Truncate(g.size) != nil {
			g.broken = true
		}
		return err
	}
	g.size += int64(len(b))
	return nil
}

// takes reports whether there is room for another entry.
func (g *segment) takes(limit int64) bool { return !g.broken && !g.unsynced.Load() && g.size < limit }

func (g *segment) hold(bytes int64) {
	g.live++
	g.liveBytes += bytes
}

func (g *segment) release(bytes int64) {
	g.live--
	g.liveBytes -= bytes
}

// settle writes ids to the journal. One that was cut off by a full disk is not misread: each has
// a sum, and the next ones are written over it.
func (g *segment) settle(ids []byte) error {
	if g.journal == nil {
		file, err := os.OpenFile(g.journalPath(), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		g.journal = file
	}
	if _, err := g.journal.WriteAt(ids, g.journalSize); err != nil {
		_ = g.journal.Truncate(g.journalSize)
		return err
	}
	g.journalSize += int64(len(ids))
	return nil
}

func (g *segment) journalPath() string {
	return strings.TrimSuffix(g.path, segmentSuffix) + journalSuffix
}

// read returns the record of an entry.
func (g *segment) read(it item) (record, error) {
	frame := make([]byte, it.size)
	if _, err := g.file.ReadAt(frame, it.off); err != nil {
		if errors.Is(err, io.EOF) {
			return record{}, errTorn
		}
		return record{}, err
	}
	rec, err := decodeFrame(frame)
	if err == nil && rec.id != it.id {
		err = errDamaged
	}
	return rec, err
}

func (g *segment) close() {
	_ = g.file.Close()
	if g.journal != nil {
		_ = g.journal.Close()
	}
}

// remove deletes the files. The journal is the last, as without it all would be new again.
func (g *segment) remove() {
	g.removed.Store(true)
	g.close()
	if err := os.Remove(g.path); err == nil || errors.Is(err, os.ErrNotExist) {
		_ = os.Remove(g.journalPath())
	}
}
