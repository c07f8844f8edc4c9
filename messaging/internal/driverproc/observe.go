// SPDX-License-Identifier: Apache-2.0

package driverproc

import "github.com/parleymq/parley/internal/procfs"

// Guarded reports whether a guard stands by the process: a shell in its process group that kills
// the group and removes the directory when the host is gone. There is none without /bin/sh.
func (r *Runner) Guarded() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.guard.stands()
}

// Traced reports whether a debugger or the like is attached to the process: it may be silent for
// as long as somebody thinks. It is false where that cannot be known.
func (r *Runner) Traced() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state == runnerRunning && procfs.Tracer(r.pid) != 0
}

// Stopped reports whether the process was stopped by a signal and waits for SIGCONT. It is false
// where that cannot be known.
func (r *Runner) Stopped() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != runnerRunning {
		return false
	}
	s, ok := procfs.Read(r.pid)
	return ok && s.State == 'T'
}
