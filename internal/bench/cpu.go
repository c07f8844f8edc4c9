// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of /proc/PID/stat on every Linux that Go supports.
const clockTick = 10 * time.Millisecond

// TreeCPU returns the processor time that the processes and all their living descendants have
// used so far. Between two calls no process of the tree may end, or its time is missed.
func TreeCPU(pids ...int) (time.Duration, error) {
	stats, err := readStats()
	if err != nil {
		return 0, err
	}
	wanted := make(map[int]bool)
	for _, pid := range pids {
		if _, ok := stats[pid]; !ok {
			return 0, fmt.Errorf("process %d is not there", pid)
		}
		wanted[pid] = true
	}
	for grown := true; grown; {
		grown = false
		for pid, s := range stats {
			if wanted[s.parent] && !wanted[pid] {
				wanted[pid], grown = true, true
			}
		}
	}
	var sum time.Duration
	for pid := range wanted {
		sum += stats[pid].cpu
	}
	return sum, nil
}

type procStat struct {
	parent int
	cpu    time.Duration
}

func readStats() (map[int]procStat, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	stats := make(map[int]procStat, len(files))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it ended meanwhile
		}
		pid, err := strconv.Atoi(strings.Split(file, "/")[2])
		if err != nil {
			continue
		}
		// The name is in parentheses and may hold anything, so count from its end.
		i := bytes.LastIndexByte(text, ')')
		fields := strings.Fields(string(text[i+1:]))
		if len(fields) < 13 {
			continue
		}
		parent, _ := strconv.Atoi(fields[1])              // a malformed line counts as nothing
		user, _ := strconv.ParseInt(fields[11], 10, 64)   // see above
		system, _ := strconv.ParseInt(fields[12], 10, 64) // see above
		stats[pid] = procStat{parent: parent, cpu: time.Duration(user+system) * clockTick}
	}
	return stats, nil
}
