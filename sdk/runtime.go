// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"os"
	"runtime"
	"runtime/debug"
)

// gcPercent lets the heap of a driver, which is mostly messages passing through and hardly
// ever more than a few megabytes alive, grow further than Go's default between collections.
// At the default a busy driver spends a fifth of its time collecting.
const gcPercent = 400

// maxProcs bounds how many threads of a driver run Go code at once. A message passes through
// several goroutines; with many threads each step wakes another one, which costs more than the
// step. Half of the machine is left to the application and, often, the broker.
const maxProcs = 4

// tuneRuntime sets what suits a process that only passes messages on. GOGC and GOMAXPROCS in
// the environment win.
func tuneRuntime() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, min(maxProcs, runtime.GOMAXPROCS(0)/2)))
	}
}
