// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// resources are the limits with the numbers that the kernel knows them by.
func (l Limits) resources() map[int]uint64 {
	all := map[int]uint64{
		unix.RLIMIT_NOFILE: l.OpenFiles,
		unix.RLIMIT_AS:     l.AddressSpace,
		unix.RLIMIT_NPROC:  l.Processes,
	}
	for number, value := range all {
		if value == 0 {
			delete(all, number)
		}
	}
	return all
}

// prepare readies the keeper's thread and the attributes of the process that it starts. Children
// inherit "no new privileges" from the thread; it cannot be taken back, and the caller must not
// unlock the thread again. It reports whether confine is needed.
//
// Limits are set from outside, on a process that the kernel stopped before the first instruction
// of the program: it is traced for that moment. So the driver never runs without them, and no
// shell stands between, whose errors would hide those of the kernel.
func (l Limits) prepare(attr *syscall.SysProcAttr) (stops bool, err error) {
	if l.NoNewPrivileges {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return false, l.errorf("no new privileges: %w", err)
		}
	}
	attr.Ptrace = len(l.resources()) > 0
	return attr.Ptrace, nil
}

// confine sets the limits of a process that stopped as it executed its program, and lets it run.
// It must be called on the thread that started the process. One that died meanwhile is no error.
func (l Limits) confine(pid int) error {
	if !awaitStop(pid) {
		return nil
	}
	var errs []error
	for number, value := range l.resources() {
		errs = append(errs, limit(pid, number, value))
	}
	if err := errors.Join(errs...); err != nil {
		return l.errorf("%w", err)
	}
	if err := unix.PtraceDetach(pid); err != nil && !errors.Is(err, unix.ESRCH) {
		return l.errorf("let it run: %w", err)
	}
	return nil
}

// awaitStop waits until a traced child has stopped. It reports false when the child has ended, and
// collects nothing.
func awaitStop(pid int) bool {
	const trapped, stopped = 4, 5 // CLD_TRAPPED, CLD_STOPPED of waitid(2)
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WSTOPPED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err == nil && (info.Code == trapped || info.Code == stopped)
		}
	}
}

// limit sets one limit for good. What the process has already is never raised.
func limit(pid, number int, value uint64) error {
	var now unix.Rlimit
	if err := unix.Prlimit(pid, number, nil, &now); err != nil {
		return fmt.Errorf("read limit %d: %w", number, err)
	}
	value = min(value, now.Max)
	if err := unix.Prlimit(pid, number, &unix.Rlimit{Cur: value, Max: value}, nil); err != nil {
		return fmt.Errorf("set limit %d: %w", number, err)
	}
	return nil
}

func onMainThread() bool { return unix.Gettid() == unix.Getpid() }
