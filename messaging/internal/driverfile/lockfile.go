// SPDX-License-Identifier: Apache-2.0

//go:build unix

package driverfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/parleymq/parley/plugin/driver"
)

const (
	// lockFormat is the number of the format that is read and written.
	lockFormat = 1
	// maxLockFile bounds the file, some thousands of drivers.
	maxLockFile = 1 << 20
)

// lockFile is the file that holds the checksums of drivers. It is JSON, sorted by path, with one
// line for each value, so that people can read and compare it.
type lockFile struct {
	path  string
	named bool // by an option or a variable; otherwise it is the default
}

// lockContent is what the file holds.
type lockContent struct {
	Format  int         `json:"format"`
	Drivers []LockEntry `json:"drivers"`
}

// LockEntry is what is recorded of one file.
type LockEntry struct {
	// Path is that of the file, or of a symbolic link to it that is found as a driver.
	Path     string   `json:"path"`
	Name     string   `json:"name"`
	Version  string   `json:"version,omitempty"`
	Checksum Checksum `json:"checksum"`
	Size     int64    `json:"size"`
	// Recorded is when, and By how: "first use by PROGRAM", "accepted by PROGRAM".
	Recorded time.Time `json:"recorded"`
	By       string    `json:"by"`
}

func (e LockEntry) check() error {
	switch {
	case !filepath.IsAbs(e.Path):
		return fmt.Errorf("%q is not an absolute path", e.Path)
	case !e.Checksum.valid():
		return fmt.Errorf("%q, of %s, is not a checksum", e.Checksum, e.Path)
	case e.Recorded.IsZero():
		return fmt.Errorf("the entry of %s does not say when it was recorded", e.Path)
	default:
		return nil
	}
}

// find returns the entry of a path.
func (c lockContent) find(path string) (LockEntry, bool) {
	i := slices.IndexFunc(c.Drivers, func(e LockEntry) bool { return e.Path == path })
	if i < 0 {
		return LockEntry{}, false
	}
	return c.Drivers[i], true
}

// has reports whether there is an entry for the path of e.
func (c lockContent) has(e LockEntry) bool {
	_, ok := c.find(e.Path)
	return ok
}

// with has the entries in the place of those with the same paths, and drops what is recorded of
// files that are no more.
func (c lockContent) with(entries []LockEntry) lockContent {
	next := lockContent{Format: lockFormat, Drivers: slices.Clone(entries)}
	for _, other := range c.Drivers {
		if _, err := os.Lstat(other.Path); !next.has(other) && !errors.Is(err, fs.ErrNotExist) {
			next.Drivers = append(next.Drivers, other)
		}
	}
	slices.SortFunc(next.Drivers, func(a, b LockEntry) int { return strings.Compare(a.Path, b.Path) })
	return next
}

// read returns what is recorded; nothing when there is no file. A file that is not understood,
// or that others can write to, is an error: it is neither believed nor replaced.
func (l lockFile) read() (lockContent, error) {
	content, _, err := l.readWithMode()
	return content, err
}

func (l lockFile) readWithMode() (lockContent, fs.FileMode, error) {
	f, err := openChecked(l.path, checkLockFile)
	if errors.Is(err, fs.ErrNotExist) {
		return lockContent{Format: lockFormat}, 0o600, nil
	}
	if err != nil {
		return lockContent{}, 0, l.failed("cannot be used", err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	info, err := f.Stat()
	if err != nil {
		return lockContent{}, 0, l.failed("cannot be read", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxLockFile+1))
	if err != nil {
		return lockContent{}, 0, l.failed("cannot be read", err)
	}
	content, err := decodeLock(text)
	if err != nil {
		return lockContent{}, 0, driver.Errorf(driver.ReasonConfig, "the lock file %s is not understood: %w", l.path, err).
			WithHint("restore it; or remove it, and all drivers are unknown again: rm %s", ShellQuote(l.path))
	}
	return content, info.Mode().Perm(), nil
}

// outOfReach reports that the user of this process cannot look into the directory, nor make it.
func (l lockFile) outOfReach() bool {
	fd, err := openFD(unix.AT_FDCWD, filepath.Dir(l.path), unix.O_DIRECTORY)
	if err == nil {
		closeFD(fd)
	}
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENOTDIR)
}

// checkLockFile refuses a file of checksums that others could have written.
func checkLockFile(fd int, path string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return cannotOpen(path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return driver.Errorf(driver.ReasonConfig, "%s is not a regular file", path)
	}
	return checkOwner("file", path, &st)
}

// failed says what of the lock file did not work, and what to do.
func (l lockFile) failed(what string, err error) error {
	cause := driver.AsError(err)
	e := driver.Errorf(driver.ReasonConfig, "the lock file %s %s: %s", l.path, what, cause.Message)
	e.Hint, e.Err = cause.Hint, err
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return e.WithHint("the user of this process must own it; or set %s to another file", LockFileVariable)
	}
	return e
}

func decodeLock(text []byte) (lockContent, error) {
	var c lockContent
	if len(text) > maxLockFile {
		return c, fmt.Errorf("it is larger than %d bytes", maxLockFile)
	}
	// What a later version has added would be lost with the next entry.
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return c, fmt.Errorf("it is not the JSON that is expected: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return c, errors.New("something follows the JSON")
	}
	if c.Format != lockFormat {
		return c, fmt.Errorf("its format is %d, and this version knows %d", c.Format, lockFormat)
	}
	seen := make(map[string]bool, len(c.Drivers))
	for _, e := range c.Drivers {
		if err := e.check(); err != nil {
			return c, err
		}
		if seen[e.Path] {
			return c, fmt.Errorf("it has two entries for %s", e.Path)
		}
		seen[e.Path] = true
	}
	return c, nil
}

func (c lockContent) encode() ([]byte, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(c); err != nil {
		return nil, err
	}
	if text.Len() > maxLockFile {
		return nil, fmt.Errorf("it would be larger than %d bytes", maxLockFile)
	}
	return text.Bytes(), nil
}

// record puts entries into the file; with keep only those for whose paths there are none yet. It
// returns what the file held before, and holds still where nothing was put.
func (l lockFile) record(entries []LockEntry, keep bool) (before lockContent, err error) {
	for _, e := range entries {
		if !utf8.ValidString(e.Path) {
			return before, driver.Errorf(driver.ReasonConfig, "the path %q is not UTF-8 and cannot be recorded", e.Path).
				WithHint("give the file and its directories other names")
		}
	}
	guard, err := l.lock()
	if err != nil {
		return before, err
	}
	defer guard.Close() //nolint:errcheck // closing lets go of the lock
	before, mode, err := l.readWithMode()
	if err != nil {
		return before, err
	}
	if keep {
		entries = slices.DeleteFunc(slices.Clone(entries), before.has)
	}
	if len(entries) == 0 {
		return before, nil
	}
	text, err := before.with(entries).encode()
	if err == nil {
		err = replaceFile(l.path, l.path+".new", text, mode)
	}
	if err != nil {
		return before, l.failed("cannot be written", err)
	}
	return before, nil
}

// replaceFile writes a file aside and renames it, so that it is there as a whole or as it was.
// Only one process may use the name of the file aside at a time.
func replaceFile(path, aside string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(aside, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(aside))
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename last.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// How long another process is waited for that writes the file, and how often it is asked.
const (
	lockWait  = 10 * time.Second
	lockPause = 5 * time.Millisecond
)

// lock keeps other processes from writing until the file returned is closed. The file beside
// is locked and not the one with the checksums, which is replaced each time.
func (l lockFile) lock() (*os.File, error) {
	if err := l.makeDir(); err != nil {
		return nil, l.failed("cannot be written", err)
	}
	path := l.path + ".guard"
	guard, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, l.failed("cannot be written", err)
	}
	deadline := time.Now().Add(lockWait)
	for {
		err := unix.Flock(int(guard.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return guard, nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			_ = guard.Close() // the first error says it
			return nil, l.failed("cannot be locked", err)
		case time.Now().After(deadline):
			_ = guard.Close() // as above
			return nil, driver.Errorf(driver.ReasonDriverGone, "the lock file %s is held by another process for more than %s", l.path, lockWait).
				WithHint("see which one with: fuser %s", ShellQuote(path))
		}
		<-time.After(lockPause)
	}
}

// makeDir makes the directory and checks it: who may write to it can replace the file.
func (l lockFile) makeDir() error {
	dir := filepath.Dir(l.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	fd, err := openFD(unix.AT_FDCWD, dir, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer closeFD(fd)
	return checkDirectory(fd, dir)
}
