// SPDX-License-Identifier: Apache-2.0

//go:build unix

package driverproc

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"github.com/parleymq/parley/plugin/driver"
)

// Kill ends the process and its group at once and returns when nothing of them is left, or
// when ctx ends, or after a few seconds: a process that waits for a dead disk cannot be
// killed. It may be called at any time, any number of times, also during Start.
func (r *Runner) Kill(ctx context.Context) error {
	if r.terminate() {
		r.release()
	}
	ctx, cancel := context.WithTimeout(ctx, KillTimeout)
	defer cancel()
	select {
	case <-r.released:
		return nil
	case <-ctx.Done():
		return driver.Errorf(driver.ReasonInternal, "driver %s (pid %d) did not end after SIGKILL: %w",
			r.spec.Driver.Name, r.Pid(), context.Cause(ctx))
	}
}

// terminate sends SIGKILL to the process that is not yet reaped. It reports whether the
// runner was never started, and leaves its release to the caller then.
func (r *Runner) terminate() (release bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.state {
	case runnerNew:
		r.killed, r.state = true, runnerReleased
		return true
	case runnerStarting:
		r.killed = true
	case runnerRunning:
		r.killed = true
		killGroup(r.pid)
	case runnerReaped, runnerReleased: // nothing is left to kill
	}
	return false
}

// killGroup kills a process that is not yet reaped, and its group. The process comes twice,
// because it may have moved to another group.
func killGroup(pid int) {
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

// Signal sends a signal to the process alone. One that has ended is an error.
func (r *Runner) Signal(sig syscall.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != runnerRunning {
		return fmt.Errorf("signal %v to driver %s: %w", sig, r.spec.Driver.Name, os.ErrProcessDone)
	}
	if err := syscall.Kill(r.pid, sig); err != nil {
		return fmt.Errorf("signal %v to driver %s (pid %d): %w", sig, r.spec.Driver.Name, r.pid, err)
	}
	return nil
}
