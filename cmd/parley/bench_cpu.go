// SPDX-License-Identifier: Apache-2.0

package main

import (
	"syscall"
	"time"
)

// Whose processor time is counted. A driver counts where the process is that started it.
const (
	cpuClient       = "client"
	cpuClientDriver = "client driver"
	cpuServer       = "server"
	cpuServerDriver = "server driver"
)

// ownCPU is the processor time this process used so far.
func ownCPU() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// cpuUsed is what was used between two moments, in seconds.
func cpuUsed(before, after map[string]time.Duration) map[string]float64 {
	used := make(map[string]float64, len(after))
	for name, d := range after {
		used[name] = max(d-before[name], 0).Seconds()
	}
	return used
}
