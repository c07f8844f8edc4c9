// SPDX-License-Identifier: Apache-2.0

//go:build unix

package driverfile

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/parleymq/parley/plugin/driver"
)

// Standing is how the checksum of a file stands.
type Standing struct {
	State TrustState
	// Checksum is what the file has, Recorded what it had when it was recorded; either may be empty.
	Checksum, Recorded Checksum
	// Why says why the file is refused, and what to do.
	Why string
}

// TrustState is a Standing in a word.
type TrustState string

// The states.
const (
	// StateRecorded: the file has the checksum that is recorded.
	StateRecorded TrustState = "recorded"
	// StateNew: nothing is recorded of the file yet.
	StateNew TrustState = "new"
	// StateChanged: the file has another checksum than the one that is recorded.
	StateChanged TrustState = "changed"
	// StateUnknown: the file or the record cannot be read.
	StateUnknown TrustState = "unknown"
)

// Examine says how the file of c stands. It records nothing.
func (t Trust) Examine(c Candidate) Standing {
	f, err := OpenTrusted(c.Path)
	if err != nil {
		return Standing{State: StateUnknown, Why: sentence(err)}
	}
	defer f.Close() //nolint:errcheck // nothing was written
	found, err := measure(f, nil)
	if err != nil {
		return Standing{State: StateUnknown, Why: sentence(err)}
	}
	s := Standing{State: StateNew, Checksum: found.checksum}
	lock, err := t.lockFile(os.Getenv)
	if err != nil {
		if t.Mode == TrustRequire {
			s.Why = sentence(err)
		}
		return s
	}
	content, err := lock.read()
	if err != nil {
		return Standing{State: StateUnknown, Checksum: found.checksum, Why: sentence(err)}
	}
	return t.stand(subjectOf(c, f), found.checksum, lock, content)
}

func (t Trust) stand(s subject, found Checksum, lock lockFile, content lockContent) Standing {
	known, changed := s.known(content, found)
	st := Standing{State: StateNew, Checksum: found}
	switch {
	case changed != nil:
		st.State, st.Recorded = StateChanged, changed.Checksum
		st.Why = sentence(changedError(s, found, *changed, lock))
	case len(known) > 0:
		st.State, st.Recorded = StateRecorded, found
	case t.Mode == TrustRequire:
		st.Why = sentence(unknownError(s, found, lock))
	}
	return st
}

// Accept records the checksum that the file of c has now, and returns the one before.
func (t Trust) Accept(c Candidate) (Standing, error) {
	lock, err := t.lockFile(os.Getenv)
	if err != nil {
		return Standing{}, err
	}
	f, err := OpenTrusted(c.Path)
	if err != nil {
		return Standing{}, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	found, err := measure(f, nil)
	if err != nil {
		return Standing{}, err
	}
	file := subjectOf(c, f)
	before, err := lock.record(newEntries(file, found, "accepted"), false)
	if err != nil {
		return Standing{}, err
	}
	return Standing{State: StateRecorded, Checksum: found.checksum, Recorded: file.recorded(before, found.checksum)}, nil
}

// recorded is the checksum that was recorded before, the other one where there were two.
func (s subject) recorded(before lockContent, now Checksum) Checksum {
	known, changed := s.known(before, now)
	switch {
	case changed != nil:
		return changed.Checksum
	case len(known) > 0:
		return now
	default:
		return ""
	}
}

// sentence is an error's message and hint without its reason.
func sentence(err error) string {
	e := driver.AsError(err)
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + "; " + e.Hint
}

// At makes a Candidate of a path that somebody named.
func At(path string) (Candidate, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return Candidate{}, cannotOpen(path, err)
	}
	name, version, ok := splitFileName(filepath.Base(abs))
	if !ok {
		return Candidate{}, misnamed(abs)
	}
	return Candidate{Name: name, Version: version, Path: abs, Status: Chosen}, nil
}

// IsPath tells a file from a driver's name.
func IsPath(text string) bool { return strings.ContainsRune(text, filepath.Separator) }

func misnamed(path string) *driver.Error {
	return driver.Errorf(driver.ReasonConfig, "%s is not a driver's file name", path).
		WithHint("name it %sNAME or %sNAME_vX.Y.Z, where NAME has lower-case letters, digits and dashes", Prefix, Prefix)
}
