// SPDX-License-Identifier: Apache-2.0

//go:build unix

package host_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/messaging/internal/host"
	"github.com/parleymq/parley/messaging/internal/hosttest"
	"github.com/parleymq/parley/plugin/driver"
)

// handStarted is a fake driver that was started with --debug, as by a debugger.
type handStarted struct {
	cmd   *exec.Cmd
	value string // of the variable that it printed
}

// startByHand starts it with its socket below tmp.
func startByHand(t *testing.T, tmp string) *handStarted {
	t.Helper()
	d := &handStarted{cmd: exec.Command(filepath.Join(host.FakeDriverDir(t), "parley-driver-fake"), "--debug")}
	d.cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	d.cmd.Stderr = testWriter{t}
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("no line: %v", err)
	}
	variable, value, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
	if variable != "PARLEY_REATTACH_FAKE" {
		t.Fatalf("line %q", line)
	}
	d.value = strings.Trim(value, "'")
	return d
}

func (d *handStarted) kill() {
	_ = d.cmd.Process.Kill() // unless it has ended
	_ = d.cmd.Wait()         // it may have been waited for
}

func (d *handStarted) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// newAttachingHost is a host that finds no driver file.
func newAttachingHost(t *testing.T, logs *hosttest.Records) *host.Host {
	t.Helper()
	return newFakeHost(t, func(o *host.Options) {
		o.DriverPath = nil
		o.HeartbeatInterval, o.HeartbeatTimeout = 20*time.Millisecond, 100*time.Millisecond
		o.BackoffMax = 50 * time.Millisecond
		o.BreakerFailures = -1
		if logs != nil {
			o.Logger = logs.Logger()
		}
	})
}

// sendAndPoll proves that the driver works.
func sendAndPoll(t *testing.T, c *host.Conn, id string) {
	t.Helper()
	ctx := within(t, 20*time.Second)
	l, err := c.Listen(ctx, serverSource)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(ctx, []*driver.Message{cast(id)}); err != nil {
		t.Fatal(err)
	}
	ds, err := l.Poll(ctx, 10)
	if err != nil || len(ds) != 1 || ds[0].UniqueID != id {
		t.Fatalf("got %v, %v", ds, err)
	}
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// An application uses a driver that was started by hand, one after the other, and leaves it alone.
func TestApplicationsUseADriverStartedByHand(t *testing.T) {
	d := startByHand(t, shortDir(t))
	t.Setenv("PARLEY_REATTACH_FAKE", d.value)
	for _, id := range []string{"first", "second", "third"} {
		t.Run(id, func(t *testing.T) {
			logs := &hosttest.Records{}
			h := newAttachingHost(t, logs)
			c := openFake(t, h)
			sendAndPoll(t, c, id)
			if r := h.Running(); len(r) != 1 || r[0].PID != d.cmd.Process.Pid || r[0].Lives != 1 {
				t.Errorf("running %+v", r)
			}
			m := logs.With(t, "a driver is used that was started by hand with --debug: it is not watched, and its log is where it was started")
			if m == nil || m["level"] != "WARN" || m["pid"] != float64(d.cmd.Process.Pid) {
				t.Errorf("record %v", m)
			}
			if err := h.SignalForTest("fake", syscall.SIGKILL); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("signal: %v", err)
			}
			if err := h.Reload(within(t, 10*time.Second), "fake"); driver.ReasonOf(err) != driver.ReasonUnsupported {
				t.Errorf("reload: %v", err)
			}
			sendAndPoll(t, c, id+" again")
		})
	}
	d.signal(t, 0) // it is there still
	d.signal(t, syscall.SIGTERM)
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("end: %v", err)
	}
}

// At a breakpoint the driver answers nothing, for as long as somebody thinks.
func TestBreakpointIsNoReasonToKill(t *testing.T) {
	d := startByHand(t, shortDir(t))
	t.Setenv("PARLEY_REATTACH_FAKE", d.value)
	h := newAttachingHost(t, nil)
	c := openFake(t, h)
	d.signal(t, syscall.SIGSTOP)
	hosttest.Eventually(t, "late heartbeats", func() bool { return h.Running()[0].Phase == host.Degraded })
	hosttest.Eventually(t, "many times the limit has passed", func() bool { return time.Since(h.Running()[0].Since) > time.Second })
	d.signal(t, syscall.SIGCONT)
	sendAndPoll(t, c, "after the breakpoint")
	if r := h.Running(); r[0].Lives != 1 || r[0].PID != d.cmd.Process.Pid {
		t.Errorf("running %+v", r)
	}
}

// A driver that was built anew and started again is found at its old place.
func TestDriverStartedByHandAgain(t *testing.T) {
	tmp := shortDir(t)
	first := startByHand(t, tmp)
	t.Setenv("PARLEY_REATTACH_FAKE", first.value)
	h := newAttachingHost(t, nil)
	c := openFake(t, h)
	sendAndPoll(t, c, "first")
	first.kill()
	hosttest.Eventually(t, "the end is noticed", func() bool { return h.Running()[0].PID == 0 })
	var err error
	hosttest.Eventually(t, "a cause", func() bool { err = h.Running()[0].Err; return err != nil })
	if text := err.Error(); !strings.Contains(text, "PARLEY_REATTACH_FAKE") {
		t.Errorf("cause %v", err)
	}
	second := startByHand(t, tmp)
	hosttest.Eventually(t, "the new one is used", func() bool { return h.Running()[0].PID != 0 })
	sendAndPoll(t, c, "second")
	if second.value == "" || addressOf(t, first.value) != addressOf(t, second.value) {
		t.Errorf("%s became %s", first.value, second.value)
	}
}

func addressOf(t *testing.T, value string) string {
	t.Helper()
	var v struct{ Address string }
	if err := json.Unmarshal([]byte(value), &v); err != nil {
		t.Fatal(err)
	}
	return v.Address
}

// The second application is told that the driver is taken.
func TestDriverStartedByHandServesOneAtATime(t *testing.T) {
	d := startByHand(t, shortDir(t))
	t.Setenv("PARLEY_REATTACH_FAKE", d.value)
	c := openFake(t, newAttachingHost(t, nil))
	other := newAttachingHost(t, nil)
	_, err := other.Open(within(t, 20*time.Second), host.OpenRequest{Config: driver.Config{Driver: "fake"}})
	if err == nil || !strings.Contains(err.Error(), "serves another application") {
		t.Fatalf("got %v", err)
	}
	sendAndPoll(t, c, "undisturbed")
}

// What the variable says must be right: nothing is started in its stead.
func TestWrongReattachVariable(t *testing.T) {
	t.Setenv("PARLEY_REATTACH_FAKE", `{"network":"unix","address":"/nowhere/socket","pid":1,"protocol":1}`)
	h := newFakeHost(t, nil)
	_, err := h.Open(within(t, 20*time.Second), host.OpenRequest{Config: driver.Config{Driver: "fake"}})
	if driver.ReasonOf(err) != driver.ReasonDriverGone || !strings.Contains(err.Error(), "PARLEY_REATTACH_FAKE") {
		t.Errorf("got %v", err)
	}
}
