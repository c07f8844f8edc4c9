// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-plugin"

	"github.com/parleymq/parley/messaging/internal/driverfile"
	"github.com/parleymq/parley/messaging/internal/hosttest"
	"github.com/parleymq/parley/plugin/driver"
)

func itoa(n int) string { return strconv.Itoa(n) }

func TestRunnerServes(t *testing.T) {
	t.Setenv("PARLEY_PLANTED", "secret of the application")
	c := newClient(t, helperCandidate(t), helperMode("", "ADDED=by the operator"))
	c.mustServe(t)

	pid := c.runner.Pid()
	if c.ID() != itoa(pid) || !running(pid) {
		t.Errorf("go-plugin's id is %q, the pid %d", c.ID(), pid)
	}
	if c.runner.StartTime() == 0 || c.runner.StartTime() != processStartTime(pid) {
		t.Errorf("start time %d", c.runner.StartTime())
	}
	if group, err := syscall.Getpgid(pid); err != nil || group != pid {
		t.Errorf("process group %d, want %d (%v)", group, pid, err)
	}
	checkEnvironment(t, pid)
	exe, err := os.Readlink(filepath.Join("/proc", itoa(pid), "exe"))
	if err != nil || exe != c.runner.spec.Driver.Path {
		t.Errorf("it runs %q, want %q (%v)", exe, c.runner.spec.Driver.Path, err)
	}
	comm, _ := os.ReadFile(filepath.Join("/proc", itoa(pid), "comm"))
	if strings.TrimSpace(string(comm)) != "helperdriver" {
		t.Errorf("the process is called %q", comm)
	}
	c.Kill()
	c.mustBeGone(t)
	if s := c.runner.ExitState(); !s.Exited || s.Elapsed <= 0 {
		t.Errorf("exit state %+v", s)
	}
}

func checkEnvironment(t *testing.T, pid int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", itoa(pid), "environ"))
	must(t, err)
	var names []string
	for entry := range strings.SplitSeq(strings.TrimRight(string(text), "\x00"), "\x00") {
		name, value, _ := strings.Cut(entry, "=")
		names = append(names, name)
		if name == "ADDED" && value != "by the operator" {
			t.Errorf("ADDED is %q", value)
		}
	}
	for _, want := range []string{"ADDED", "PATH", LifelineVariable, DriverFileVariable, "PARLEY_HELPER", "PLUGIN_UNIX_SOCKET_DIR"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is missing in %v", want, names)
		}
	}
	if slices.Contains(names, "PARLEY_PLANTED") {
		t.Error("a variable of the host crossed")
	}
}

func TestRunnerAutoMTLS(t *testing.T) {
	c := newClient(t, helperCandidate(t), func(_ *Spec, config *plugin.ClientConfig) { config.AutoMTLS = true })
	c.mustServe(t)
}

func TestRunnerSkipsNoise(t *testing.T) {
	c := newClient(t, helperCandidate(t), helperMode("noise"))
	c.mustServe(t)
	if c.logs.With(t, "the driver printed to its standard output") == nil {
		t.Error("the noise was not logged")
	}
}

func TestRunnerDrainsStdout(t *testing.T) {
	c := newClient(t, helperCandidate(t), helperMode("print-later"))
	c.mustServe(t)
	must(t, c.runner.Signal(syscall.SIGUSR1))
	// The driver says so when its 20000 lines, many times a pipe's size, are out.
	hosttest.Eventually(t, "the driver printed everything", func() bool { return c.logs.With(t, "printed all") != nil })
	hosttest.Eventually(t, "a warning", func() bool {
		m := c.logs.With(t, "the driver printed to its standard output")
		return m != nil && m["level"] == "WARN"
	})
	c.mustServe(t)
}

func TestRunnerSurvivesBadLog(t *testing.T) {
	c := newClient(t, helperCandidate(t), helperMode("bad-log"))
	c.mustServe(t)
	hosttest.Eventually(t, "the record", func() bool { return c.logs.With(t, `{"not":"a text"}`) != nil })
	m := c.logs.With(t, `{"not":"a text"}`)
	if m["driver"] != "helper" || m["pid"] != float64(c.runner.Pid()) {
		t.Errorf("record %v", m)
	}
}

func TestRunnerKillsStopped(t *testing.T) {
	c := newClient(t, helperCandidate(t), nil)
	c.mustServe(t)
	must(t, c.runner.Signal(syscall.SIGSTOP))
	// go-plugin's Kill waits for an answer; the runner's, from outside, frees it.
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Kill()
	}()
	began := time.Now()
	must(t, c.runner.Kill(context.Background()))
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("Kill took %v", d)
	}
	select {
	case <-done:
	case <-time.After(hosttest.WaitLimit):
		t.Fatal("go-plugin's Kill hangs")
	}
	c.mustBeGone(t)
	if s := c.runner.ExitState(); !s.Killed || s.Signal != syscall.SIGKILL {
		t.Errorf("exit state %+v", s)
	}
}

func TestRunnerKillsWhatIgnoresTerm(t *testing.T) {
	c := newClient(t, helperCandidate(t), helperMode("ignore-term"))
	c.mustServe(t)
	must(t, c.runner.Signal(syscall.SIGTERM))
	c.mustServe(t)
	must(t, c.runner.Kill(context.Background()))
	c.mustBeGone(t)
	if err := c.runner.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signal after the end: %v", err)
	}
}

func childPid(t *testing.T, c *client) int {
	t.Helper()
	var m map[string]any
	hosttest.Eventually(t, "the child's pid", func() bool {
		m = c.logs.With(t, "child")
		return m != nil
	})
	pid, ok := m["child"].(float64)
	if !ok {
		t.Fatalf("record %v", m)
	}
	return int(pid)
}

func TestRunnerKillsGrandchildren(t *testing.T) {
	t.Run("with Kill", func(t *testing.T) {
		c := newClient(t, helperCandidate(t), helperMode("child"))
		c.mustServe(t)
		pid := childPid(t, c)
		must(t, c.runner.Kill(context.Background()))
		hosttest.Eventually(t, "the grandchild is gone", func() bool { return !running(pid) })
		c.mustBeGone(t)
	})
	t.Run("after the driver's own end", func(t *testing.T) {
		c := newClient(t, helperCandidate(t), helperMode("child"))
		c.mustServe(t)
		pid := childPid(t, c)
		must(t, c.runner.Signal(syscall.SIGKILL))
		hosttest.Eventually(t, "the grandchild is gone", func() bool { return !running(pid) })
		c.mustBeGone(t)
	})
}

// A child in a session of its own is in no group that is killed; it is found by its environment.
func TestRunnerKillsEscapedChildren(t *testing.T) {
	c := newClient(t, helperCandidate(t), helperMode("child", "HELPER_SETSID=1"))
	c.mustServe(t)
	pid := childPid(t, c)
	if group, err := syscall.Getpgid(pid); err != nil || group == c.runner.Pid() {
		t.Fatalf("the child is in group %d (%v): the test proves nothing", group, err)
	}
	must(t, c.runner.Kill(context.Background()))
	if running(pid) {
		t.Error("the child is left")
	}
	c.mustBeGone(t)
}

// One that also cleared its environment is not found: the pipes that it holds are waited for no
// longer than a moment.
func TestRunnerIgnoresEscapedPipes(t *testing.T) {
	c := newClient(t, helperCandidate(t), helperMode("child", "HELPER_SETSID=1", "HELPER_CLEAR=1"))
	c.mustServe(t)
	pid := childPid(t, c)
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	must(t, c.runner.Kill(context.Background()))
	c.mustBeGone(t)
	if !running(pid) {
		t.Error("the child should have escaped: the test proves nothing")
	}
}

func TestRunnerLifeline(t *testing.T) {
	c := newClient(t, helperCandidate(t), helperMode("lifeline"))
	c.mustServe(t)
	must(t, c.runner.lifeline.Close())
	c.mustBeGone(t)
	if s := c.runner.ExitState(); s.Code != 7 {
		t.Errorf("exit state %+v", s)
	}
}

func TestRunnerCrash(t *testing.T) {
	c := newClient(t, helperCandidate(t), helperMode("panic"))
	c.mustServe(t)
	must(t, c.runner.Signal(syscall.SIGUSR1))
	<-c.runner.Exited()
	err := c.runner.GoneError(io.EOF)
	if err.Reason != driver.ReasonDriverGone || !err.Retryable || !errors.Is(err, io.EOF) ||
		!strings.Contains(err.Error(), "panic: boom in the driver") || !strings.Contains(err.Error(), "code 2") {
		t.Errorf("got %v", err)
	}
	c.mustBeGone(t)
	if m := c.logs.With(t, "panic: boom in the driver"); m == nil || m["level"] != "ERROR" {
		t.Errorf("record %v", m)
	}
}

func TestRunnerKillWithoutStart(t *testing.T) {
	c := newClient(t, helperCandidate(t), nil)
	must(t, c.runner.Kill(context.Background()))
	must(t, c.runner.Kill(context.Background()))
	c.mustBeGone(t)
	if _, err := c.Start(); err == nil {
		t.Error("a runner that was killed started")
	}
}

func TestRunnerKillDuringStart(t *testing.T) {
	c := newClient(t, scriptCandidate(t, "exec sleep 1000\n"), nil)
	failed := make(chan error, 1)
	go func() {
		_, err := c.Start()
		failed <- err
	}()
	hosttest.Eventually(t, "the process", func() bool { return c.runner.Pid() != 0 })
	must(t, c.runner.Kill(context.Background()))
	select {
	case err := <-failed:
		if driver.ReasonOf(err) != driver.ReasonDriverGone {
			t.Errorf("got %v", err)
		}
	case <-time.After(hosttest.WaitLimit):
		t.Fatal("Start hangs")
	}
	c.mustBeGone(t)
}

func TestRunnerManyKills(t *testing.T) {
	c := newClient(t, helperCandidate(t), nil)
	c.mustServe(t)
	errs := make(chan error, 8)
	for range cap(errs) {
		go func() { errs <- c.runner.Kill(context.Background()) }()
	}
	for range cap(errs) {
		must(t, <-errs)
	}
	c.mustBeGone(t)
}

// go-plugin leaks the connection to a driver that ends right after its handshake; goleak
// finds that here unless it is closed for it.
func TestRunnerEndsAfterHandshake(t *testing.T) {
	path := hosttest.WriteProgram(t, hosttest.PrivateDir(t), "script", strings.ReplaceAll(
		strings.ReplaceAll(pythonDriver, "import neighbour\n", ""), "s.accept()", "sys.exit(4)"))
	c := newClient(t, driverfile.Candidate{Name: "script", Path: path}, nil)
	if _, err := c.Start(); err != nil {
		t.Logf("go-plugin saw the end first: %v", err)
	}
	<-c.runner.Exited()
	_, _ = c.Client.Client() // whether it gives a client depends on what it has noticed
	if err := c.runner.GoneError(nil); !strings.Contains(err.Error(), "exited with code 4") {
		t.Errorf("got %v", err)
	}
	c.mustBeGone(t)
}

// pythonDriver serves nothing; it listens and prints a handshake.
const pythonDriver = `#!/usr/bin/env python3
import os, socket, sys
import neighbour
path = os.path.join(os.environ["PLUGIN_UNIX_SOCKET_DIR"], "s")
s = socket.socket(socket.AF_UNIX)
s.bind(path)
s.listen()
print("file", os.environ["PARLEY_DRIVER_FILE"], file=sys.stderr, flush=True)
print("1|1|unix|%s|grpc|" % path, flush=True)
s.accept()
`

func TestRunnerPythonScript(t *testing.T) {
	dir := hosttest.PrivateDir(t)
	must(t, os.WriteFile(filepath.Join(dir, "neighbour.py"), nil, 0o644))
	path := hosttest.WriteProgram(t, dir, "script", pythonDriver)
	c := newClient(t, driverfile.Candidate{Name: "script", Path: path}, nil)
	addr, err := c.Start()
	must(t, err)
	if !strings.HasPrefix(addr.String(), c.runner.Dir()) {
		t.Errorf("address %v", addr)
	}
	hosttest.Eventually(t, "the log", func() bool { return c.logs.With(t, "file "+path) != nil })
}
