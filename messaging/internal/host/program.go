// SPDX-License-Identifier: Apache-2.0

package host

import (
	"os"

	"github.com/parleymq/parley/messaging/internal/driverfile"
	"github.com/parleymq/parley/messaging/internal/driverproc"
	"github.com/parleymq/parley/plugin/driver"
)

// program is what a process is started from.
type program struct {
	found driverfile.Candidate
	file  *os.File // nil: found is opened and checked; otherwise it was, before
	id    fileID
}

func (p program) close() {
	if p.file != nil {
		_ = p.file.Close() // it was only read
	}
}

// again returns the program with a descriptor of its own, to be started once more.
func (p program) again() (program, error) {
	if p.file == nil {
		return program{}, driver.Errorf(driver.ReasonUnsupported, "the process was not started by this host")
	}
	var err error
	p.file, err = driverproc.Duplicate(p.file)
	return p, err
}

// fileID tells a file from what was put in its place. It is zero for what cannot be read.
type fileID struct{ info os.FileInfo }

func identify(path string) fileID {
	info, err := os.Stat(path)
	if err != nil {
		return fileID{}
	}
	return fileID{info: info}
}

func (a fileID) same(b fileID) bool {
	return a.info != nil && b.info != nil && os.SameFile(a.info, b.info) &&
		a.info.ModTime().Equal(b.info.ModTime()) && a.info.Size() == b.info.Size()
}

// program is what the next process is started from: the file that is found, or the one from
// before as long as what is found failed its trial.
func (s *supervisor) program() (program, error) {
	found, err := s.host.search.Find(s.key.driver)
	r := s.rejected
	if r == nil {
		return program{found: found, id: identify(found.Path)}, err
	}
	if err == nil && !identify(found.Path).same(r.id) {
		s.rejected = nil
		r.before.close()
		return program{found: found, id: identify(found.Path)}, nil
	}
	return r.before.again()
}

// forgetPrograms closes what is kept of earlier programs.
func (s *supervisor) forgetPrograms() {
	s.endProbation()
	if s.rejected != nil {
		s.rejected.before.close()
		s.rejected = nil
	}
}
