// SPDX-License-Identifier: Apache-2.0

package leftovers

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/procfs"
	"github.com/parleymq/parley/internal/testbed"
)

const (
	rounds      = 50
	shortRounds = 5
	// limit is the promise, stoppedLimit the one for a driver that is stopped.
	limit        = 3 * time.Second
	stoppedLimit = 10 * time.Second
	// sessionEvery is how often a child has a session of its own.
	sessionEvery = 5
)

// left is what is there of a host's drivers.
type left struct {
	processes []int // with their guards and children; those that have ended do not count
	sockets   []string
	files     []string
}

func (l left) none() bool { return len(l.processes)+len(l.sockets)+len(l.files) == 0 }

// look finds all that is left below a runtime directory.
func look(t *testing.T, runtime string) left {
	t.Helper()
	var l left
	for _, pid := range procfs.Pids() {
		if strings.HasPrefix(procfs.ReadEnviron(pid).Get("PARLEY_DRIVER_DIR"), runtime+"/") {
			l.processes = append(l.processes, pid)
		}
	}
	text, err := os.ReadFile("/proc/net/unix")
	must(t, err)
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, runtime+"/") {
			l.sockets = append(l.sockets, strings.TrimSpace(line))
		}
	}
	own := filepath.Join(runtime, "parley-"+strconv.Itoa(os.Geteuid()))
	must(t, filepath.WalkDir(runtime, func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it went while we looked
		}
		if path != runtime && path != own {
			l.files = append(l.files, path)
		}
		return err
	}))
	return l
}

// shortDir has room for sockets. What a test that failed left running below it is ended.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pl")
	must(t, err)
	t.Cleanup(func() {
		for _, pid := range look(t, dir).processes {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		_ = os.RemoveAll(dir)
	})
	return dir
}

// TestKilledHostLeavesNothing kills a host with four drivers again and again: one is stopped, one
// has a child.
func TestKilledHostLeavesNothing(t *testing.T) {
	n := rounds
	if testing.Short() || testbed.RaceEnabled() {
		n = shortRounds
	}
	runtime := shortDir(t)
	var took []time.Duration
	escaped := 0 // of the round before
	for round := range n {
		last := drivers.child
		escapes := round%sessionEvery == sessionEvery-1
		if escapes {
			last = drivers.session
		}
		h := startHost(t, settings{Runtime: runtime, Drivers: []string{drivers.plain, drivers.plain, drivers.plain, last}})
		mustBeSwept(t, runtime, escaped)
		escaped = 0
		// The one with the child is stopped in some rounds.
		must(t, syscall.Kill(h.pids[round%len(h.pids)], syscall.SIGSTOP))
		before := look(t, runtime)
		// Each has a guard and a socket.
		if len(before.processes) < 2*len(h.pids)+1 || len(before.sockets) < len(h.pids) {
			t.Fatalf("round %d: not all is seen: %+v", round, before)
		}
		must(t, h.cmd.Process.Kill())
		_ = h.cmd.Wait()
		killed := time.Now()
		mustEnd(t, runtime, escapes, stoppedLimit)
		d := time.Since(killed)
		took = append(took, d)
		if d > limit {
			t.Errorf("round %d: it took %v", round, d)
		}
		if escapes {
			escaped = look(t, runtime).processes[0]
		}
	}
	if escaped != 0 {
		h := startHost(t, settings{Runtime: runtime, Drivers: []string{drivers.plain}})
		mustBeSwept(t, runtime, escaped)
		must(t, h.cmd.Process.Kill())
		_ = h.cmd.Wait()
	}
	mustEnd(t, runtime, false, limit)
	slices.Sort(took)
	t.Logf("%d hosts killed; until nothing was left: p50 %v, max %v", n,
		took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
}

// mustBeSwept waits until the next host has ended what escaped from the one before, if any.
func mustBeSwept(t *testing.T, runtime string, escaped int) {
	t.Helper()
	if escaped != 0 && !testbed.Wait(limit, func() bool { return !slices.Contains(look(t, runtime).processes, escaped) }) {
		t.Errorf("the next host left process %d", escaped)
	}
}

// mustEnd waits until nothing is left, or only the one process that escaped.
func mustEnd(t *testing.T, runtime string, escapes bool, within time.Duration) {
	t.Helper()
	var l left
	if !testbed.Wait(within, func() bool {
		l = look(t, runtime)
		if escapes && len(l.processes) == 1 {
			l.processes = nil
		}
		return l.none()
	}) {
		for _, pid := range l.processes {
			text, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
			t.Logf("process %d: %q", pid, text)
		}
		t.Fatalf("left behind: %+v", l)
	}
}

// TestEndedHostLeavesNothing ends a host in the ways in which nothing is closed.
func TestEndedHostLeavesNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		end    string
		signal syscall.Signal
		code   int
	}{
		"it crashes":            {end: "panic", code: 2},
		"it exits":              {end: "exit", code: 7},
		"it is replaced":        {end: "exec", code: 7},
		"SIGTERM, not caught":   {signal: syscall.SIGTERM, code: -1},
		"SIGABRT with its dump": {signal: syscall.SIGABRT, code: 2},
	} {
		t.Run(name, func(t *testing.T) {
			runtime := shortDir(t)
			h := startHost(t, settings{
				Runtime: runtime, Drivers: []string{drivers.plain, drivers.plain, drivers.plain, drivers.child}, End: tc.end,
			})
			must(t, syscall.Kill(h.pids[1], syscall.SIGSTOP))
			if tc.signal != 0 {
				must(t, h.cmd.Process.Signal(tc.signal))
			} else {
				must(t, h.stdin.Close())
			}
			_ = h.cmd.Wait()
			if code := h.cmd.ProcessState.ExitCode(); code != tc.code {
				t.Errorf("it ended with %v, want code %d", h.cmd.ProcessState, tc.code)
			}
			ended := time.Now()
			mustEnd(t, runtime, false, limit)
			t.Logf("nothing was left after %v", time.Since(ended).Round(time.Millisecond))
		})
	}
}
