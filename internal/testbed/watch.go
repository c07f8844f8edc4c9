// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Process is a live process of a driver.
type Process struct {
	PID, Parent      int
	Cmdline, Environ []byte

	started uint64 // in clock ticks of the machine
}

// DriverProcesses returns the live processes whose program is in the directory of drivers,
// found in /proc, whoever started them.
func (b *Bed) DriverProcesses() []Process {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	var found []Process
	for _, dir := range dirs {
		// A zombie has no program, and one that ends while we look is as good as gone.
		program, err := os.Readlink(filepath.Join(dir, "exe"))
		if err != nil || filepath.Dir(strings.TrimSuffix(program, " (deleted)")) != b.Drivers {
			continue
		}
		if p, ok := readProcess(dir); ok {
			found = append(found, p)
		}
	}
	return found
}

// DriverOf returns the process id of the one driver of an application, 0 when there is none. One that
// was swapped for another may take its time to end: the last that was started counts.
func (b *Bed) DriverOf(parent int) int {
	var last Process
	for _, p := range b.DriverProcesses() {
		if p.Parent == parent && (last.PID == 0 || p.started > last.started) {
			last = p
		}
	}
	return last.PID
}

// Running reports whether a driver's process lives.
func (b *Bed) Running(pid int) bool {
	return slices.ContainsFunc(b.DriverProcesses(), func(p Process) bool { return p.PID == pid })
}

// startedField is the one of /proc/PID/stat behind the name that says when the process was started.
const startedField = 19

func readProcess(dir string) (p Process, ok bool) {
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return p, false
	}
	// The name in parentheses may hold anything; state and parent come after the last one.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= startedField || fields[0][0] == 'Z' {
		return p, false
	}
	if p.PID, err = strconv.Atoi(filepath.Base(dir)); err != nil {
		return p, false
	}
	if p.Parent, err = strconv.Atoi(string(fields[1])); err != nil {
		return p, false
	}
	if p.started, err = strconv.ParseUint(string(fields[startedField]), 10, 64); err != nil {
		return p, false
	}
	p.Cmdline, _ = os.ReadFile(filepath.Join(dir, "cmdline"))
	p.Environ, _ = os.ReadFile(filepath.Join(dir, "environ"))
	return p, true
}

// Left lists what drivers left: their processes, and everything in dirs and the runtime directory
// but the directories of the user themselves.
func (b *Bed) Left(dirs ...string) []string { return b.LeftOf("", dirs...) }

// LeftOf is Left for the applications that have a path below the directory run in their environment,
// such as that for temporary files: others go on beside them with the same drivers.
func (b *Bed) LeftOf(run string, dirs ...string) []string {
	var left []string
	for _, p := range b.DriverProcesses() {
		if run == "" || bytes.Contains(p.Environ, []byte(run+"/")) {
			left = append(left, "process "+strconv.Itoa(p.PID))
		}
	}
	for _, dir := range append(dirs, b.Runtime) {
		_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			user := filepath.Join(dir, "parley-"+strconv.Itoa(os.Geteuid()))
			own := path == dir || path == user || path == filepath.Join(user, socketDir)
			if err == nil && !own {
				left = append(left, path)
			}
			return nil
		})
	}
	return left
}

// socketDir is where nodes without a broker have their sockets, in the directory of the user.
const socketDir = "sock"

// IsNodeSocket tells the socket of a node without a broker from other files. One whose driver was
// killed stays until a node starts some time later.
func IsNodeSocket(path string) bool {
	return filepath.Base(filepath.Dir(path)) == socketDir && filepath.Ext(path) == ".sock"
}

// Eventually waits until the condition holds, looking often; the test ends when it does not
// within d.
func Eventually(tb testing.TB, d time.Duration, what string, condition func() bool) {
	tb.Helper()
	if !Wait(d, condition) {
		tb.Fatalf("it did not happen within %v: %s", d, what)
	}
}

// Wait reports whether the condition came to hold within d.
func Wait(d time.Duration, condition func() bool) bool {
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !condition() {
		select {
		case <-look.C:
		case <-deadline.C:
			return condition()
		}
	}
	return true
}
