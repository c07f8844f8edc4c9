// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-plugin"

	"github.com/parleymq/parley/internal/procfs"
	"github.com/parleymq/parley/messaging/internal/driverfile"
	"github.com/parleymq/parley/messaging/internal/hosttest"
)

// marked are the processes below a base that run: drivers, their children and guards.
func marked(base *Base) []int {
	var pids []int
	for _, pid := range procfs.Pids() {
		if strings.HasPrefix(procfs.ReadEnviron(pid).Get(DriverDirVariable), base.path+"/") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// hostKilled is a host that is killed, and what its one driver does.
type hostKilled struct {
	name    string
	env     []string
	signal  syscall.Signal // to the driver, before
	escaped int            // processes that only a sweep ends
}

// A host that is killed leaves nothing that it may leave; the next host ends what got away.
func TestHostKilled(t *testing.T) {
	for _, tc := range []hostKilled{
		{name: "serves"},
		{name: "stopped", signal: syscall.SIGSTOP},
		{name: "ignores the end", env: []string{"HELPER_MODE=ignore-term"}},
		{name: "has a child", env: []string{"HELPER_MODE=child"}},
		{name: "has a child and is stopped", env: []string{"HELPER_MODE=child"}, signal: syscall.SIGSTOP},
		{name: "has a child in another session", env: []string{"HELPER_MODE=child", "HELPER_SETSID=1"}, escaped: 1},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.test(t) })
	}
}

func (tc hostKilled) test(t *testing.T) {
	base := testBase(t)
	host := startHost(t, base, tc.env...)
	if n, err := base.Sweep(context.Background()); n != 0 || err != nil {
		t.Errorf("the sweep took %d things of a live host (%v)", n, err)
	}
	if len(marked(base)) < 2 {
		t.Fatalf("driver and guard are not seen: %v", marked(base))
	}
	if tc.signal != 0 {
		must(t, syscall.Kill(host.driver, tc.signal))
	}
	must(t, host.cmd.Process.Kill())
	_ = host.cmd.Wait()
	killed := time.Now()
	hosttest.Eventually(t, "all is gone but what escaped", func() bool {
		entries, err := os.ReadDir(base.path)
		return err == nil && len(entries) == 0 && len(marked(base)) == tc.escaped
	})
	if d := time.Since(killed); d > 2*time.Second {
		t.Errorf("it took %v", d)
	}
	if n, err := base.Sweep(context.Background()); n != tc.escaped || err != nil {
		t.Errorf("the sweep took %d things, want %d (%v)", n, tc.escaped, err)
	}
	hosttest.Eventually(t, "all is gone", func() bool { return len(marked(base)) == 0 })
}

// Without its guard, and with its directory, a dead host's leftovers are the sweep's.
func TestSweepEndsProcesses(t *testing.T) {
	base := testBase(t)
	host := startHost(t, base, "HELPER_MODE=child")
	for _, pid := range marked(base) {
		if comm, _ := os.ReadFile(filepath.Join("/proc", itoa(pid), "comm")); strings.TrimSpace(string(comm)) == "sh" {
			must(t, syscall.Kill(pid, syscall.SIGKILL))
		}
	}
	must(t, host.cmd.Process.Kill())
	_ = host.cmd.Wait()
	hosttest.Eventually(t, "the driver is gone", func() bool { return !running(host.driver) })
	if got := marked(base); len(got) != 1 {
		t.Fatalf("processes %v, want the child alone", got)
	}
	if n, err := base.Sweep(context.Background()); n != 2 || err != nil {
		t.Errorf("the sweep took %d things, want a process and a directory (%v)", n, err)
	}
	hosttest.Eventually(t, "the child is gone", func() bool { return len(marked(base)) == 0 })
	if entries, err := os.ReadDir(base.path); len(entries) > 0 || err != nil {
		t.Errorf("left behind: %v (%v)", entries, err)
	}
}

// What another machine, container or live host has marked is left alone.
func TestSweepSparesOthers(t *testing.T) {
	base := testBase(t)
	dead := self()
	dead.PID, dead.StartTime = 1<<22-1, 12345
	elsewhere, rebooted := dead, dead
	elsewhere.Namespace, rebooted.Boot = "1", "another"
	reused := self()
	reused.StartTime--
	dir := filepath.Join(base.path, "d-gone")
	sleeper := func(dir, mark string) *exec.Cmd {
		cmd := exec.Command("sleep", "1000")
		cmd.Env = []string{DriverDirVariable + "=" + dir, HostProcessVariable + "=" + mark}
		must(t, cmd.Start())
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		return cmd
	}
	spared := []*exec.Cmd{
		sleeper(dir, self().mark()), sleeper(dir, elsewhere.mark()), sleeper(dir, rebooted.mark()),
		sleeper(dir, ""), sleeper(dir, "1:x"), sleeper(base.path+"x/d-gone", dead.mark()), sleeper(base.path, dead.mark()),
	}
	killed := []*exec.Cmd{sleeper(dir, dead.mark()), sleeper(dir, reused.mark())}
	if n, err := base.Sweep(context.Background()); n != len(killed) || err != nil {
		t.Errorf("the sweep took %d, want %d (%v)", n, len(killed), err)
	}
	for i, cmd := range spared {
		if !running(cmd.Process.Pid) {
			t.Errorf("process %d was killed", i)
		}
	}
	for i, cmd := range killed {
		hosttest.Eventually(t, "process "+itoa(i)+" is gone", func() bool { return !running(cmd.Process.Pid) })
	}
}

func TestRunnerGuard(t *testing.T) {
	c := newClient(t, helperCandidate(t), nil)
	c.mustServe(t)
	if !c.runner.Guarded() {
		t.Fatal("there is no guard")
	}
	guard := c.runner.guard.cmd.Process.Pid
	if group, err := syscall.Getpgid(guard); err != nil || group != c.runner.Pid() {
		t.Errorf("the guard is in group %d, want %d (%v)", group, c.runner.Pid(), err)
	}
	checkGuardFiles(t, guard, c.runner.Pid())
	t.Logf("the guard: %s", residentLines(t, guard))
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1} {
		must(t, syscall.Kill(guard, sig))
	}
	c.mustServe(t)
	if !c.runner.Guarded() {
		t.Fatal("a signal ended the guard")
	}
	must(t, syscall.Kill(guard, syscall.SIGKILL))
	hosttest.Eventually(t, "its end is said", func() bool { return c.logs.With(t, "the driver's guard was ended by somebody") != nil })
	if c.runner.Guarded() {
		t.Error("it still counts")
	}
	c.mustServe(t)
	c.Kill()
	c.mustBeGone(t)
}

// checkGuardFiles makes sure that the guard holds none of the pipes between driver and host: it
// would keep them open when the driver has ended.
func checkGuardFiles(t *testing.T, guard, driver int) {
	t.Helper()
	held := make(map[string]bool)
	for _, fd := range []string{"1", "2", itoa(firstExtraFD + 1)} {
		target, err := os.Readlink(filepath.Join("/proc", itoa(driver), "fd", fd))
		must(t, err)
		held[target] = true
	}
	dir := filepath.Join("/proc", itoa(guard), "fd")
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		must(t, err)
		if held[target] {
			t.Errorf("descriptor %s of the guard is the driver's %s", e.Name(), target)
		}
	}
}

func residentLines(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", itoa(pid), "status"))
	must(t, err)
	var lines []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "RssAnon") {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
	}
	return strings.Join(lines, ", ")
}

// A group whose leader somebody else collected is not killed by its number, which may be
// another's: the guard, which is in it, does that.
func TestRunnerCollectedByOthers(t *testing.T) {
	c := newClient(t, helperCandidate(t), helperMode("child"))
	c.mustServe(t)
	child, pid := childPid(t, c), c.runner.Pid()
	var collecting sync.WaitGroup
	collecting.Go(func() { _, _ = syscall.Wait4(pid, nil, 0, nil) }) // whether this or the runner is first
	must(t, syscall.Kill(pid, syscall.SIGKILL))
	collecting.Wait()
	c.mustBeGone(t)
	hosttest.Eventually(t, "the child is gone", func() bool { return !running(child) })
}

// Whenever Kill comes, before, while or after driver and guard are started, nothing is left.
func TestRunnerKillAtAnyMoment(t *testing.T) {
	candidate := scriptCandidate(t, "sleep 1000 &\nexec sleep 1000\n")
	for i := range 40 {
		c := newClient(t, candidate, func(s *Spec, _ *plugin.ClientConfig) {
			if i%2 == 1 {
				s.Limits = Limits{OpenFiles: 64, NoNewPrivileges: true}
			}
		})
		failed := make(chan error, 1)
		go func() {
			_, err := c.Start()
			failed <- err
		}()
		<-time.After(time.Duration(i) * 150 * time.Microsecond)
		must(t, c.runner.Kill(context.Background()))
		select {
		case err := <-failed:
			if err == nil {
				t.Fatal("it started")
			}
		case <-time.After(hosttest.WaitLimit):
			t.Fatal("Start hangs")
		}
		c.mustBeGone(t)
		if t.Failed() {
			t.Fatalf("round %d: %v", i, c.logs.With(t, "directory of the driver is left behind"))
		}
		hosttest.Eventually(t, "no process is left", func() bool { return len(marked(c.base)) == 0 })
	}
}

func TestRunnerTracedAndStopped(t *testing.T) {
	c := newClient(t, helperCandidate(t), nil)
	if c.runner.Traced() || c.runner.Stopped() || c.runner.Guarded() {
		t.Error("a process that was not started is traced, stopped or guarded")
	}
	c.mustServe(t)
	if c.runner.Traced() || c.runner.Stopped() {
		t.Error("the process is traced or stopped")
	}
	must(t, c.runner.Signal(syscall.SIGSTOP))
	hosttest.Eventually(t, "it is stopped", c.runner.Stopped)
	must(t, c.runner.Signal(syscall.SIGCONT))
	hosttest.Eventually(t, "it goes on", func() bool { return !c.runner.Stopped() })
	traceFor(t, c.runner.Pid(), func() {
		if !c.runner.Traced() {
			t.Error("the tracer is not seen")
		}
	})
	if c.runner.Traced() {
		t.Error("the tracer is gone and still seen")
	}
	c.mustServe(t)
	c.Kill()
	c.mustBeGone(t)
	if c.runner.Traced() || c.runner.Stopped() || c.runner.Guarded() {
		t.Error("a process that has ended is traced, stopped or guarded")
	}
}

// testHost is a host in a process of its own.
type testHost struct {
	cmd    *exec.Cmd
	driver int
}

// startHost starts a host with one driver, and waits until it serves.
func startHost(t *testing.T, base *Base, env ...string) testHost {
	t.Helper()
	host := exec.Command(os.Args[0])
	host.Env = append(os.Environ(), roleVariable+"=host",
		"TEST_BASE="+filepath.Dir(base.path), "TEST_DRIVER="+helperProgram(t))
	host.Env = append(host.Env, env...)
	host.Stderr = os.Stderr
	out, err := host.StdoutPipe()
	must(t, err)
	must(t, host.Start())
	t.Cleanup(func() {
		_ = host.Process.Kill()
		_ = host.Wait()
		if t.Failed() { // the test itself leaves nothing
			for _, pid := range marked(base) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	text, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(text))
	must(t, err)
	return testHost{cmd: host, driver: pid}
}

// actAsHost starts a driver, prints its pid and waits to be killed.
func actAsHost() {
	base, err := OpenBase(os.Getenv("TEST_BASE"), os.Getenv)
	fail(err)
	r, err := New(Spec{
		Driver: driverfile.Candidate{Name: "helper", Path: os.Getenv("TEST_DRIVER")}, Base: base, Majors: []int{1},
		Env: []string{"HELPER_MODE=" + os.Getenv("HELPER_MODE"), "HELPER_SETSID=" + os.Getenv("HELPER_SETSID")},
	})
	fail(err)
	config := clientConfig()
	config.RunnerFunc = r.RunnerFunc
	config.UnixSocketConfig = &plugin.UnixSocketConfig{TempDir: r.Dir()}
	_, err = plugin.NewClient(config).Start()
	fail(err)
	_, err = os.Stdout.WriteString(itoa(r.Pid()) + "\n")
	fail(err)
	<-r.Exited()
}

func fail(err error) {
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}
