// SPDX-License-Identifier: Apache-2.0

//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package driverproc

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// processAttributes give the driver a group of its own. There is no parent-death signal
// here: a driver learns of its host's end by the lifeline and by its session.
func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// programPath is the path that was checked; a file cannot be executed by its descriptor.
func (r *Runner) programPath(int) (string, error) { return r.file.Name(), nil }

// awaitZombie returns when the process has ended, and leaves it unreaped.
func awaitZombie(pid int) bool {
	queue, err := unix.Kqueue()
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(queue) }()
	var watch unix.Kevent_t
	unix.SetKevent(&watch, pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	watch.Fflags = unix.NOTE_EXIT
	events := make([]unix.Kevent_t, 1)
	for {
		// A process that has ended already is reported as one that is not there.
		_, err := unix.Kevent(queue, []unix.Kevent_t{watch}, events, nil)
		if !errors.Is(err, unix.EINTR) {
			return true
		}
	}
}

// processStartTime is not known; a lock alone tells live directories from dead ones.
func processStartTime(int) uint64 { return 0 }

func bootID() string { return "" }

// ended is not known.
func ended(int) bool { return false }

func pidNamespace() string { return "" }
