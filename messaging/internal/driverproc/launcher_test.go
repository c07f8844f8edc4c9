// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/go-plugin"

	"github.com/parleymq/parley/messaging/internal/hosttest"
	"github.com/parleymq/parley/plugin/driver"
)

func launchedBy(command ...string) func(*Spec, *plugin.ClientConfig) {
	return func(s *Spec, _ *plugin.ClientConfig) { s.Launcher = command }
}

// needProgram skips the test where a launcher is not installed.
func needProgram(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("NOT PROVEN: a driver under %s: %v", name, err)
	}
}

// The launcher becomes the driver: the process is the same, with all it inherited.
func TestRunnerLauncher(t *testing.T) {
	for name, tc := range map[string]struct {
		command []string
		check   func(*testing.T, int)
	}{
		"nice": {[]string{"nice", "-n", "5"}, func(t *testing.T, pid int) {
			// The kernel answers 20 minus the nice value.
			if p, err := syscall.Getpriority(syscall.PRIO_PROCESS, pid); err != nil || p != 15 {
				t.Errorf("priority %d (%v)", p, err)
			}
		}},
		"setpriv": {[]string{"setpriv", "--no-new-privs"}, func(t *testing.T, pid int) {
			if got := statusField(t, pid, "NoNewPrivs"); got != "1" {
				t.Errorf("NoNewPrivs is %q", got)
			}
		}},
		"env": {[]string{"env", "LAUNCHED=yes"}, func(t *testing.T, pid int) {
			text, err := os.ReadFile(filepath.Join("/proc", itoa(pid), "environ"))
			must(t, err)
			if !slices.Contains(strings.Split(string(text), "\x00"), "LAUNCHED=yes") {
				t.Errorf("the environment is %q", text)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			needProgram(t, tc.command[0])
			c := newClient(t, helperCandidate(t), launchedBy(tc.command...))
			c.mustServe(t)
			pid := c.runner.Pid()
			tc.check(t, pid)
			if exe, err := os.Readlink(filepath.Join("/proc", itoa(pid), "exe")); err != nil || exe != c.runner.spec.Driver.Path {
				t.Errorf("it runs %q (%v)", exe, err)
			}
			checkInherited(t, pid)
			must(t, c.runner.Kill(context.Background()))
			c.mustBeGone(t)
		})
	}
}

func checkInherited(t *testing.T, pid int) {
	t.Helper()
	for fd := firstExtraFD; fd <= firstExtraFD+1; fd++ {
		if _, err := os.Readlink(filepath.Join("/proc", itoa(pid), "fd", itoa(fd))); err != nil {
			t.Errorf("descriptor %d did not get through: %v", fd, err)
		}
	}
}

// A launcher that stays and forks the driver leaves nothing either.
func TestRunnerLauncherForks(t *testing.T) {
	for name, command := range map[string][]string{
		"a child":                    {"unshare", "--fork"},
		"a process namespace":        {"unshare", "--fork", "--pid"},
		"another session":            {"setsid", "--fork", "--wait"},
		"bwrap":                      {"bwrap", "--dev-bind", "/", "/", "--unshare-pid", "--"},
		"a scope of systemd's":       {"systemd-run", "--scope", "--quiet", "--"},
		"sent away, and it has left": {"setsid", "--fork"},
	} {
		t.Run(name, func(t *testing.T) {
			// Not every machine has these programs, or the init system they want: nobody can install
			// that for a test, and so it is said and no failure.
			if out, err := exec.Command(command[0], append(command[1:], "true")...).CombinedOutput(); err != nil {
				t.Logf("NOT PROVEN: a driver under %v: %v: %s", command, err, out)
				return
			}
			c := newClient(t, helperCandidate(t), launchedBy(command...))
			if name == "sent away, and it has left" {
				// The process that was started is the one that counts.
				if _, err := c.Start(); err == nil {
					<-c.runner.Exited()
				}
			} else {
				c.mustServe(t)
			}
			if name == "a child" && len(marked(c.base)) != 3 {
				t.Errorf("processes %v, want launcher, driver and guard", marked(c.base))
			}
			must(t, c.runner.Kill(context.Background()))
			c.mustBeGone(t)
			hosttest.Eventually(t, "all is gone", func() bool { return len(marked(c.base)) == 0 })
		})
	}
}

func TestLauncherRefused(t *testing.T) {
	dir := hosttest.PrivateDir(t)
	loose := hosttest.WriteProgram(t, dir, "loose", "#!/bin/sh\nexec \"$@\"\n")
	must(t, os.Chmod(loose, 0o777))
	for name, tc := range map[string]struct {
		command []string
		texts   []string
	}{
		"missing":        {[]string{"no-such-launcher"}, []string{"launcher no-such-launcher", "executable file not found", "install it"}},
		"missing file":   {[]string{"/no/such/launcher"}, []string{"launcher /no/such/launcher", "absolute path"}},
		"not executable": {[]string{"/etc/passwd"}, []string{"launcher /etc/passwd", "permission denied"}},
		"loose":          {[]string{loose, "-x"}, []string{"may be written by group or others (mode 0777)", "chmod go-w " + loose}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(Spec{Driver: helperCandidate(t), Base: testBase(t), Majors: []int{1}, Launcher: tc.command})
			if err == nil {
				t.Fatal("it was accepted")
			}
			hosttest.MustSay(t, driver.AsError(err), driver.ReasonConfig, tc.texts...)
		})
	}
}

// What a launcher itself does wrong is said.
func TestLauncherFails(t *testing.T) {
	for name, tc := range map[string]struct {
		script string
		reason driver.Reason
		texts  []string
	}{
		"refuses":            {"#!/bin/sh\necho no rights >&2; exit 5\n", driver.ReasonDriverGone, []string{"exited with code 5", "no rights"}},
		"closes descriptors": {"#!/bin/sh\nexec 3<&- 4<&-\nexec \"$@\"\n", driver.ReasonDriverGone, []string{"exited with code 12", "pass on descriptor 3"}},
		"is none":            {"hello\n", driver.ReasonConfig, []string{"launcher", "cannot be executed", "exec format error"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := hosttest.WriteProgram(t, hosttest.PrivateDir(t), "launcher", tc.script)
			err := newClient(t, helperCandidate(t), launchedBy(path)).startError(t)
			t.Log(err)
			hosttest.MustSay(t, err, tc.reason, tc.texts...)
		})
	}
}
