// SPDX-License-Identifier: Apache-2.0

package sdk_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/messaging"
)

// records collects what an application logs.
type records struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (r *records) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(b)
}

// with returns the newest record whose message begins with text and that came after the first
// from bytes, or nil.
func (r *records) with(t *testing.T, text string, from int) map[string]any {
	t.Helper()
	r.mu.Lock()
	all := bytes.Clone(r.buf.Bytes()[from:])
	r.mu.Unlock()
	var found map[string]any
	for line := range bytes.Lines(all) {
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("record %q: %v", line, err)
		}
		if s, _ := m["msg"].(string); strings.HasPrefix(s, text) {
			found = m
		} else if s, _ := m["text"].(string); strings.HasPrefix(s, text) {
			found = m
		}
	}
	return found
}

func (r *records) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Len()
}

const waitLimit = 20 * time.Second

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(waitLimit)
	defer deadline.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !condition() {
		select {
		case <-look.C:
		case <-deadline.C:
			t.Fatalf("timed out: %s", what)
		}
	}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	t.Cleanup(cancel)
	return ctx
}

// shortDir is a private directory with a path short enough for sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ps")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// application is one with the chatty driver, which is this test program, under another name.
type application struct {
	transport *messaging.Transport
	host      *messaging.Host
	logs      *records
	level     *slog.LevelVar
}

func openApplication(t *testing.T, rawURL string) *application {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := shortDir(t)
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "parley-driver-chatty"), text, 0o755); err != nil {
		t.Fatal(err)
	}
	a := &application{logs: &records{}, level: &slog.LevelVar{}}
	a.level.Set(slog.LevelError)
	logger := slog.New(slog.NewJSONHandler(a.logs, &slog.HandlerOptions{Level: a.level}))
	a.host = messaging.NewHost(&messaging.HostOptions{
		DriverPath: []string{dir}, RuntimeDir: dir, LockFile: filepath.Join(dir, "lock"), Logger: logger,
		Supervision: messaging.Supervision{HeartbeatInterval: 100 * time.Millisecond},
	})
	a.transport, err = messaging.Open(within(t), rawURL, &messaging.Options{Host: a.host, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.transport.Close(within(t)); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return a
}

// The level of the application's logger is the driver's, and its libraries', a moment later; what
// they print is in the application's log, whatever way they choose.
func TestDriverObeysTheApplicationsLevel(t *testing.T) {
	a := openApplication(t, "chatty://")
	silent := []string{
		"debug of the driver", "debug of a library", "warning of a library", "log.Printf of a library",
		"printed to standard error", "printed to standard output",
	}
	saw := func(text string, from int) bool { return a.logs.with(t, text, from) != nil }
	eventually(t, "errors at level error", func() bool { return saw("error of the driver", 0) })
	for _, text := range silent {
		if saw(text, 0) {
			t.Errorf("%q came at level error", text)
		}
	}

	began, from := time.Now(), a.logs.size()
	a.level.Set(slog.LevelDebug)
	eventually(t, "all of them at level debug", func() bool {
		for _, text := range silent {
			if !saw(text, from) {
				return false
			}
		}
		return true
	})
	took := time.Since(began)
	t.Logf("with heartbeats of 100 ms the level was there after %v", took.Round(time.Millisecond))
	if took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
	for text, level := range map[string]string{
		"debug of the driver": "DEBUG", "warning of a library": "WARN", "log.Printf of a library": "INFO", "printed to standard error": "INFO",
	} {
		if m := a.logs.with(t, text, from); m["level"] != level || m["driver"] != "chatty" || m["pid"] == nil {
			t.Errorf("record %v", m)
		}
	}

	// And back: the driver stops sending, so that the host has nothing to drop.
	a.level.Set(slog.LevelError)
	eventually(t, "silence", func() bool {
		from := a.logs.size()
		eventually(t, "the next error", func() bool { return saw("error of the driver", from) })
		return !saw("debug of the driver", from) && !saw("warning of a library", from)
	})
}

// Ctrl-C at the terminal is the application's to handle, SIGTERM closes the connections.
func TestDriverOfAHostAndSignals(t *testing.T) {
	a := openApplication(t, "chatty://")
	eventually(t, "the process", func() bool { return len(a.host.Running()) == 1 && a.host.Running()[0].PID != 0 })
	pid := a.host.Running()[0].PID
	for range 3 {
		if err := syscall.Kill(pid, syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
	}
	from := a.logs.size()
	eventually(t, "it talks on after SIGINT", func() bool { return a.logs.with(t, "error of the driver", from) != nil })
	if got := a.host.Running()[0]; got.PID != pid || got.Starts != 1 {
		t.Errorf("it was started again: %+v", got)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it closes its connections", func() bool { return a.logs.with(t, "the connection was closed", from) != nil })
	eventually(t, "it is started again", func() bool { r := a.host.Running(); return len(r) == 1 && r[0].PID != 0 && r[0].PID != pid })
}

// Whatever way a driver or its library tells the password, and dies of it, nobody hears it.
func TestPasswordsAreInNoLog(t *testing.T) {
	a := openApplication(t, "chatty://u:S3cr3t%2Fof-the-url@h")
	a.level.Set(slog.LevelDebug)
	eventually(t, "the level", func() bool { return a.logs.with(t, "debug of the driver", 0) != nil })
	ctx, cancel := context.WithTimeout(within(t), 5*time.Second)
	defer cancel()
	pinged := a.transport.Ping(ctx) // the process ends in it
	if pinged == nil {
		t.Error("the ping succeeded")
	}
	for _, text := range []string{
		"a record with ***", "log.Printf with ***", "standard error with ***", "standard output with ***",
		"panic: cannot log in with ***", "driver process ended",
	} {
		eventually(t, text, func() bool { return a.logs.with(t, text, 0) != nil })
	}
	if m := a.logs.with(t, "a record with ***", 0); m["password"] != "***" || m["url"] != "chatty://u:***@h" {
		t.Errorf("record %v", m)
	}
	a.logs.mu.Lock()
	told := a.logs.buf.String()
	a.logs.mu.Unlock()
	if told += pinged.Error(); strings.Contains(told, "S3cr3t") {
		t.Error("the password was told") // and is not told here
	}
	if !strings.Contains(told, "it crashed: \\\"panic: cannot log in with ***\\\"") {
		t.Error("no cause names the crash")
	}
}

// debugged is a driver that was started by hand with --debug.
type debugged struct {
	cmd    *exec.Cmd
	line   string // on standard output
	stdout *bufio.Reader
	stderr *records // text, no JSON
}

func startDebugged(t *testing.T, tmp string) *debugged {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d := &debugged{cmd: exec.Command(program, "--debug"), stderr: &records{}}
	d.cmd.Env = append(os.Environ(), "PARLEY_SDK_TEST_ROLE=driver", "TMPDIR="+tmp)
	d.cmd.Stderr = d.stderr
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill() // unless it has ended
		_ = d.cmd.Wait()
	})
	d.stdout = bufio.NewReader(stdout)
	if d.line, err = d.stdout.ReadString('\n'); err != nil {
		t.Fatalf("no line: %v", err)
	}
	return d
}

// reattachment is the JSON in the line.
func (d *debugged) reattachment(t *testing.T) (network, address string, pid, protocol int) {
	t.Helper()
	text, ok := strings.CutPrefix(d.line, "export PARLEY_REATTACH_CHATTY='")
	text, end := strings.CutSuffix(text, "'\n")
	var v struct {
		Network, Address string
		PID, Protocol    int
	}
	if err := json.Unmarshal([]byte(text), &v); err != nil || !ok || !end {
		t.Fatalf("line %q: %v", d.line, err)
	}
	return v.Network, v.Address, v.PID, v.Protocol
}

func (d *debugged) end(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("after %v: %v", sig, err)
	}
}

func TestDebugSaysWhereItIs(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		tmp := shortDir(t)
		d := startDebugged(t, tmp)
		network, address, pid, protocol := d.reattachment(t)
		if network != "unix" || pid != d.cmd.Process.Pid || protocol != 1 || !strings.HasPrefix(address, tmp+"/") {
			t.Errorf("line %q", d.line)
		}
		dir, err := os.Stat(filepath.Dir(address))
		if err != nil || dir.Mode().Perm() != 0o700 {
			t.Errorf("directory: %v, %v", dir, err)
		}
		if socket, err := os.Lstat(address); err != nil || socket.Mode()&os.ModeSocket == 0 {
			t.Errorf("socket: %v", err)
		}
		eventually(t, "the help", func() bool {
			d.stderr.mu.Lock()
			defer d.stderr.mu.Unlock()
			return strings.Contains(d.stderr.buf.String(), "Ctrl-C ends it")
		})
		d.end(t, sig)
		if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}

// An application that has the address finds the driver again when it was built anew.
func TestDebugComesBackToItsPlace(t *testing.T) {
	tmp := shortDir(t)
	first := startDebugged(t, tmp)
	_, address, _, _ := first.reattachment(t)
	second := startDebugged(t, tmp) // while the first is there
	if _, other, _, _ := second.reattachment(t); other == address {
		t.Error("two drivers at one place")
	}
	second.end(t, syscall.SIGTERM)
	if err := first.cmd.Process.Kill(); err != nil { // it cannot clear up
		t.Fatal(err)
	}
	_ = first.cmd.Wait() // it was killed
	third := startDebugged(t, tmp)
	if _, again, _, _ := third.reattachment(t); again != address {
		t.Errorf("it is at %s, was at %s", again, address)
	}
	third.end(t, syscall.SIGTERM)

	if err := os.MkdirAll(filepath.Dir(address), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(address), 0o777); err != nil {
		t.Fatal(err)
	}
	fourth := startDebugged(t, tmp)
	if _, other, _, _ := fourth.reattachment(t); other == address {
		t.Error("it took a directory that others may write to")
	}
	fourth.end(t, syscall.SIGTERM)
}

func TestDebugWithoutRoomForASocket(t *testing.T) {
	tmp := filepath.Join(shortDir(t), strings.Repeat("d", 100))
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(within(t), program, "--debug")
	cmd.Env = append(os.Environ(), "PARLEY_SDK_TEST_ROLE=driver", "TMPDIR="+tmp)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "set TMPDIR to a short one") {
		t.Errorf("%v: %s", err, out)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
