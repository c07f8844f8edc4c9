// SPDX-License-Identifier: Apache-2.0

//go:build unix

package driverproc

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parleymq/parley/messaging/internal/driverfile"
	"github.com/parleymq/parley/plugin/driver"
)

// RuntimeDirVariable names the environment variable with the directory for sockets.
const RuntimeDirVariable = "PARLEY_RUNTIME_DIR"

const (
	runDirPrefix = "d-"
	// newDirPrefix marks a directory that is not yet locked by its owner.
	newDirPrefix = ".new-"
	// newDirAge is when an unfinished directory counts as left behind.
	newDirAge = time.Minute
	ownerFile = "owner"
	// socketSpace is what go-plugin appends to a driver's directory: a directory and a socket,
	// each with a random number of up to ten digits.
	socketSpace = len("/plugin-dir4294967295/plugin4294967295")
	// maxSocketPath keeps clear of the shortest limit of a socket's address, 104 bytes.
	maxSocketPath = 100
)

// Base is the directory of this user that holds one directory for each driver process.
type Base struct{ path string }

// runOwner is written into each directory: the process that made it.
type runOwner struct {
	PID       int    `json:"pid"`
	StartTime uint64 `json:"start_time"`
	Boot      string `json:"boot,omitempty"`
}

// OpenBase finds the directory: the option, PARLEY_RUNTIME_DIR, systemd's
// RUNTIME_DIRECTORY, XDG_RUNTIME_DIR, or the one for temporary files. What somebody asked
// for by name must work; the others are passed over when they do not, since XDG_RUNTIME_DIR
// often is another user's after su.
func OpenBase(option string, env func(string) string) (*Base, error) {
	if option != "" {
		return newRunBase(option, true)
	}
	if dir := env(RuntimeDirVariable); dir != "" {
		return newRunBase(dir, true)
	}
	systemd, _, _ := strings.Cut(env("RUNTIME_DIRECTORY"), ":")
	var last error
	for _, dir := range []string{systemd, env("XDG_RUNTIME_DIR"), os.TempDir()} {
		if !filepath.IsAbs(dir) {
			continue
		}
		base, err := newRunBase(dir, false)
		if err == nil {
			return base, nil
		}
		last = err
	}
	if last == nil {
		last = driver.Errorf(driver.ReasonConfig, "there is no directory for the sockets of drivers").
			WithHint("set %s to a directory of your own", RuntimeDirVariable)
	}
	return nil, last
}

// newRunBase checks parent and makes this user's private directory in it.
func newRunBase(parent string, create bool) (*Base, error) {
	parent, err := filepath.Abs(parent)
	if err != nil {
		return nil, runDirError(parent, err)
	}
	if create {
		if err := os.MkdirAll(parent, 0o700); err != nil { //nolint:gosec // G703: the operator names it
			return nil, runDirError(parent, err)
		}
	}
	if parent, err = filepath.EvalSymlinks(parent); err != nil {
		return nil, runDirError(parent, err)
	}
	if err := checkRunParent(parent); err != nil {
		return nil, err
	}
	base := &Base{path: filepath.Join(parent, fmt.Sprintf("parley-%d", os.Geteuid()))}
	if err := base.checkLength(); err != nil {
		return nil, err
	}
	if err := makePrivate(base.path); err != nil {
		return nil, err
	}
	return base, nil
}

// checkRunParent refuses a directory in which others could rename ours.
func checkRunParent(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return runDirError(path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return runDirError(path, unix.ENOTDIR)
	}
	if owner := int(st.Uid); owner != 0 && owner != os.Geteuid() {
		return driver.Errorf(driver.ReasonConfig, "runtime directory %s belongs to user id %d", path, owner).
			WithHint("set %s to a directory of your own", RuntimeDirVariable)
	}
	if st.Mode&driverfile.WritableByOthers != 0 && st.Mode&unix.S_ISVTX == 0 {
		return driver.Errorf(driver.ReasonConfig, "runtime directory %s may be written by others (mode %04o)",
			path, st.Mode&0o7777).
			WithHint("run: chmod go-w %s, or set %s to a directory of your own", driverfile.ShellQuote(path), RuntimeDirVariable)
	}
	return nil
}

// checkLength refuses a path that leaves no room for a socket's name: the kernel would fail
// later, inside the driver, with a text that says nothing of it.
func (b *Base) checkLength() error {
	longest := len(b.path) + len("/") + len(newRunName(runDirPrefix)) + socketSpace
	if longest <= maxSocketPath {
		return nil
	}
	return driver.Errorf(driver.ReasonConfig, "runtime directory %s is %d bytes too long for a socket's address",
		b.path, longest-maxSocketPath).
		WithHint("set %s to a shorter one", RuntimeDirVariable)
}

// makePrivate makes path, or accepts one that is already private and ours.
func makePrivate(path string) error {
	err := os.Mkdir(path, 0o700) //nolint:gosec // G703: its parent was checked
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return runDirError(path, err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return runDirError(path, err)
	}
	private := st.Mode&unix.S_IFMT == unix.S_IFDIR && int(st.Uid) == os.Geteuid() && st.Mode&0o077 == 0
	if private {
		return nil
	}
	return driver.Errorf(driver.ReasonConfig, "%s is not a private directory of user id %d (owner %d, mode %04o)",
		path, os.Geteuid(), st.Uid, st.Mode&0o7777).
		WithHint("remove it, or set %s to a directory of your own", RuntimeDirVariable)
}

func runDirError(path string, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		path, err = pe.Path, pe.Err
	}
	return driver.Errorf(driver.ReasonConfig, "runtime directory %s: %w", path, err).
		WithHint("set %s to a directory that this process may write to", RuntimeDirVariable)
}

// runDir is the private directory of one driver process.
type runDir struct {
	path string
	// lock is the open directory, locked for as long as this process lives. Unlike a process
	// id the lock is also right between containers that share the directory, and
	// systemd-tmpfiles leaves a locked directory alone.
	lock *os.File
}

// create makes the directory. It gets its name when it is complete and locked, so that a
// sweeper never takes a new one for one left behind.
func (b *Base) create() (*runDir, error) {
	fresh := filepath.Join(b.path, newRunName(newDirPrefix))
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return nil, runDirError(fresh, err)
	}
	lock, err := prepareRunDir(fresh)
	d := &runDir{path: filepath.Join(b.path, newRunName(runDirPrefix)), lock: lock}
	if err == nil {
		err = os.Rename(fresh, d.path)
	}
	if err != nil {
		closeAll(lock)
		_ = os.RemoveAll(fresh) // or the sweeper does it
		return nil, runDirError(d.path, err)
	}
	return d, nil
}

// prepareRunDir locks the directory and writes its owner down.
func prepareRunDir(path string) (*os.File, error) {
	lock, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		var text []byte
		pid := os.Getpid()
		text, err = json.Marshal(runOwner{PID: pid, StartTime: processStartTime(pid), Boot: bootID()})
		if err == nil {
			err = os.WriteFile(filepath.Join(path, ownerFile), text, 0o600)
		}
	}
	if err != nil {
		closeAll(lock)
		return nil, err
	}
	return lock, nil
}

// newRunName has 40 random bits: short, for a socket's address has little room.
func newRunName(prefix string) string { return prefix + strings.ToLower(rand.Text()[:8]) }

// remove deletes the directory with all that is in it, then gives up the lock.
func (d *runDir) remove() error {
	err := os.RemoveAll(d.path)
	return errors.Join(err, d.lock.Close())
}

// Sweep removes directories whose owner is dead and returns how many. What cannot be
// removed is reported and does not stop the sweep.
func (b *Base) Sweep(ctx context.Context) (removed int, err error) {
	entries, err := os.ReadDir(b.path)
	errs := []error{err}
	for _, entry := range entries {
		if ctx.Err() != nil {
			errs = append(errs, context.Cause(ctx))
			break
		}
		done, err := b.sweepOne(entry)
		if err != nil {
			errs = append(errs, fmt.Errorf("sweep %s: %w", filepath.Join(b.path, entry.Name()), err))
		}
		if done {
			removed++
		}
	}
	return removed, errors.Join(errs...)
}

// sweepOne removes one directory when it is left behind.
func (b *Base) sweepOne(entry fs.DirEntry) (bool, error) {
	name := entry.Name()
	ours := strings.HasPrefix(name, runDirPrefix) || strings.HasPrefix(name, newDirPrefix)
	if !ours || !entry.IsDir() {
		return false, nil
	}
	path := filepath.Join(b.path, name)
	lock, err := os.Open(path)
	if err != nil {
		return false, ignoreMissing(err)
	}
	defer closeAll(lock)
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return false, nil // its owner lives
		}
		return false, err
	}
	if !leftBehind(path, name, lock) {
		return false, nil
	}
	return true, os.RemoveAll(path)
}

// leftBehind is the second opinion, for file systems on which locks do nothing.
func leftBehind(path, name string, dir *os.File) bool {
	var owner runOwner
	text, err := os.ReadFile(filepath.Join(path, ownerFile))
	if err == nil {
		err = json.Unmarshal(text, &owner)
	}
	if err == nil {
		return !owner.alive()
	}
	if strings.HasPrefix(name, runDirPrefix) {
		return true // it had an owner file when it got this name
	}
	info, err := dir.Stat()
	return err == nil && time.Since(info.ModTime()) > newDirAge
}

// alive reports whether the very process that wrote the file runs.
func (o runOwner) alive() bool {
	started := processStartTime(o.PID)
	return started != 0 && started == o.StartTime && bootID() == o.Boot
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
