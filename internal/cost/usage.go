// SPDX-License-Identifier: Apache-2.0

package cost

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
)

// UsageOf reads what the kernel says of a process. Linux only.
func UsageOf(pid int) (Usage, error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	memory, err := os.ReadFile(filepath.Join(dir, "smaps_rollup"))
	if err != nil {
		return Usage{}, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	descriptors, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return Usage{}, fmt.Errorf("read the descriptors of process %d: %w", pid, err)
	}
	threads, err := os.ReadDir(filepath.Join(dir, "task"))
	if err != nil {
		return Usage{}, fmt.Errorf("read the threads of process %d: %w", pid, err)
	}
	u := Usage{
		PSS: kilobytes(memory, "Pss:"), RSS: kilobytes(memory, "Rss:"),
		Descriptors: len(descriptors), Threads: len(threads),
	}
	if pid == os.Getpid() {
		u.Descriptors-- // the one that was opened to look
	}
	return u, nil
}

// Plus is what both hold.
func (u Usage) Plus(v Usage) Usage {
	return Usage{
		PSS: u.PSS + v.PSS, RSS: u.RSS + v.RSS, Heap: u.Heap + v.Heap, Stacks: u.Stacks + v.Stacks,
		Descriptors: u.Descriptors + v.Descriptors, Threads: u.Threads + v.Threads, Goroutines: u.Goroutines + v.Goroutines,
	}
}

// kilobytes finds "name  N kB" and returns it in bytes, 0 when it is not there.
func kilobytes(text []byte, name string) int64 {
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		if len(fields) < 2 || string(fields[0]) != name {
			continue
		}
		if n, err := strconv.ParseInt(string(fields[1]), 10, 64); err == nil {
			return n << 10
		}
	}
	return 0
}

// WithRuntime adds what Go's runtime knows of this process.
func (u Usage) WithRuntime() Usage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.Heap, u.Stacks = int64(m.HeapInuse), int64(m.StackInuse)
	u.Goroutines = runtime.NumGoroutine()
	return u
}
