// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/go-plugin"

	"github.com/parleymq/parley/messaging/internal/driverfile"
	"github.com/parleymq/parley/messaging/internal/hosttest"
	"github.com/parleymq/parley/plugin/driver"
)

// statusField reads a line of /proc/PID/status.
func statusField(t *testing.T, pid int, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", itoa(pid), "status"))
	must(t, err)
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("%s has no %s", text, name)
	return ""
}

// limitsOf reads the soft and hard limits of a process.
func limitsOf(t *testing.T, pid int) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", itoa(pid), "limits"))
	must(t, err)
	limits := make(map[string]string)
	for _, m := range regexp.MustCompile(`(?m)^(Max .*?) {2,}(\S+) +(\S+)`).FindAllStringSubmatch(string(text), -1) {
		limits[m[1]] = m[2] + " " + m[3]
	}
	return limits
}

func TestRunnerLimits(t *testing.T) {
	for name, launcher := range map[string][]string{"": nil, "under a launcher": {"env"}} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, helperCandidate(t), func(s *Spec, _ *plugin.ClientConfig) {
				s.Launcher = launcher
				s.Limits = Limits{OpenFiles: 100, AddressSpace: 8 << 30, Processes: 5000, NoNewPrivileges: true}
			})
			c.mustServe(t)
			pid := c.runner.Pid()
			limits := limitsOf(t, pid)
			for name, want := range map[string]string{
				"Max open files": "100 100", "Max address space": "8589934592 8589934592", "Max processes": "5000 5000",
			} {
				if limits[name] != want {
					t.Errorf("%s: %q, want %q", name, limits[name], want)
				}
			}
			if statusField(t, pid, "NoNewPrivs") != "1" || statusField(t, pid, "TracerPid") != "0" {
				t.Error("it may gain privileges, or is traced")
			}
			if statusField(t, os.Getpid(), "NoNewPrivs") != "0" {
				t.Error("the host gave up its own privileges")
			}
			if !c.runner.Guarded() {
				t.Error("there is no guard")
			}
			c.Kill()
			c.mustBeGone(t)
		})
	}
	// The thread that gave up its privileges starts nothing else.
	c := newClient(t, helperCandidate(t), nil)
	c.mustServe(t)
	if limits := limitsOf(t, c.runner.Pid()); statusField(t, c.runner.Pid(), "NoNewPrivs") != "0" || limits["Max open files"] == "100 100" {
		t.Errorf("the next driver has the limits of the one before: %v", limits)
	}
}

// The first instruction runs under the limits: a script's first command sees them.
func TestLimitsComeFirst(t *testing.T) {
	c := newClient(t, scriptCandidate(t, "ulimit -n; ulimit -Hn; exit 3\n"), func(s *Spec, _ *plugin.ClientConfig) {
		s.Limits = Limits{OpenFiles: 77}
	})
	err := c.startError(t)
	hosttest.MustSay(t, err, driver.ReasonDriverGone, "exited with code 3", `standard output: "77" "77"`)
}

func TestLimitsAreNotRaised(t *testing.T) {
	own := limitsOf(t, os.Getpid())
	_, hard, _ := strings.Cut(own["Max open files"], " ")
	c := newClient(t, helperCandidate(t), func(s *Spec, _ *plugin.ClientConfig) { s.Limits = Limits{OpenFiles: 1 << 40} })
	c.mustServe(t)
	if got := limitsOf(t, c.runner.Pid())["Max open files"]; got != hard+" "+hard {
		t.Errorf("got %q, want the host's hard limit %q", got, hard)
	}
}

// Limits that are too low are the driver's end, and are said.
func TestLimitsTooLow(t *testing.T) {
	c := newClient(t, helperCandidate(t), func(s *Spec, _ *plugin.ClientConfig) { s.Limits = Limits{AddressSpace: 1 << 20} })
	err := c.startError(t)
	hosttest.MustSay(t, err, driver.ReasonDriverGone, "before its handshake", "it ran under limits; raise them")
}

// The errors of the kernel come through, and nothing hangs on the way.
func TestLimitsOfWhatIsNotExecuted(t *testing.T) {
	path := hosttest.WriteProgram(t, hosttest.PrivateDir(t), "broken", "hello")
	for range 20 {
		c := newClient(t, driverfile.Candidate{Name: "broken", Path: path}, func(s *Spec, _ *plugin.ClientConfig) {
			s.Limits = Limits{OpenFiles: 50, NoNewPrivileges: true}
		})
		hosttest.MustSay(t, c.startError(t), driver.ReasonConfig, "exec format error")
	}
}
