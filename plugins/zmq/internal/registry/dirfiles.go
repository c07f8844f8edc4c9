// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parleymq/parley/plugin/driver"
)

const (
	recordSuffix = ".json"
	tempPrefix   = ".parley-"
	tempSuffix   = ".tmp"
	// maxDirEntries bounds what is read of a directory.
	maxDirEntries = 20_000
	// maxNamespace leaves room in the name of a file.
	maxNamespace = 200
)

// recordDir is a directory of records.
type recordDir struct {
	path string
	// private: it has to be this user's alone, and no symbolic link. Its parent is below base.
	private bool
	base    string
	// insecure takes the files of other users as well.
	insecure bool
}

// chooseDir finds the directory that o asks for.
func chooseDir(o Options) (recordDir, error) {
	d := recordDir{insecure: o.Insecure}
	if o.HasPath && o.Path != "" && o.Path != "/" {
		if !filepath.IsAbs(o.Path) {
			return d, driver.Errorf(driver.ReasonConfig, "the directory of nodes %q is no absolute path", o.Path).
				WithHint("write zmq:///path/to/directory")
		}
		d.path = filepath.Clean(o.Path)
	} else {
		d.private = true
		d.base, d.path = defaultDir(os.Getenv)
	}
	if o.Namespace != "" {
		name := "ns-" + url.PathEscape(o.Namespace)
		if len(name) > maxNamespace {
			return d, driver.Errorf(driver.ReasonConfig, "the virtual host has %d bytes, too many for the name of a directory", len(o.Namespace)).
				WithHint("choose a shorter one")
		}
		d.path = filepath.Join(d.path, name)
	}
	return d, nil
}

// defaultDir returns this user's own directory and the one that it is in. XDG_RUNTIME_DIR often
// is another user's after su.
func defaultDir(env func(string) string) (base, dir string) {
	if base = env("XDG_RUNTIME_DIR"); filepath.IsAbs(base) && isOwn(base) {
		return base, filepath.Join(base, "parley", "zmq")
	}
	if base, _ = filepath.Abs(os.TempDir()); base == "" {
		base = "/tmp"
	}
	return base, filepath.Join(base, fmt.Sprintf("parley-%d", os.Geteuid()), "zmq")
}

func isOwn(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir() && ownerOf(st) == os.Geteuid()
}

func ownerOf(st fs.FileInfo) int {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return int(sys.Uid)
	}
	return -1
}

// prepare makes the directory.
func (d recordDir) prepare() error {
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return d.unusable(err)
	}
	_, err := d.stat()
	return err
}

func (d recordDir) unusable(err error) error {
	reason := driver.ReasonConfig
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ESTALE) {
		reason = driver.ReasonNotConnected // waiting may heal it
	}
	return driver.Errorf(reason, "the directory of nodes %s cannot be used: %w", d.path, err).
		WithHint("name one that this user can write: zmq:///path/to/directory")
}

// stat looks at the directory. That it is missing is fs.ErrNotExist.
func (d recordDir) stat() (fileStat, error) {
	if d.private {
		for dir := filepath.Dir(d.path); len(dir) > len(d.base); dir = filepath.Dir(dir) {
			if _, err := checkPrivate(dir); err != nil {
				return fileStat{}, err
			}
		}
		return checkPrivate(d.path)
	}
	st, err := os.Stat(d.path)
	if err != nil {
		return fileStat{}, err
	}
	if !st.IsDir() {
		return fileStat{}, d.unusable(syscall.ENOTDIR)
	}
	return statOf(st), nil
}

// checkPrivate refuses a directory in which somebody else could put or replace a record.
func checkPrivate(path string) (fileStat, error) {
	st, err := os.Lstat(path)
	if err != nil {
		return fileStat{}, err
	}
	why := ""
	switch {
	case !st.IsDir():
		why = "it is no directory"
	case ownerOf(st) != os.Geteuid():
		why = fmt.Sprintf("its owner is user %d", ownerOf(st))
	case st.Mode().Perm()&0o077 != 0:
		why = fmt.Sprintf("its mode is %04o, others may use it", st.Mode().Perm())
	}
	if why != "" {
		return fileStat{}, driver.Errorf(driver.ReasonConfig, "the directory %s cannot be trusted: %s", path, why).
			WithHint("remove it or run chmod 0700 on it, or name another one: zmq:///path/to/directory")
	}
	return statOf(st), nil
}

// fileID tells files apart that exist at the same time.
type fileID struct{ dev, ino uint64 }

// fileStat is what is compared of a file.
type fileStat struct {
	id    fileID
	size  int64
	mtime time.Time
}

func statOf(st fs.FileInfo) fileStat {
	s := fileStat{size: st.Size(), mtime: st.ModTime()}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		s.id = fileID{dev: uint64(sys.Dev), ino: sys.Ino} //nolint:unconvert // another type elsewhere
	}
	return s
}

func (d recordDir) record(node string) string { return filepath.Join(d.path, node+recordSuffix) }

func (d recordDir) temp(node string) string {
	return filepath.Join(d.path, tempPrefix+node+tempSuffix)
}

// write puts the file of a node in place, whole or not at all.
func (d recordDir) write(node string, text []byte) (fileStat, error) {
	d.removeTemp(node)
	temp := d.temp(node)
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fileStat{}, err
	}
	_, err = f.Write(text)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temp, d.record(node))
	}
	if err != nil {
		d.removeTemp(node)
		return fileStat{}, err
	}
	return d.statRecord(node)
}

func (d recordDir) removeTemp(node string) { _ = os.Remove(d.temp(node)) }

func (d recordDir) remove(node string) error { return os.Remove(d.record(node)) }

// statRecord looks at the file of a node, which has to be a regular one.
func (d recordDir) statRecord(node string) (fileStat, error) {
	st, err := os.Lstat(d.record(node))
	if err != nil {
		return fileStat{}, err
	}
	if !st.Mode().IsRegular() {
		return fileStat{}, fmt.Errorf("%s is no file", d.record(node))
	}
	return statOf(st), nil
}

// touch gives the file of a node the present time of the directory's own clock.
func (d recordDir) touch(node string) (fileStat, error) {
	if err := unix.Utimes(d.record(node), nil); err != nil {
		return fileStat{}, err
	}
	return d.statRecord(node)
}

// probe reads the directory's own clock off a new file.
func (d recordDir) probe() (fileStat, error) {
	name := tempPrefix + rand.Text()
	st, err := d.write(name, []byte("\n"))
	_ = d.remove(name)
	return st, err
}

// list returns the names in the directory, of at most maxDirEntries.
func (d recordDir) list() ([]string, error) {
	f, err := os.Open(d.path)
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(maxDirEntries)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return names, err
}

// check says why the file of a node is not to be read, or "".
func (d recordDir) check(st fs.FileInfo) (why string) {
	owner := ownerOf(st)
	switch {
	case !st.Mode().IsRegular():
		return "it is no regular file"
	case owner != os.Geteuid() && owner != 0 && !d.insecure:
		return fmt.Sprintf("its owner is user %d", owner)
	case st.Size() > maxRecordBytes:
		return fmt.Sprintf("it is larger than %d bytes", maxRecordBytes)
	default:
		return ""
	}
}

// read reads the file of a node and never blocks on something else of that name. why is set for
// what is no record.
func (d recordDir) read(name string) (text []byte, st fileStat, why string, err error) {
	f, err := openRegular(filepath.Join(d.path, name), syscall.O_NOFOLLOW)
	if err != nil {
		return nil, fileStat{}, "", err
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, fileStat{}, "", err
	}
	if why := d.check(info); why != "" {
		return nil, statOf(info), why, nil
	}
	text, err = io.ReadAll(io.LimitReader(f, maxRecordBytes))
	return text, statOf(info), "", err
}

// openRegular opens a file to read it. What is no regular file fails or can be told by Stat, and
// does not block.
func openRegular(path string, flags int) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|flags, 0)
}

// recordFile is what a file holds.
type recordFile struct {
	Record  Record  `json:"record"`
	Process process `json:"process"`
}

func encodeRecordFile(rec *Record, p process) ([]byte, error) {
	text, err := json.Marshal(recordFile{Record: *rec, Process: p})
	if err == nil && len(text) >= maxRecordBytes {
		err = fmt.Errorf("it has %d bytes, more than %d", len(text), maxRecordBytes)
	}
	if err != nil {
		return nil, driver.Errorf(driver.ReasonConfig, "announce this node: its record does not fit: %w", err).
			WithHint("listen to fewer targets in one process")
	}
	return append(text, '\n'), nil
}

// parseRecordFile reads the text of the file name, which may be anything.
func parseRecordFile(name string, text []byte) (*recordFile, error) {
	file := &recordFile{}
	if err := json.Unmarshal(bytes.TrimSpace(text), file); err != nil {
		return nil, err
	}
	if err := checkRecord(&file.Record); err != nil {
		return nil, err
	}
	if file.Record.Node+recordSuffix != name {
		return nil, fmt.Errorf("it is the record of node %s", file.Record.Node)
	}
	trimRecord(&file.Record)
	file.Record.Targets = slices.Clip(file.Record.Targets)
	return file, nil
}

// nodeOfName returns whose record a file of that name is.
func nodeOfName(name string) (node string, ok bool) {
	node, ok = strings.CutSuffix(name, recordSuffix)
	return node, ok && isNodeID(node)
}
