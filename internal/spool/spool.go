// SPDX-License-Identifier: Apache-2.0

// Package spool keeps notifications on disk while nobody takes them: the core's while the broker is
// away, and those of the driver without a broker while nobody listens.
//
// It is a directory of append-only segments. What is settled is noted in a journal beside each
// segment, and a segment is deleted when all that is in it is settled. The promise is at least
// once: a process that is killed loses nothing that Put acknowledged, and may see again what it
// settled in its last moment. What a loss of power can take depends on Options.Sync.
package spool

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// The values of Options.Sync. A process that is killed loses nothing in any of them: what was
// written is the system's. They differ in what a loss of power or a crash of the system takes.
const (
	// SyncNone leaves it to the system when to write to the disk, often half a minute.
	SyncNone = "none"
	// SyncBatch writes to the disk within a tenth of a second after Put.
	SyncBatch = "batch"
	// SyncEach writes to the disk before Put returns. Puts at the same time share the effort.
	SyncEach = "each"
)

const (
	defaultMaxBytes   = 256 << 20
	defaultMaxAge     = 24 * time.Hour
	defaultMaxEntries = 1 << 20
	minMaxBytes       = 64 << 10
	segmentBytes      = 8 << 20
	// batchTime is how long SyncBatch may wait.
	batchTime = 100 * time.Millisecond
)

// Options say where and how much.
type Options struct {
	// Dir is made with mode 0700 if it is missing. Others must not be able to write to it. One
	// process at a time uses it.
	Dir string
	// MaxBytes bounds the files, at least 64 KiB; zero is 256 MiB. Making room may need the
	// eighth of it, and 4 MiB at most, for a moment more.
	MaxBytes int64
	// MaxEntries bounds how many there are, as each takes about 50 bytes of memory; zero is
	// 1048576.
	MaxEntries int
	// MaxAge is when an entry is dropped that nobody took; zero is 24 hours.
	MaxAge time.Duration
	// Sync is SyncNone, SyncBatch or SyncEach; "" is SyncBatch.
	Sync string
	// SegmentBytes is when the next file is begun. Zero fits MaxBytes; it is kept between the 128th
	// of that, as each file is open, and the 8th.
	SegmentBytes int64
	// FullHint is what the error of a full spool says to do; "" is for one that waits for listeners.
	FullHint string
	// Logger is told what was lost; nil is slog.Default.
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.MaxEntries == 0 {
		o.MaxEntries = defaultMaxEntries
	}
	if o.MaxAge == 0 {
		o.MaxAge = defaultMaxAge
	}
	if o.Sync == "" {
		o.Sync = SyncBatch
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = segmentBytes
	}
	if o.FullHint == "" {
		o.FullHint = "let somebody listen to them, or raise the size of the spool"
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	switch {
	case o.Dir == "":
		return o, driver.Errorf(driver.ReasonConfig, "the spool has no directory")
	case o.MaxBytes < minMaxBytes:
		return o, driver.Errorf(driver.ReasonConfig, "the spool %s is to have %d bytes", o.Dir, o.MaxBytes).WithHint("at least %d", minMaxBytes)
	case o.MaxEntries < 0 || o.MaxAge < 0 || o.SegmentBytes < 0:
		return o, driver.Errorf(driver.ReasonConfig, "the bounds of the spool %s are negative", o.Dir)
	case o.Sync != SyncNone && o.Sync != SyncBatch && o.Sync != SyncEach:
		return o, driver.Errorf(driver.ReasonConfig, "the spool cannot sync %q", o.Sync).WithHint("want %s, %s or %s", SyncNone, SyncBatch, SyncEach)
	}
	return o, nil
}

// segmentLimit keeps the number of files, each of which is open, below some hundred.
func (o Options) segmentLimit() int64 {
	return max(min(o.SegmentBytes, o.MaxBytes/8), o.MaxBytes/128)
}

// Entry is one notification.
type Entry struct {
	// ID is for Done and Back. It is the same after a restart.
	ID   uint64
	Key  string
	Data []byte
	// At is when it was put, in milliseconds.
	At time.Time
}

// Spool is safe for many goroutines. Its errors are *driver.Error.
type Spool struct {
	o    Options
	lock *os.File
	now  func() time.Time
	disk *syncer

	mu       sync.Mutex // guards all below, and the files but for syncing them
	segments []*segment // the oldest first; the last one is written to
	queues   map[string]*queue
	taken    map[uint64]*takenItem
	nextID   uint64
	// nextSegment numbers the files.
	nextSegment uint64
	swept       time.Time
	told        time.Time // when it was last logged that something got too old
	closed      bool
	stats       Stats // its gauges are filled in by Stats
}

// Stats are counts since Open, and what there is now.
type Stats struct {
	// Waiting and Taken are entries now.
	Waiting, Taken int
	// Bytes is how much the files have now, in how many Segments.
	Bytes    int64
	Segments int

	// Put and Settled were acknowledged by Put and given to Done. Aged were dropped as too old
	// and Damaged because they could not be read. Failed is how often the disk refused.
	Put, Settled, Aged, Damaged, Failed uint64
}

// Open opens the spool in o.Dir, and repairs what a killed process left there. It returns
// ReasonConfig for wrong options, an unsafe directory or one that another process uses, and
// ReasonInternal when the disk fails.
func Open(o Options) (*Spool, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, err
	}
	s := &Spool{o: o, lock: lock, now: time.Now, queues: map[string]*queue{}, taken: map[uint64]*takenItem{}, nextID: 1}
	if err := s.recover(); err != nil {
		s.closeFiles()
		return nil, diskError(err, "open the spool %s", o.Dir)
	}
	s.disk = newSyncer(o)
	return s, nil
}

// Keys returns the keys that have entries waiting, sorted.
func (s *Spool) Keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	return slices.Sorted(maps.Keys(s.queues))
}

// Len returns how many entries of a key wait.
func (s *Spool) Len(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	if q := s.queues[key]; q != nil {
		return q.len()
	}
	return 0
}

// Stats returns counts.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Taken, st.Segments, st.Bytes = len(s.taken), len(s.segments), s.bytes()
	for _, q := range s.queues {
		st.Waiting += q.len()
	}
	if s.disk != nil {
		st.Failed += s.disk.failures()
	}
	return st
}

// Close writes to the disk what Options.Sync asks for and lets another process have the
// directory. What was taken and not done will be there again. It is idempotent.
func (s *Spool) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	err := s.disk.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeFiles()
	if err != nil {
		return diskError(err, "close the spool %s", s.o.Dir)
	}
	return nil
}

func (s *Spool) closeFiles() {
	for _, seg := range s.segments {
		seg.close()
	}
	_ = s.lock.Close() // which unlocks it
}

// bytes are those of all files.
func (s *Spool) bytes() int64 {
	var sum int64
	for _, seg := range s.segments {
		sum += seg.size + seg.journalSize
	}
	return sum
}

// entries are those that are not settled.
func (s *Spool) entries() int {
	sum := 0
	for _, seg := range s.segments {
		sum += seg.live
	}
	return sum
}

// Put is Append and Wait.
func (s *Spool) Put(ctx context.Context, key string, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p, err := s.Append(key, data)
	if err != nil {
		return err
	}
	return p.Wait(ctx)
}

// Append appends an entry: a process that is killed from then on does not lose it. Nothing is kept
// of data. It fails with
//
//   - ReasonBrokerBlocked when the spool or its disk is full: retryable, once somebody took some;
//   - ReasonMessageTooLarge for an entry that can never fit;
//   - ReasonInternal when the disk fails, and ReasonClosed after Close.
func (s *Spool) Append(key string, data []byte) (*Pending, error) {
	if err := s.checkSize(key, data); err != nil {
		return nil, err
	}
	ticket, err := s.append(key, data)
	if err != nil {
		return nil, err
	}
	return &Pending{spool: s, ticket: ticket}, nil
}

// Pending is an entry that was appended.
type Pending struct {
	spool  *Spool
	ticket *syncing
}

// Wait returns when the entry is as safe as Options.Sync says. It fails with ReasonInternal and
// InDoubt when the entry was written and it is not known whether the disk has it, or ctx ended
// while the disk was waited for.
func (p *Pending) Wait(ctx context.Context) error {
	s := p.spool
	if s.o.Sync != SyncEach {
		return nil
	}
	err := s.disk.wait(ctx, p.ticket)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		err = driver.Errorf(driver.ReasonOf(err), "waiting for the disk of the spool %s: %w", s.o.Dir, err)
	}
	e := diskError(err, "write to the disk of the spool %s", s.o.Dir)
	e.InDoubt = true
	return e
}

func (s *Spool) checkSize(key string, data []byte) error {
	if len(key) > maxKey {
		return driver.Errorf(driver.ReasonMessageTooLarge, "the key of an entry of the spool has %d bytes, more than %d", len(key), maxKey)
	}
	if limit := min(maxData, s.o.MaxBytes/4); int64(len(key)+len(data)) > limit {
		return driver.Errorf(driver.ReasonMessageTooLarge, "a notification of %d bytes does not fit the spool %s, which takes %d", len(data), s.o.Dir, limit).
			WithHint("raise the size of the spool")
	}
	return nil
}

func (s *Spool) append(key string, data []byte) (ticket *syncing, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed(s.o.Dir)
	}
	s.sweep()
	rec := record{id: s.nextID, at: s.now().UnixMilli(), key: key, data: data}
	frame := rec.encode()
	if err := s.makeRoom(int64(len(frame))); err != nil {
		return nil, err
	}
	seg, err := s.write(frame)
	if err != nil && s.dropLast() {
		seg, err = s.write(frame)
	}
	if err != nil {
		s.stats.Failed++
		return nil, diskError(err, "write to the spool %s", s.o.Dir)
	}
	s.nextID++
	s.stats.Put++
	seg.hold(int64(len(frame)))
	s.queue(key).push(item{id: rec.id, at: rec.at, seg: seg, off: seg.size - int64(len(frame)), size: int32(len(frame))})
	return s.disk.wrote(seg), nil
}

func (s *Spool) queue(key string) *queue {
	q := s.queues[key]
	if q == nil {
		q = &queue{}
		s.queues[key] = q
	}
	return q
}

func (s *Spool) write(frame []byte) (*segment, error) {
	seg, err := s.writable()
	if err == nil {
		err = seg.append(frame)
	}
	return seg, err
}

// dropLast deletes the segment that is written to when all in it is settled, to make room.
func (s *Spool) dropLast() bool {
	n := len(s.segments)
	if n == 0 || s.segments[n-1].live > 0 || s.segments[n-1].size <= int64(len(segmentMagic)) {
		return false
	}
	s.segments[n-1].remove()
	s.segments = s.segments[:n-1]
	return true
}

// writable is the segment to append to: a new one when the last is full or broken.
func (s *Spool) writable() (*segment, error) {
	if n := len(s.segments); n > 0 && s.segments[n-1].takes(s.o.segmentLimit()) {
		return s.segments[n-1], nil
	}
	seg, err := createSegment(s.o.Dir, s.nextSegment)
	if err != nil {
		return nil, err
	}
	s.nextSegment++
	s.segments = append(s.segments, seg)
	s.clean()
	return seg, nil
}
