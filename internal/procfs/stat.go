// SPDX-License-Identifier: Apache-2.0

// Package procfs reads what several parts need of Linux's /proc: what a process does, whose child it is, when
// it started, the processor time it has used, its environment and its tracer. On other systems nothing is
// found.
package procfs

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// clockTick is the unit of times in /proc, the same on every architecture that Go runs on.
const clockTick = 10 * time.Millisecond

// Stat is what is read of /proc/PID/stat.
type Stat struct {
	// State is the letter of its state: R and S run and sleep, T is stopped, Z has ended.
	State  byte
	Parent int
	// CPU is the time used in user and system mode, without that of children.
	CPU time.Duration
	// Start is when the process started, in ticks since the machine did. With the process id
	// it names one process for good.
	Start uint64
}

// Read returns the Stat of a process, and false when there is no such process.
func Read(pid int) (Stat, bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Stat{}, false
	}
	return parse(text)
}

// All returns every process that can be read, by its id.
func All() map[int]Stat {
	all := make(map[int]Stat)
	for _, pid := range Pids() {
		if s, ok := Read(pid); ok { // not, when it ended meanwhile
			all[pid] = s
		}
	}
	return all
}

// The places of the fields behind the name, of which the state is the first; see proc(5).
const (
	parentField = 1
	userField   = 11
	systemField = 12
	startField  = 19
)

// parse reads a line of /proc/PID/stat. The name, in parentheses, may hold anything.
func parse(text []byte) (Stat, bool) {
	end := bytes.LastIndexByte(text, ')')
	if end < 0 {
		return Stat{}, false
	}
	fields := bytes.Fields(text[end+1:])
	if len(fields) <= startField {
		return Stat{}, false
	}
	number := func(i int) uint64 {
		n, err := strconv.ParseUint(string(fields[i]), 10, 63)
		if err != nil {
			return 0
		}
		return n
	}
	return Stat{
		State:  fields[0][0],
		Parent: int(number(parentField)),
		CPU:    time.Duration(number(userField)+number(systemField)) * clockTick,
		Start:  number(startField),
	}, true
}
