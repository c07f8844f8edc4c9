// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// processAttributes give the driver a group of its own, so that Ctrl-C at the terminal is
// the host's to handle and a kill reaches the driver's children; and have the kernel kill
// the driver when the host dies, even a driver that is stopped.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// programPath makes the link through which the open file is executed.
func (r *Runner) programPath(fd int) (string, error) {
	link := filepath.Join(r.dir.path, linkName(r.file.Name()))
	return link, os.Symlink("/proc/self/fd/"+strconv.Itoa(fd), link)
}

// awaitZombie returns when the process has ended, and leaves it unreaped. It reports false
// when the process is no child any more: somebody else in this process reaps all children,
// as the first process of a container does.
func awaitZombie(pid int) bool {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err == nil
		}
	}
}
