// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// dirReady is how long Open waits for a directory, which may be on a server that is away.
const dirReady = time.Second

// dirStore keeps a file for each node in a directory that all of them share.
//
// A file's age counts by the directory's own clock, so that those of several machines may differ.
// A node renews the time of its file; what is older than ttl is dead. A file's content never
// changes: a new record is a new file of the same name.
type dirStore struct {
	board *board
	log   *onceLogger
	files recordDir
	ttl   time.Duration
	me    process
	watch *watch

	// All below is the keeper's goroutine's.

	rec     *Record  // what is announced, nil for nothing
	own     fileStat // its file
	renewed time.Time
	dir     fileID    // the directory that was seen last
	dirTime time.Time // its time of change then
	// unsure: the directory's time may hide a change, or a file is missing that may come back.
	unsure  bool
	clock   dirClock
	entries map[string]*dirEntry
	// graceUntil is when files that went with a lost directory are taken for withdrawn.
	graceUntil time.Time
}

// newDir returns the discovery by a directory.
func newDir(o Options) (Registry, error) {
	files, err := chooseDir(o)
	if err != nil {
		return nil, err
	}
	if err := files.prepare(); err != nil && isConfig(err) {
		return nil, err
	}
	log := o.Logger.With("directory", files.path)
	s := &dirStore{
		board: newBoard(), log: newOnceLogger(log), files: files, ttl: o.TTL, me: thisProcess(),
		watch: newWatch(false, log), entries: map[string]*dirEntry{},
	}
	k := startKeeper(s.board, s, o, log)
	k.waitReady(dirReady)
	return k, nil
}

// isConfig tells an error that waiting does not heal.
func isConfig(err error) bool {
	return driver.ReasonOf(err) == driver.ReasonConfig
}

func (s *dirStore) hints() <-chan struct{} { return s.watch.hints() }

func (s *dirStore) close() { s.watch.close() }

// announce implements store.
func (s *dirStore) announce(_ context.Context, rec *Record) error {
	s.rec = rec
	err := s.ensure()
	if err == nil {
		err = s.write()
	}
	if errors.Is(err, fs.ErrNotExist) { // deleted between the two
		if err = s.ensure(); err == nil {
			err = s.write()
		}
	}
	return err
}

// write writes the file of what is announced. The directory's clock is read off it.
func (s *dirStore) write() error {
	text, err := encodeRecordFile(s.rec, s.me)
	if err != nil {
		return err
	}
	before := time.Now()
	st, err := s.files.write(s.rec.Node, text)
	if err != nil {
		return s.failed("write the record of this node in", err)
	}
	s.own, s.renewed = st, before
	s.clock.set(st.mtime, s.ttl)
	return nil
}

// look implements store.
func (s *dirStore) look(context.Context) error {
	if err := s.ensure(); err != nil {
		return err
	}
	first := !s.clock.known()
	if first {
		if err := s.renew(); err != nil {
			return err
		}
	}
	if err := s.scan(); err != nil {
		return err
	}
	if first { // later it is tick's work
		s.dropVanished()
	}
	s.publish()
	return nil
}

// tick implements store.
func (s *dirStore) tick(context.Context) error {
	if err := s.ensure(); err != nil {
		return err
	}
	due := time.Since(s.renewed) >= s.ttl/renewals
	if due {
		if err := s.renew(); err != nil {
			return err
		}
	}
	if due || s.unsure || !s.unchanged() {
		if err := s.scan(); err != nil {
			return err
		}
	}
	s.dropVanished()
	s.publish()
	return nil
}

// renewals is how often a record is renewed in the time that it lives.
const renewals = 3

// ensure makes sure that the directory is there, and in it what is announced. Those who lost it
// together find each other again in the new one.
func (s *dirStore) ensure() error {
	st, err := s.files.stat()
	if errors.Is(err, fs.ErrNotExist) {
		if err = s.files.prepare(); err == nil {
			st, err = s.files.stat()
		}
	}
	if err != nil {
		return s.failed("use", err)
	}
	if st.id != s.dir {
		if s.dir != (fileID{}) {
			s.lose("the directory of nodes was replaced")
		}
		s.dir, s.unsure = st.id, true
		s.watch.add(s.files.path)
	}
	return s.ensureOwn()
}

// ensureOwn writes the own file again when it is not there, or is not what was written.
func (s *dirStore) ensureOwn() error {
	if !s.announced() {
		return nil
	}
	if st, err := s.files.statRecord(s.rec.Node); err == nil && st.id == s.own.id && st.size == s.own.size {
		return nil
	}
	s.lose("somebody removed the record of this node")
	return s.write()
}

func (s *dirStore) announced() bool { return s.rec != nil && s.own != (fileStat{}) }

// lose keeps the view: links that work matter more than files that somebody removed.
func (s *dirStore) lose(why string) {
	s.graceUntil = time.Now().Add(s.ttl)
	s.log.log.Warn(why+"; it is announced again, and the others have time to do so", "time", s.ttl)
}

// renew lets what is announced live on and reads the directory's clock.
func (s *dirStore) renew() error {
	s.renewed = time.Now()
	var st fileStat
	var err error
	if s.announced() {
		st, err = s.files.touch(s.rec.Node)
		if errors.Is(err, fs.ErrNotExist) {
			s.lose("somebody removed the record of this node")
			return s.write()
		}
	} else {
		st, err = s.files.probe()
	}
	if err != nil {
		return s.failed("read the clock of", err)
	}
	s.clock.set(st.mtime, s.ttl)
	return nil
}

// unchanged tells that no file was made, replaced or removed since the last scan.
func (s *dirStore) unchanged() bool {
	st, err := s.files.stat()
	return err == nil && st.id == s.dir && st.mtime.Equal(s.dirTime)
}

// withdraw implements store.
func (s *dirStore) withdraw(context.Context) error {
	if s.rec == nil {
		return nil
	}
	s.files.removeTemp(s.rec.Node)
	if err := s.files.remove(s.rec.Node); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.failed("remove the record of this node from", err)
	}
	return nil
}

// failed says what did not work; the errors that say so already are left as they are.
func (s *dirStore) failed(what string, err error) error {
	if _, ok := errors.AsType[*driver.Error](err); ok {
		return err
	}
	return driver.Errorf(driver.ReasonNotConnected, "%s the directory of nodes %s: %w", what, s.files.path, err).
		WithHint("it is tried again each second; see that the directory can be written and its disk is not full")
}

// dirClock is the clock of the machine that a directory is on.
type dirClock struct {
	mtime time.Time // a time that it gave to a file
	at    time.Time // and when that was here
	// settleUntil is how long ages count by what was observed alone, after the clock was set.
	settleUntil time.Time
}

// clockJump is more than a clock and ours drift apart in the time between two looks at it.
const clockJump = 2 * time.Second

// set tells a time that was just read. Records live for ttl.
func (c *dirClock) set(mtime time.Time, ttl time.Duration) {
	if c.known() {
		if jump := mtime.Sub(c.now()); jump.Abs() > clockJump {
			// It was set, or this machine slept: nobody could renew anything meanwhile.
			c.settleUntil = time.Now().Add(ttl)
		}
	}
	c.mtime, c.at = mtime, time.Now()
}

func (c *dirClock) known() bool { return !c.at.IsZero() }

// now is never later than the directory's own time, as long as nobody sets that back.
func (c *dirClock) now() time.Time { return c.mtime.Add(time.Since(c.at)) }

// onceLogger logs a file that is ignored once for each reason.
type onceLogger struct {
	log  *slog.Logger
	seen map[string]string // name to reason
}

// maxSeen bounds the memory of a onceLogger; the rest is ignored in silence.
const maxSeen = 1000

func newOnceLogger(log *slog.Logger) *onceLogger {
	return &onceLogger{log: log, seen: map[string]string{}}
}

func (l *onceLogger) ignored(name, why string) {
	if _, ok := l.seen[name]; !ok && len(l.seen) >= maxSeen {
		return
	}
	if l.seen[name] == why {
		return
	}
	l.seen[name] = why
	l.log.Warn("a record of a node is ignored", "name", name, "why", why)
}
