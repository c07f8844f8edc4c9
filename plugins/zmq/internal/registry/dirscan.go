// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// dirEntry is what is known of one file.
type dirEntry struct {
	stat fileStat
	// seen is when it had this time first, by our clock: no file is younger than that.
	seen time.Time
	// unsure: the file may have been replaced since by one that looks the same.
	unsure bool
	text   []byte
	file   *recordFile // nil for what is no record
	gone   bool        // its process has ended
	// missing is when it was first not there any more, zero while it is.
	missing time.Time
}

const (
	// fineTick and coarseTick are longer than the steps in which file systems keep times, those
	// with fractions of seconds and those without.
	fineTick   = 100 * time.Millisecond
	coarseTick = 2 * time.Second
	// missingFor is how long a file is missed before it counts as withdrawn: who deletes the
	// directory deletes the files one by one.
	missingFor = 100 * time.Millisecond
)

// scan looks at every file and reads those that changed.
func (s *dirStore) scan() error {
	before, err := s.files.stat()
	if err != nil {
		return s.failed("use", err)
	}
	names, err := s.files.list()
	if err != nil {
		return s.failed("list", err)
	}
	if len(names) == maxDirEntries {
		s.log.ignored(s.files.path, "the directory has very many files: some are not seen")
	}
	s.dirTime, s.unsure = before.mtime, s.mayHide(before.mtime)
	present := make(map[string]bool, len(names))
	for _, name := range names {
		if node, ok := nodeOfName(name); ok {
			if s.rec == nil || node != s.rec.Node {
				present[node] = s.visit(node, name)
			}
		} else {
			s.foreign(name)
		}
	}
	s.settle(present)
	return nil
}

// mayHide tells whether a file, or the directory, could change now and keep this time.
func (s *dirStore) mayHide(mtime time.Time) bool {
	if !s.clock.known() {
		return true
	}
	tick := fineTick
	if mtime.Nanosecond() == 0 {
		tick = coarseTick
	}
	return s.clock.now().Sub(mtime) < tick
}

// visit looks at one file and returns whether it is there.
func (s *dirStore) visit(node, name string) bool {
	info, err := os.Lstat(filepath.Join(s.files.path, name))
	if err != nil {
		return false
	}
	if why := s.files.check(info); why != "" {
		s.log.ignored(name, why)
		return false
	}
	e := s.entries[node]
	if e == nil {
		e = &dirEntry{}
	}
	if st := statOf(info); e.stat == st && !e.unsure {
		e.missing = time.Time{}
		return true
	}
	text, st, why, err := s.files.read(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false
	case err != nil:
		why = err.Error()
	}
	if why != "" {
		s.log.ignored(name, why)
		return false
	}
	e.take(name, text, st, s.log)
	e.unsure = s.mayHide(st.mtime)
	s.entries[node] = e
	return true
}

// take remembers what was read.
func (e *dirEntry) take(name string, text []byte, st fileStat, log *onceLogger) {
	if !e.stat.mtime.Equal(st.mtime) || e.seen.IsZero() {
		e.seen = time.Now()
	}
	e.stat, e.missing, e.gone = st, time.Time{}, false
	if e.text != nil && bytes.Equal(e.text, text) {
		return
	}
	file, err := parseRecordFile(name, text)
	if err != nil {
		log.ignored(name, err.Error())
	}
	e.file, e.text = file, text
}

// foreign says once what a file is not, and removes what a node left that ended while it wrote.
func (s *dirStore) foreign(name string) {
	if !strings.HasPrefix(name, hiddenPrefix) {
		s.log.ignored(name, "it is not named as the record of a node")
		return
	}
	if !strings.HasPrefix(name, tempPrefix) || !s.clock.known() {
		return
	}
	path := filepath.Join(s.files.path, name)
	st, err := os.Lstat(path)
	if err == nil && s.files.check(st) == "" && s.clock.now().Sub(st.ModTime()) > 2*s.ttl {
		_ = os.Remove(path)
	}
}

// settle drops entries whose files are not there, but not those that went all together.
func (s *dirStore) settle(present map[string]bool) {
	now := time.Now()
	for node, e := range s.entries {
		if present[node] {
			continue
		}
		if e.missing.IsZero() {
			e.missing = now
		}
		// A dead one is missed by nobody.
		if now.Before(s.graceUntil) && !e.gone && now.Sub(e.missing) < s.ttl || now.Sub(e.missing) < missingFor {
			s.unsure = true
			continue
		}
		delete(s.entries, node)
	}
}

// dropVanished finds records whose node is dead and removes the files of those that are so for
// long, or for sure.
func (s *dirStore) dropVanished() {
	looks := &processLooks{}
	for node, e := range s.entries {
		if e.file == nil || e.gone {
			continue
		}
		age := s.age(e)
		p := e.file.Process
		switch {
		case s.me.sees(p):
			// The thorough look is dearer; it finds a process whose id another one has now.
			e.gone = looks.vanished(p) || age > s.ttl/renewals && looks.ended(p)
		case age > s.ttl*2/renewals:
			e.gone = s.refused(e.file)
		}
		if e.gone || e.missing.IsZero() && age > 2*s.ttl {
			e.gone = true
			s.log.log.Debug("the record of a dead node is removed", "node", node, "name", e.file.Record.Name, "age", age)
			_ = s.files.remove(node) // what cannot be removed is as harmless as before
		}
	}
}

// age is how long ago a record was renewed.
func (s *dirStore) age(e *dirEntry) time.Duration {
	if !e.missing.IsZero() {
		return time.Since(e.missing) // its file is not there to be renewed
	}
	observed := time.Since(e.seen)
	if !s.clock.known() || time.Now().Before(s.clock.settleUntil) {
		return observed
	}
	return max(observed, s.clock.now().Sub(e.stat.mtime))
}

// refused tells that a node which is late listens to sockets of this machine alone, and that
// nobody answers there. It is for containers that do not see each other's processes.
func (s *dirStore) refused(file *recordFile) bool {
	if s.me.Host == "" || file.Process.Host != s.me.Host || len(file.Record.Endpoints) == 0 {
		return false
	}
	for _, endpoint := range file.Record.Endpoints {
		path, ok := strings.CutPrefix(endpoint, schemeIPC)
		if !ok || !isAbandoned(path) {
			return false
		}
	}
	return true
}

// publish shows the records that live.
func (s *dirStore) publish() {
	records := make(map[string]*Record, len(s.entries))
	for node, e := range s.entries {
		if e.file == nil || e.gone || s.age(e) > s.ttl {
			continue
		}
		if s.rec != nil && node == s.rec.Node {
			continue
		}
		records[node] = &e.file.Record
	}
	s.board.show(records, nil)
}
