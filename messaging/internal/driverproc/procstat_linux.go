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

// ended reports whether a process has ended and was not collected: its parent may never do so.
func ended(pid int) bool {
	s, ok := procfs.Read(pid)
	return ok && s.State == 'Z' && procfs.Threads(pid) <= 1
}

// bootID tells one run of the machine from another.
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// pidNamespace tells one space of process ids from another.
func pidNamespace() string {
	link, err := os.Readlink("/proc/self/ns/pid") // pid:[4026531836]
	if err != nil {
		return ""
	}
	return strings.Trim(link, "pid:[]")
}
