// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestRunningDrivers looks at and reloads the driver of another process.
func TestRunningDrivers(t *testing.T) {
	p := build(t, "fake")
	p.env = append(p.env, urlVariable+"=fake://", "PARLEY_TEST_TOKEN=s3cr3t-token", "PARLEY_TEST_COLOUR=blue")
	p.secret = "s3cr3t-token"

	t.Run("nobody", func(t *testing.T) {
		p.expect(t, exitDone, "[]\n", "drivers", "ps", "-o", "json")
		got := p.expect(t, exitUnavailable, "", "drivers", "reload", "-o", "json")
		if f := failureOf(t, got); f.Message != "reload drivers: no application of this user runs a driver" || f.Hint != "see: parley drivers ps" {
			t.Errorf("got %+v", f)
		}
	})
	first := p.serve(t, "--topic", "t", "--server", "one", "--echo", "--drain", "100ms")
	hosts := p.ps(t)
	if len(hosts) != 1 || len(hosts[0].Drivers) != 1 {
		t.Fatalf("got %+v", hosts)
	}
	before := hosts[0].Drivers[0]
	if hosts[0].PID != first.cmd.Process.Pid || hosts[0].ReloadSignal != "hangup" || before.Name != "fake" || before.PID == 0 ||
		before.Phase != "ready" || before.Starts != 1 || before.Transports != 1 || before.File != filepath.Join(p.drivers, "parley-driver-fake") {
		t.Errorf("got %+v", hosts)
	}
	t.Run("for people", func(t *testing.T) {
		lines := strings.Split(strings.TrimSpace(p.run(t, "drivers", "ps").stdout), "\n")
		if len(lines) != 2 {
			t.Fatalf("got %q", lines)
		}
		want := []string{strconv.Itoa(hosts[0].PID), "parley", "fake", before.Version, strconv.Itoa(before.PID), "ready"}
		if got := strings.Fields(lines[1]); len(got) != 9 || !slices.Equal(got[:6], want) || !slices.Equal(got[7:], []string{"1", "1"}) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("reload", func(t *testing.T) { testReload(t, p, before) })
	t.Run("reload fails", func(t *testing.T) { testReloadFails(t, p) })
	t.Run("two applications", func(t *testing.T) {
		p.serve(t, "--topic", "t", "--server", "two", "--echo", "--drain", "100ms")
		got := p.run(t, "drivers", "reload", "fake")
		if got.status != exitUsage || !strings.Contains(got.stderr, "2 applications run the driver fake") || !strings.Contains(got.stderr, "--pid") {
			t.Errorf("got %+v", got)
		}
		if got := p.run(t, "drivers", "reload", "--all"); got.status != exitDone || strings.Count(got.stdout, "ok    ") != 2 {
			t.Errorf("got %+v", got)
		}
		if got := p.run(t, "drivers", "reload", "--pid", strconv.Itoa(first.cmd.Process.Pid)); got.status != exitDone || strings.Count(got.stdout, "\n") != 1 {
			t.Errorf("got %+v", got)
		}
		if got := p.run(t, "drivers", "reload", "--pid", strconv.Itoa(os.Getpid())); got.status != exitUnavailable || got.stdout != "" {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("env", func(t *testing.T) { testDriverEnvironment(t, p) })
}

func (p *program) ps(t *testing.T) []hostStatus {
	t.Helper()
	got := p.run(t, "drivers", "ps", "-o", "json")
	var hosts []hostStatus
	if err := json.Unmarshal([]byte(got.stdout), &hosts); err != nil || got.status != exitDone {
		t.Fatalf("got %+v, %v", got, err)
	}
	return hosts
}

func testReload(t *testing.T, p *program, before runningDriver) {
	got := p.run(t, "drivers", "reload", "-o", "json")
	var results []reloaded
	if err := json.Unmarshal([]byte(got.stdout), &results); err != nil || got.status != exitDone || len(results) != 1 || !results[0].OK {
		t.Fatalf("got %+v, %v", got, err)
	}
	after := p.ps(t)[0].Drivers[0]
	if after.PID == before.PID || after.PID == 0 || after.Phase != "ready" {
		t.Errorf("got %+v after %+v", after, before)
	}
	eventually(t, "the end of the process before", func() bool { return gone(before.PID) })
}

// testReloadFails puts a program that does not start where the driver is.
func testReloadFails(t *testing.T, p *program) {
	path := filepath.Join(p.drivers, "parley-driver-fake")
	kept := path + ".kept"
	if err := errors.Join(os.Rename(path, kept), os.WriteFile(path, []byte("#!/bin/sh\necho no such library >&2\nexit 7\n"), 0o700)); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.Rename(kept, path); err != nil {
			t.Error(err)
		}
	}()
	before := p.ps(t)[0].Drivers[0]
	got := p.run(t, "drivers", "reload", "-o", "json")
	var results []reloaded
	if err := json.Unmarshal([]byte(got.stdout), &results); err != nil || got.status != exitUnavailable || len(results) != 1 || results[0].OK {
		t.Fatalf("got %+v, %v", got, err)
	}
	if f := failureOf(t, got); f.Hint == "" || !strings.Contains(f.Message, "driver fake: ") {
		t.Errorf("got %+v", f)
	}
	if after := p.ps(t)[0].Drivers[0]; after.PID != before.PID {
		t.Errorf("got %+v after %+v", after, before)
	}
}

func testDriverEnvironment(t *testing.T, p *program) {
	got := p.run(t, "drivers", "env", "fake", "--pass-env", "PARLEY_TEST_TOKEN", "--pass-env", "PARLEY_TEST_COLOUR")
	fields := make(map[string][]string)
	for line := range strings.Lines(got.stdout) {
		if f := strings.Fields(line); len(f) > 2 {
			fields[f[1]] = f
		}
	}
	for name, want := range map[string][2]string{
		"PATH": {"host", os.Getenv("PATH")}, "PARLEY_TEST_COLOUR": {"passed", "blue"}, "PARLEY_TEST_TOKEN": {"passed", "***"},
		"PARLEY_LIFELINE_FD": {"parley", "(made"},
	} {
		if f := fields[name]; len(f) < 3 || f[0] != want[0] || f[2] != want[1] {
			t.Errorf("%s: got %q, want %q", name, f, want)
		}
	}
	if fields[urlVariable] != nil {
		t.Errorf("the URL is passed on: %q", fields[urlVariable])
	}
	p.expect(t, exitUnavailable, "", "drivers", "env", "nope")
}

func TestAgo(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for want, since := range map[string]time.Time{
		"-": {}, "0s": now.Add(time.Second), "59s": now.Add(-59900 * time.Millisecond), "1m": now.Add(-119 * time.Second),
		"1h0m": now.Add(-time.Hour), "47h59m": now.Add(-48*time.Hour + time.Second), "2d": now.Add(-71 * time.Hour),
	} {
		if got := ago(since, now); got != want {
			t.Errorf("%s: got %q, want %q", since, got, want)
		}
	}
}

// TestTrouble: why a driver is not ready stands below its line.
func TestTrouble(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	later := now.Add(20 * time.Second)
	for want, d := range map[string]runningDriver{
		"":                                     {Phase: "ready", RetryAt: &now},
		"it was killed":                        {Phase: "restarting", Cause: "it was killed"},
		"the next start is tried in 20s":       {Phase: "broken", RetryAt: &later},
		"gone; the next start is tried in 20s": {Phase: "broken", Cause: "gone", RetryAt: &later},
	} {
		if got := d.trouble(now); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestReloadRefused: an application that has chosen no signal is not sent one.
func TestReloadRefused(t *testing.T) {
	p := build(t)
	if err := os.MkdirAll(p.drivers, 0o700); err != nil {
		t.Fatal(err)
	}
	goBuild(t, filepath.Join(p.drivers, "parley-driver-silent"), "cmd/parley/testdata/silent")
	doctor := exec.Command(p.path, "doctor", "--url", "silent://", "--timeout", e2eTimeout.String())
	doctor.Env = p.env
	if err := doctor.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = doctor.Process.Signal(os.Interrupt) // it may have ended
		_ = doctor.Wait()                       // it was interrupted
		if code := doctor.ProcessState.ExitCode(); code != exitInterrupted {
			t.Errorf("doctor ended with %d", code)
		}
	}()
	eventually(t, "a driver that runs", func() bool {
		hosts := p.ps(t)
		return len(hosts) == 1 && len(hosts[0].Drivers) == 1 && hosts[0].Drivers[0].Transports > 0
	})
	got := p.run(t, "drivers", "reload", "silent", "-o", "json")
	if f := failureOf(t, got); got.status != exitUnavailable || !strings.Contains(f.Message, "it has chosen no signal for that") ||
		!strings.HasPrefix(f.Hint, "set HostOptions.ReloadSignal in the application") {
		t.Errorf("got %+v", got)
	}
}
