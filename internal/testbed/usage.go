// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// RaceEnabled says that the tests and the programs they start have the race detector.
func RaceEnabled() bool { return raceEnabled }

// Files is how many file descriptors a process has open, -1 when that cannot be read.
func Files(pid int) int {
	dir, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
	if err != nil {
		return -1
	}
	defer func() { _ = dir.Close() }() // it was only read
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return -1
	}
	if pid == os.Getpid() {
		return len(names) - 1 // without the one that was opened to look
	}
	return len(names)
}

// Resident is the memory of a process that is in RAM, in bytes, -1 when that cannot be read.
func Resident(pid int) int64 {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "statm"))
	if err != nil {
		return -1
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return -1
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return -1
	}
	return pages * int64(os.Getpagesize())
}

// Heap is what this process holds on its heap after the garbage is gone. The second
// collection takes what was in pools.
func Heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
