// SPDX-License-Identifier: Apache-2.0

//go:build unix

package driverproc

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/parleymq/parley/messaging/internal/driverfile"
	"github.com/parleymq/parley/plugin/driver"
)

// open opens the program and checks it. One that ran before was checked then.
func (s Spec) open() (*os.File, error) {
	if s.Program != nil {
		return s.Program, nil
	}
	return driverfile.OpenVerified(s.Driver, s.Trust)
}

// OpenProgram returns the file that the process was started from, to start it once more: by
// then its path may name another one. The caller closes it.
func (r *Runner) OpenProgram() (*os.File, error) { return Duplicate(r.file) }

// Duplicate returns a descriptor of its own for an open file. The caller closes it, or gives it
// to a Spec.
func Duplicate(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, driver.Errorf(driver.ReasonInternal, "the program %s cannot be opened again: %w", f.Name(), err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// Program is the path of the program, without symbolic links.
func (r *Runner) Program() string { return r.file.Name() }
