// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// processStartTime is when a process started, in ticks since the machine did; with the
// process id it names one process for good. It is 0 when there is no such process.
func processStartTime(pid int) uint64 {
	const fieldAfterName = 22 - 3 // the start time is field 22; the name is field 2
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// The name is in parentheses and may hold anything, parentheses and spaces included.
	_, rest, ok := cutLast(text, ')')
	fields := bytes.Fields(rest)
	if !ok || len(fields) <= fieldAfterName {
		return 0
	}
	n, err := strconv.ParseUint(string(fields[fieldAfterName]), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func cutLast(text []byte, sep byte) (before, after []byte, found bool) {
	i := bytes.LastIndexByte(text, sep)
	if i < 0 {
		return text, nil, false
	}
	return text[:i], text[i+1:], true
}

// bootID tells one run of the machine from another.
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
