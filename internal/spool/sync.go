// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"
)

// syncer writes segments to the disk, as Options.Sync says. Nothing waits for it while it holds
// the lock of the Spool.
type syncer struct {
	dir, mode string
	log       *slog.Logger
	turn      chan struct{} // has room for the one who syncs
	wake      chan struct{} // for run: there is something to sync
	stop      chan struct{}
	stopped   chan struct{}

	mu     sync.Mutex // guards all below
	next   *syncing
	failed uint64
}

// syncing is what is synced together: all that was written since the one before.
type syncing struct {
	segments map[*segment]struct{}
	done     chan struct{} // closed when err is set
	err      error
}

func newSyncing() *syncing {
	return &syncing{segments: map[*segment]struct{}{}, done: make(chan struct{})}
}

func newSyncer(o Options) *syncer {
	y := &syncer{
		dir: o.Dir, mode: o.Sync, log: o.Logger, next: newSyncing(), turn: make(chan struct{}, 1),
		wake: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	if y.mode == SyncBatch {
		go y.run()
	} else {
		close(y.stopped)
	}
	return y
}

// wrote notes that a segment was written to, and returns what to wait for.
func (y *syncer) wrote(seg *segment) *syncing {
	if y.mode == SyncNone {
		return nil
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.next.segments[seg] = struct{}{}
	select {
	case y.wake <- struct{}{}:
	default:
	}
	return y.next
}

// wait returns when what was written is on the disk. The first who waits syncs for all.
func (y *syncer) wait(ctx context.Context, s *syncing) error {
	select {
	case <-s.done:
		return s.err
	case <-ctx.Done():
		return ctx.Err()
	case y.turn <- struct{}{}:
	}
	defer func() { <-y.turn }()
	select {
	case <-s.done: // by the one before us
	default:
		y.flush()
	}
	return s.err
}

// flush syncs what was written so far. It needs the turn.
func (y *syncer) flush() {
	y.mu.Lock()
	s := y.next
	y.next = newSyncing()
	y.mu.Unlock()
	newcomers := false
	for seg := range s.segments {
		newcomers = newcomers || !seg.placed
		seg.placed = true
		if err := seg.file.Sync(); err != nil && !seg.removed.Load() {
			// Nobody knows what the disk has of it: it is not written to any more.
			seg.unsynced.Store(true)
			s.err = err
		}
	}
	if newcomers && s.err == nil {
		s.err = syncDir(y.dir)
	}
	if s.err != nil {
		y.mu.Lock()
		y.failed++
		y.mu.Unlock()
		y.log.Error("the spool cannot be written to its disk; a loss of power may lose notifications", "spool", y.dir, "err", s.err.Error())
	}
	close(s.done)
}

func (y *syncer) failures() uint64 {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.failed
}

// run is SyncBatch; close ends it.
func (y *syncer) run() {
	defer close(y.stopped)
	timer := time.NewTimer(batchTime)
	defer timer.Stop()
	for {
		select {
		case <-y.stop:
			return
		case <-y.wake:
		}
		timer.Reset(batchTime)
		select {
		case <-y.stop:
			return
		case <-timer.C:
		}
		y.turn <- struct{}{}
		y.flush()
		<-y.turn
	}
}

// close syncs the rest. Nothing may be written after it began.
func (y *syncer) close() error {
	close(y.stop)
	<-y.stopped
	if y.mode == SyncNone {
		return nil
	}
	y.mu.Lock()
	last := y.next
	y.mu.Unlock()
	y.turn <- struct{}{}
	defer func() { <-y.turn }()
	select {
	case <-last.done:
	default:
		y.flush()
	}
	return last.err
}

// syncDir makes the names of new files as safe as their contents.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
