// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parleymq/parley/internal/procfs"
)

const (
	// strayRounds bounds how often the processes are looked at again: one that is about to be
	// killed may start another.
	strayRounds = 5
	strayPause  = 5 * time.Millisecond
	// strayTime bounds it all.
	strayTime = time.Second
)

// killMarked kills the processes that were started in the environment of one driver process,
// whatever group or session they are in now, and returns how many.
func killMarked(ctx context.Context, dir string) int {
	return killWhere(ctx, func(e procfs.Environ) bool { return e.Get(DriverDirVariable) == dir })
}

// killStrays kills the processes below base whose host is dead, and returns how many. The host is
// named by its process id, start time, boot and namespace of process ids: a mark that was made in
// a container says nothing outside of it.
func killStrays(ctx context.Context, base string) int {
	return killWhere(ctx, func(e procfs.Environ) bool {
		if !strings.HasPrefix(e.Get(DriverDirVariable), base+"/") {
			return false
		}
		host, ok := parseMark(e.Get(HostProcessVariable))
		return ok && !host.alive()
	})
}

// killWhere kills all processes whose environment fits, but this one. Only those that this
// process may look into are seen: of its own user, or all for root.
func killWhere(ctx context.Context, fits func(procfs.Environ) bool) int {
	ctx, cancel := context.WithTimeout(ctx, strayTime)
	defer cancel()
	killed := make(map[int]bool)
	for range strayRounds {
		found := false
		for _, pid := range procfs.Pids() {
			if ctx.Err() != nil {
				return len(killed)
			}
			if pid == os.Getpid() || !fits(procfs.ReadEnviron(pid)) {
				continue
			}
			found = true
			if killIf(pid, fits) {
				killed[pid] = true
			}
		}
		if !found {
			break
		}
		select {
		case <-time.After(strayPause):
		case <-ctx.Done():
		}
	}
	return len(killed)
}

// killIf kills a process if its environment fits. A descriptor of the process is opened first:
// what is read after that is of the process that the signal reaches, or the signal reaches none.
func killIf(pid int, fits func(procfs.Environ) bool) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return false
	}
	if err != nil {
		return killByStart(pid, fits)
	}
	defer func() { _ = unix.Close(fd) }()
	return fits(procfs.ReadEnviron(pid)) && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil
}

// killByStart is killIf for kernels that know no descriptors of processes.
func killByStart(pid int, fits func(procfs.Environ) bool) bool {
	before := processStartTime(pid)
	return before != 0 && fits(procfs.ReadEnviron(pid)) && processStartTime(pid) == before &&
		syscall.Kill(pid, syscall.SIGKILL) == nil
}
