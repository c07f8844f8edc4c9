// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"os"
	"strings"

	"github.com/parleymq/parley/internal/procfs"
)

// processStartTime is when a process started, in ticks since the machine did; with the
// process id it names one process for good. It is 0 when there is no such process.
func processStartTime(pid int) uint64 {
	s, _ := procfs.Read(pid)
	return s.Start
}

// bootID tells one run of the machine from another.
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
