// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"github.com/parleymq/parley/internal/spool"
	"github.com/parleymq/parley/plugin/driver"
)

// Spool keeps on disk the notifications that the broker does not take now, and sends them when it
// does. Notifiers use it by [NotifierOptions.Spool]; any number of one transport may share it.
//
// With a spool a notification is stored, and Notify returns nil, when the driver or the broker is
// away, blocked or slower than the notification's time, when it is in doubt, and, without a broker
// (driver.CapDirect), when nobody listens. Stored ones are sent in the order in which they were
// stored, with the ids they had, so that a listener drops the copy of one that was in doubt. While
// any wait, new notifications go behind them. The order is that of the whole spool; without a
// broker, where listeners of one topic must not wait for those of another, it is that of a topic
// and priority.
//
// The promise is at least once: what Notify returned nil for survives the end of the process, and
// with [SpoolSyncEach] that of the machine. A notification may arrive twice, with the same ids, and
// one that was in doubt may arrive behind those that were on their way at that moment.
//
// What the broker would never take is an error at once, and nothing is stored: a wrong password, a
// message that is too large, a permission that is missing. The same of a notification that waits:
//
//   - what is about the connection, such as the password, keeps all of them waiting;
//   - what is about the one message sets it aside, in the directory "refused" below Dir, with an
//     error in the log, so that it does not keep the others; see RetryRefused.
//
// No loss is silent: what gets older than MaxAge, and what a damaged file does not give back, is
// logged and counted in [SpoolStats].
//
// A spool is safe for many goroutines. Close it before its transport; an application that does not
// loses nothing, and waits for it at most until the end of Close's context.
type Spool struct {
	t       *Transport
	o       SpoolOptions
	disk    *spool.Spool
	aside   *spool.Spool // what was refused
	async   driver.AsyncSender
	unwatch func() // of the transport's state

	keeping, replaying chan struct{} // of capacity one: there is something to do
	stop               chan struct{} // closed when nothing is sent any more
	quit               chan struct{} // closed when nothing is stored any more
	cancel             context.CancelFunc
	goroutines         sync.WaitGroup
	closed             chan struct{} // closed when Close is done
	closeErr           error         // read after closed

	mu      sync.Mutex // guards the rest
	lanes   map[string]*lane
	open    int  // notifications in the lines
	back    bool // the transport is ready again
	closing bool // Close was called
	// quitting: quit is closed. gone: nobody stores any more.
	quitting, gone bool
	stats          SpoolStats // its gauges, and what the disk counts, are filled in by Stats
}

// SpoolSync says when a spool writes to the disk. A process that is killed loses nothing in any of
// them; they differ in what a loss of power takes.
type SpoolSync string

// The values of SpoolOptions.Sync.
const (
	// SpoolSyncNone leaves it to the system when to write to the disk, often half a minute.
	SpoolSyncNone SpoolSync = spool.SyncNone
	// SpoolSyncBatch writes to the disk within a tenth of a second.
	SpoolSyncBatch SpoolSync = spool.SyncBatch
	// SpoolSyncEach writes to the disk before Notify returns. Notifications at the same time share
	// the effort.
	SpoolSyncEach SpoolSync = spool.SyncEach
)

// SpoolOptions say where notifications are kept and how many. Every zero field but Dir means the
// default.
type SpoolOptions struct {
	// Dir is where they are, made with mode 0700 if it is missing. Others must not be able to write
	// to it. One process at a time uses it, and each spool has its own. The files hold the
	// notifications as they are, with payload and context.
	Dir string
	// MaxBytes bounds the files, and is at least 64 KiB: a notification for which there is no room
	// is ErrSpoolFull. One may have the fourth of it, and 64 MiB at most. Default: 256 MiB. What was
	// refused has the eighth of it beside. About a million may wait at a time, whatever their size.
	MaxBytes int64
	// MaxAge is when one is dropped that the broker did not take. Default: 24 hours.
	MaxAge time.Duration
	// Sync says what a loss of power may take. Default: SpoolSyncBatch.
	Sync SpoolSync
	// SegmentBytes is how much one file has, between the 128th and the 8th of MaxBytes. Default: 8
	// MiB, within these.
	SegmentBytes int64
	// OnRefused, when set, is told of each stored notification that the broker refuses for good,
	// when it is set aside. It is called by one goroutine, which sends nothing meanwhile.
	OnRefused func(n *Notification, err error)
}

// SpoolStats are counts since OpenSpool, and what there is now.
type SpoolStats struct {
	// Waiting is how many are stored and not yet sent, in how many Bytes of files. Aside is how many
	// were refused.
	Waiting int
	Bytes   int64
	Aside   int
	// Stored is how many went to the spool, Sent how many of it the broker has taken, Refused how
	// many were set aside.
	Stored, Sent, Refused uint64
	// Full is how many were ErrSpoolFull. Aged were dropped as too old, Damaged because they could
	// not be read, and Lost because those set aside had no room. Failed is how often the disk
	// refused.
	Full, Aged, Damaged, Lost, Failed uint64
}

// asideDir is below Dir.
const asideDir = "refused"

// OpenSpool opens the spool in opts.Dir, repairs what a killed process left there, and begins to
// send what waits. It does not wait for the broker. It fails with ErrConfig for wrong options, an
// unsafe directory and one that is in use, with ErrUnsupported when the driver has no
// notifications or the system no locks, and with ErrInternal when the disk fails.
func OpenSpool(t *Transport, opts *SpoolOptions) (*Spool, error) {
	var o SpoolOptions
	if opts != nil {
		o = *opts
	}
	op := operation{verb: "open spool"}
	if err := t.requires(driver.CapNotifications, "notifications", op); err != nil {
		return nil, err
	}
	disk, err := spool.Open(o.disk(t))
	if err != nil {
		return nil, op.wrap(err)
	}
	aside, err := spool.Open(o.aside(t))
	if err != nil {
		return nil, op.wrap(errors.Join(err, disk.Close()))
	}
	s := &Spool{
		t: t, o: o, disk: disk, aside: aside, async: asyncSender(t), lanes: make(map[string]*lane),
		keeping: make(chan struct{}, 1), replaying: make(chan struct{}, 1),
		stop: make(chan struct{}), quit: make(chan struct{}), closed: make(chan struct{}),
	}
	s.recovered()
	s.unwatch = t.states.watch(s.changed)
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.goroutines.Go(func() { s.keep(ctx) })
	s.goroutines.Go(func() { s.replay(ctx) })
	return s, nil
}

func (o SpoolOptions) disk(t *Transport) spool.Options {
	return spool.Options{
		Dir: o.Dir, MaxBytes: o.MaxBytes, MaxAge: o.MaxAge, Sync: string(o.Sync), SegmentBytes: o.SegmentBytes,
		FullHint: fullHint, Logger: t.opts.Logger,
	}
}

// fullHint is what to do about a full spool.
const fullHint = "wait until the broker takes some, or raise SpoolOptions.MaxBytes"

func (o SpoolOptions) aside(t *Transport) spool.Options {
	d := o.disk(t)
	d.Dir = filepath.Join(o.Dir, asideDir)
	if d.MaxBytes == 0 {
		d.MaxBytes = 256 << 20
	}
	d.MaxBytes = max(d.MaxBytes/8, 64<<10)
	return d
}

// Close ends the spool: what is being sent or stored gets until the end of ctx, and what is stored
// waits on disk for the next OpenSpool. Notifications fail with ErrClosed from then on. It may be
// called more than once, from any goroutine; the later calls wait for the first.
func (s *Spool) Close(ctx context.Context) error {
	if !s.beginClose() {
		select {
		case <-s.closed:
			return s.closeErr
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer close(s.closed)
	stopped := context.AfterFunc(ctx, s.cancel)
	defer stopped()
	s.goroutines.Wait()
	s.cancel()
	s.unwatch()
	if err := errors.Join(s.disk.Close(), s.aside.Close()); err != nil {
		s.closeErr = operation{verb: "close spool"}.wrap(err)
	}
	return s.closeErr
}

// beginClose reports whether this call is the first one.
func (s *Spool) beginClose() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.closing = true
	close(s.stop)
	s.settleQuit()
	return true
}

// Stats returns counts.
func (s *Spool) Stats() SpoolStats {
	disk, aside := s.disk.Stats(), s.aside.Stats()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Waiting, st.Bytes, st.Aside = disk.Waiting+disk.Taken, disk.Bytes, aside.Waiting+aside.Taken
	st.Aged, st.Failed = disk.Aged+aside.Aged, disk.Failed+aside.Failed
	st.Damaged += disk.Damaged + aside.Damaged
	return st
}

// changed is told of the transport's state.
func (s *Spool) changed(state State) {
	if state.Phase != PhaseReady {
		return
	}
	s.mu.Lock()
	s.back = true
	s.mu.Unlock()
	wake(s.replaying)
}

// wake lets the owner of a channel of capacity one look again.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
