// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// usage is what this process and its drivers hold.
type usage struct {
	Waiting     int // calls in the table
	Goroutines  int
	Files       int // descriptors
	DriverFiles int // of all drivers
	Heap        int64
	DriverRAM   int64
}

func (u usage) String() string {
	return fmt.Sprintf("%d calls waiting, %d goroutines, %d files, heap %.2f MiB; drivers: %d files, %.1f MiB resident",
		u.Waiting, u.Goroutines, u.Files, mebi(u.Heap), u.DriverFiles, mebi(u.DriverRAM))
}

func mebi(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// usageNow looks at this process, at the drivers it started and at a client's transport.
func usageNow(client *messaging.Transport) usage {
	u := usage{Goroutines: runtime.NumGoroutine(), Files: testbed.Files(os.Getpid()), Heap: testbed.Heap()}
	for _, p := range bed.DriverProcesses() {
		if p.Parent == os.Getpid() {
			u.DriverFiles += testbed.Files(p.PID)
			u.DriverRAM += testbed.Resident(p.PID)
		}
	}
	u.Waiting = client.Stats().Waiting
	return u
}

// allowance is how much more than before may be in use afterwards.
type allowance struct {
	goroutines int
	heap       int64
	driverRAM  int64
}

// within reports whether u is where base was.
func (u usage) within(base usage, a allowance) bool {
	return u.Waiting == 0 && u.Goroutines <= base.Goroutines+a.goroutines && u.Files <= base.Files &&
		u.DriverFiles <= base.DriverFiles && u.Heap <= base.Heap+a.heap && u.DriverRAM <= base.DriverRAM+a.driverRAM
}

// mustReturnTo waits until no more is in use than base and the allowance.
func mustReturnTo(t *testing.T, client *messaging.Transport, base usage, a allowance) {
	t.Helper()
	var now usage
	ok := testbed.Wait(settleTime, func() bool { now = usageNow(client); return now.within(base, a) })
	t.Logf("before: %v", base)
	t.Logf("after:  %v", now)
	if !ok {
		t.Errorf("it grew by more than %+v", a)
	}
}

// settleTime is how long what ended may take to be gone.
const settleTime = 10 * time.Second
