// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// clockTick is the unit of times in /proc, the same on every architecture that Go runs on.
const clockTick = 10 * time.Millisecond

// processStat is what is needed of /proc/PID/stat.
type processStat struct {
	parent int
	cpu    time.Duration
}

// cpuTimes is the processor time used so far by this process, the server and their drivers.
func cpuTimes(serverPID int) map[string]time.Duration {
	used := map[string]time.Duration{cpuClient: ownCPU()}
	all := processes()
	self := os.Getpid()
	for pid, p := range all {
		switch owner := ownerOf(all, p.parent, self, serverPID); {
		case pid == self || owner == 0:
		case pid == serverPID:
			used[cpuServer] += p.cpu
		case owner == serverPID:
			used[cpuServerDriver] += p.cpu
		default:
			used[cpuClientDriver] += p.cpu
		}
	}
	return used
}

// ownerOf returns which of the two a process is below, the nearer one, or 0.
func ownerOf(all map[int]processStat, pid, self, serverPID int) int {
	for range len(all) { // processes come and go while they are read: no chain is endless
		if pid == self || pid != 0 && pid == serverPID {
			return pid
		}
		p, ok := all[pid]
		if !ok {
			return 0
		}
		pid = p.parent
	}
	return 0
}

// processes reads all that can be read.
func processes() map[int]processStat {
	all := make(map[int]processStat)
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return all // the pattern is fine
	}
	for _, file := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it ended meanwhile
		}
		if p, ok := parseStat(text); ok {
			all[pid] = p
		}
	}
	return all
}

// parseStat reads a line of proc(5). The name, in parentheses, may hold anything.
func parseStat(text []byte) (processStat, bool) {
	end := bytes.LastIndexByte(text, ')')
	if end < 0 {
		return processStat{}, false
	}
	fields := bytes.Fields(text[end+1:])
	const parent, user, system = 1, 11, 12 // counted from the state
	if len(fields) <= system {
		return processStat{}, false
	}
	number := func(i int) int {
		n, err := strconv.Atoi(string(fields[i]))
		if err != nil {
			return 0
		}
		return n
	}
	return processStat{parent: number(parent), cpu: time.Duration(number(user)+number(system)) * clockTick}, true
}
