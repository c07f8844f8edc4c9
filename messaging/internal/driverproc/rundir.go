// SPDX-License-Identifier: Apache-2.0

//go:build unix

package driverproc

import (
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
	// HostPrefix begins the names of directories of hosts, for CreateNamed.
	HostPrefix = "h-"
	// newDirPrefix marks a directory that is not yet locked by its owner.
	newDirPrefix = ".new-"
	// newDirAge is when an unfinished directory counts as left behind.
	newDirAge = time.Minute
	ownerFile = "owner"
	// removeRetries is how often the removal of a directory is tried again.
	removeRetries = 3
	// socketSpace is what go-plugin appends to a driver's directory: a directory and a socket,
	// each with a random number of up to ten digits.
	socketSpace = len("/plugin-dir4294967295/plugin4294967295")
	// maxSocketPath keeps clear of the shortest limit of a socket's address, 104 bytes.
	maxSocketPath = 100
)

// Base is the directory of this user that holds one directory for each driver process.
type Base struct{ path string }

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

// Dir is a private directory that belongs to one process: it is locked for as long as that
// process lives, and the next sweep removes it when it was left behind.
type Dir struct {
	path string
	// lock is the open directory. Unlike a process id the lock is also right between containers
	// that share the directory, and systemd-tmpfiles leaves a locked directory alone.
	lock *os.File
	// guard removes the directory when this process is gone; nil for that of a driver process,
	// whose guard does more, and where there is no shell.
	guard *guard
}

// Path is the directory's path, absolute and without symbolic links.
func (d *Dir) Path() string { return d.path }

// CreateNamed makes a directory whose name begins with prefix, a letter and "-". A guard beside
// this process removes it when this process is gone.
func (b *Base) CreateNamed(prefix string) (*Dir, error) {
	if !hasKind(prefix) || len(prefix) != len(runDirPrefix) {
		return nil, driver.Errorf(driver.ReasonInternal, "%q is no prefix of a private directory", prefix)
	}
	fresh, path := b.newNames(prefix)
	g, err := guardDir(path, fresh)
	if err != nil {
		g = nil // the next sweep removes the directory
	}
	d, err := makeDir(fresh, path)
	if err != nil {
		g.dismiss()
		return nil, err
	}
	d.guard = g
	return d, nil
}

// create makes the directory of a driver process. Its guard is started later, for it needs the
// process.
func (b *Base) create() (*Dir, error) { return makeDir(b.newNames(runDirPrefix)) }

func (b *Base) newNames(prefix string) (fresh, path string) {
	return filepath.Join(b.path, newRunName(newDirPrefix)), filepath.Join(b.path, newRunName(prefix))
}

// makeDir makes a directory. It gets its name when it is complete and locked, so that a sweeper
// never takes a new one for one left behind.
func makeDir(fresh, path string) (*Dir, error) {
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return nil, runDirError(fresh, err)
	}
	lock, err := prepareDir(fresh)
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		closeAll(lock)
		_ = os.RemoveAll(fresh) // or the sweeper does it
		return nil, runDirError(path, err)
	}
	return &Dir{path: path, lock: lock}, nil
}

// hasKind reports whether a name begins as those of complete directories do.
func hasKind(name string) bool {
	return len(name) >= 2 && name[0] >= 'a' && name[0] <= 'z' && name[1] == '-'
}

// prepareDir locks the directory and writes its owner down.
func prepareDir(path string) (*os.File, error) {
	lock, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	err = lockFresh(lock)
	if err == nil {
		var text []byte
		if text, err = json.Marshal(self()); err == nil {
			err = os.WriteFile(filepath.Join(path, ownerFile), text, 0o600)
		}
	}
	if err != nil {
		closeAll(lock)
		return nil, err
	}
	return lock, nil
}

// lockFresh locks a directory that was just made. Who sweeps may be looking at it, for a moment.
func lockFresh(dir *os.File) error {
	for deadline := time.Now().Add(time.Second); ; {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			return err
		}
		<-time.After(time.Millisecond)
	}
}

// newRunName has 40 random bits: short, for a socket's address has little room.
func newRunName(prefix string) string { return prefix + strings.ToLower(rand.Text()[:8]) }

// Remove deletes the directory with all that is in it, then gives up the lock. It is called once.
func (d *Dir) Remove() error {
	err := os.RemoveAll(d.path)
	for range removeRetries {
		if errors.Is(err, unix.ENOTEMPTY) { // somebody, as go-plugin at its start, was just making something
			err = os.RemoveAll(d.path)
		}
	}
	d.guard.dismiss()
	return errors.Join(err, d.lock.Close())
}
