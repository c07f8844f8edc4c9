// SPDX-License-Identifier: Apache-2.0

//go:build unix

package driverfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parleymq/parley/plugin/driver"
)

// OpenVerified opens a driver's program as OpenTrusted does, and checks that it has the checksum
// that is recorded for it. The checksum is that of the open file returned, which is the one to
// execute, whatever its path names by then. With TrustLock a file that is not recorded is.
func OpenVerified(c Candidate, t Trust) (*os.File, error) {
	f, err := OpenTrusted(c.Path)
	if err != nil {
		return nil, err
	}
	if err := t.verify(c, f); err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return f, nil
}

func (t Trust) verify(c Candidate, f *os.File) error {
	if t.Mode == TrustOff {
		return nil
	}
	lock, err := t.lockFile(os.Getenv)
	if err != nil {
		if t.Mode == TrustRequire {
			return err
		}
		t.tellUnrecorded(err)
		return nil
	}
	content, err := lock.read()
	if err != nil {
		return t.tolerateUnread(lock, err)
	}
	found, err := measure(f, nil)
	if err != nil {
		return err
	}
	return t.compare(subjectOf(c, f), found, lock, content)
}

// subject is a file under the names by which it is recorded: that of the file itself, and where it
// was found when that is a symbolic link, so that a link cannot be turned to another file unseen.
type subject struct {
	Candidate
	paths []string // the file itself comes first
}

func subjectOf(c Candidate, f *os.File) subject {
	s := subject{Candidate: c, paths: []string{f.Name()}}
	if found, err := filepath.Abs(c.Path); err == nil && found != f.Name() {
		s.paths = append(s.paths, found)
	}
	return s
}

// String names the file for people.
func (s subject) String() string {
	if len(s.paths) == 1 {
		return s.paths[0]
	}
	return s.paths[1] + " (a link to " + s.paths[0] + ")"
}

// known returns the entries of the file. One that has another checksum is in changed.
func (s subject) known(content lockContent, found Checksum) (known []LockEntry, changed *LockEntry) {
	for _, path := range s.paths {
		entry, ok := content.find(path)
		if !ok {
			continue
		}
		known = append(known, entry)
		if entry.Checksum != found {
			changed = &entry
		}
	}
	return known, changed
}

// compare judges a file, given what is recorded.
func (t Trust) compare(s subject, found measured, lock lockFile, content lockContent) error {
	known, changed := s.known(content, found.checksum)
	switch {
	case changed != nil:
		return changedError(s, found.checksum, *changed, lock)
	case t.Mode == TrustRequire && len(known) == 0:
		return unknownError(s, found.checksum, lock)
	case t.Mode == TrustRequire || len(known) == len(s.paths):
		return nil
	}
	// Another process may have been faster; what it recorded counts.
	content, err := lock.record(newEntries(s, found, "first use"), true)
	if err != nil {
		return t.tolerate(lock, err)
	}
	if _, changed = s.known(content, found.checksum); changed != nil {
		return changedError(s, found.checksum, *changed, lock)
	}
	return nil
}

// tolerate lets a driver start whose checksum cannot be recorded, where nobody asked for that: a
// service may have no home directory, or one that it cannot write to.
func (t Trust) tolerate(lock lockFile, err error) error {
	for _, harmless := range []error{fs.ErrPermission, fs.ErrNotExist, unix.EROFS, unix.ENOTDIR} {
		if !lock.named && errors.Is(err, harmless) {
			t.tellUnrecorded(err)
			return nil
		}
	}
	return err
}

// tolerateUnread is tolerate for a default place in a directory of somebody else. A record that is
// there and cannot be read is no reason to do without it.
func (t Trust) tolerateUnread(lock lockFile, err error) error {
	if t.Mode == TrustLock && !lock.named && lock.outOfReach() {
		t.tellUnrecorded(err)
		return nil
	}
	return err
}

// newEntries are what is recorded of a file now. How is what was done with it.
func newEntries(s subject, m measured, how string) []LockEntry {
	entries := make([]LockEntry, len(s.paths))
	for i, path := range s.paths {
		entries[i] = LockEntry{
			Path: path, Name: s.Name, Version: s.Version, Checksum: m.checksum, Size: m.size,
			Recorded: time.Now().UTC().Truncate(time.Second), By: how + " by " + programName(),
		}
	}
	return entries
}

// programName is what this process was started as.
func programName() string {
	if len(os.Args) == 0 {
		return "a program without a name"
	}
	return filepath.Base(os.Args[0])
}

func changedError(s subject, found Checksum, entry LockEntry, lock lockFile) error {
	return driver.Errorf(driver.ReasonConfig, "driver %s is refused: file %s has changed: its checksum is %s, and %s was recorded on %s (%s)",
		s.Name, s, found.Short(), entry.Checksum.Short(), entry.Recorded.UTC().Format(time.RFC3339), entry.By).
		WithHint("if the new one is to be trusted, run: %s", acceptCommand(s.Candidate, lock))
}

func unknownError(s subject, found Checksum, lock lockFile) error {
	return driver.Errorf(driver.ReasonConfig, "driver %s is refused: the checksum %s of file %s is not recorded in %s",
		s.Name, found.Short(), s, lock.path).
		WithHint("if it is to be trusted, run: %s", acceptCommand(s.Candidate, lock))
}

// acceptCommand is the command that accepts a file, wherever it is typed: the environment of a
// service is not that of the one who pastes it.
func acceptCommand(c Candidate, lock lockFile) string {
	words := []string{"parley drivers accept"}
	if lock.named {
		words = append(words, "--lock-file", ShellQuote(lock.path))
	}
	switch {
	case c.Dir.Path == "" || c.pinned:
		words = append(words, ShellQuote(c.Path))
	case c.Dir.Origin == originUser || c.Dir.Origin == originSystem:
		words = append(words, c.Name)
	default:
		words = append(words, "--driver-path", ShellQuote(c.Dir.Path), c.Name)
	}
	return strings.Join(words, " ")
}
