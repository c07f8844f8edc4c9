// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/parleymq/parley/internal/testbed"
)

const (
	// victimWait bounds the wait for a process to hit.
	victimWait = 10 * time.Second
	// swapLimit bounds a hot swap, and swapSlack how much later than that it may return.
	swapLimit = 20 * time.Second
	swapSlack = 2 * time.Second
)

// victim is a process of the end's driver: any of those that live, in whatever state, every
// other time; else the one that is used.
func (e *end) victim(f *fault) int {
	pid := 0
	testbed.Wait(victimWait, func() bool {
		if f.variant(2) == 0 {
			pid = e.driver()
			return pid != 0
		}
		all := e.bed.DriverProcesses()
		if len(all) > 0 {
			pid = all[int(f.dice*float64(len(all)))].PID
		}
		return pid != 0
	})
	return pid
}

// killDriver kills it as a crash would.
func (r *runner) killDriver(f *fault, e *end) {
	pid := e.victim(f)
	f.start = r.ledger.now()
	if pid == 0 {
		f.err = errNobody
		return
	}
	f.what = fmt.Sprintf("process %d", pid)
	f.err = syscall.Kill(pid, syscall.SIGKILL)
	if f.err == syscall.ESRCH {
		f.what, f.err = f.what+", which had just ended", nil
	}
}

// stopDriver stops it, and leaves it to the watchdog to find it.
func (r *runner) stopDriver(f *fault, e *end) {
	pid := e.victim(f)
	f.start = r.ledger.now()
	if pid == 0 {
		f.err = errNobody
		return
	}
	f.what = fmt.Sprintf("process %d", pid)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		f.what += ", which had just ended"
		return
	}
	// One that is starting has its time to start, one that is drained its time to drain.
	limit := r.opts.HeartbeatTimeout + startTimeout + 10*time.Second
	if !testbed.Wait(limit, func() bool { return !e.bed.Running(pid) }) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		f.err = fmt.Errorf("the process lives %v after it was stopped: %w", limit, errHung)
	}
	f.what += fmt.Sprintf(", found after %v", round(r.ledger.now()-f.start))
}

// swapDriver puts a new file in the place of the driver's and reloads.
func (r *runner) swapDriver(ctx context.Context, f *fault, e *end) {
	if f.err = e.install(r.opts.Driver); f.err != nil {
		return
	}
	f.start = r.ledger.now()
	ctx, cancel := context.WithTimeout(ctx, swapLimit)
	defer cancel()
	transport := e.clients
	if f.variant(2) == 1 {
		transport = e.servers
	}
	f.err = transport.Reload(ctx)
	took := r.ledger.now() - f.start
	f.what = fmt.Sprintf("took %v", round(took))
	if took > swapLimit+swapSlack {
		f.err = fmt.Errorf("the swap returned after %v: %w", round(took), errHung)
	}
}
