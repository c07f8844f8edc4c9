// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
)

// settings are those of internal/app.
type settings struct {
	URL     string        `json:"url"`
	Server  string        `json:"server"`
	Topic   string        `json:"topic"`
	Callers int           `json:"callers"`
	First   int           `json:"first"`
	Timeout time.Duration `json:"timeout"`
	Work    time.Duration `json:"work"`
}

// event is a line of internal/app's output.
type event struct {
	Event string        `json:"event"`
	N     int           `json:"n"`
	Code  string        `json:"code"`
	Error string        `json:"error"`
	Start int64         `json:"start"`
	Took  time.Duration `json:"took"`
}

// app is a running application.
type app struct {
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{} // closed when it was reaped
	err   error         // of Wait; read after ended
	log   *testbed.Logs

	mu     sync.Mutex
	ready  bool // guarded by mu
	closed bool // it said so; guarded by mu
}

// startApp starts an application whose events go to the ledger. tmp is its directory for
// temporary files.
func startApp(t *testing.T, name, tmp string, l *ledger, s settings) *app {
	t.Helper()
	a := &app{name: name, ended: make(chan struct{}), log: testbed.NewLogs(t)}
	a.cmd = exec.Command(filepath.Join(bed.Bin, "app"))
	a.cmd.Env = append(os.Environ(), "PARLEY_DRIVER_PATH="+bed.Drivers, "PARLEY_RUNTIME_DIR="+bed.Runtime, "TMPDIR="+tmp)
	var line bytes.Buffer
	if err := json.NewEncoder(&line).Encode(s); err != nil {
		t.Fatal(err)
	}
	a.cmd.Stderr = a.log
	stdin, err := a.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	a.stdin = stdin
	stdout, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(a.ended)
		a.read(stdout, l)
		a.err = a.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = a.cmd.Process.Kill() // when the test failed before it stopped it
		<-a.ended
	})
	if _, err := a.stdin.Write(line.Bytes()); err != nil {
		t.Fatal(err)
	}
	testbed.Eventually(t, patience, name+" is ready", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.ready || a.hasEnded()
	})
	if a.hasEnded() {
		t.Fatalf("%s ended: %v\n%s", name, a.err, a.log)
	}
	return a
}

func (a *app) hasEnded() bool {
	select {
	case <-a.ended:
		return true
	default:
		return false
	}
}

// read takes the events until the application closes its output.
func (a *app) read(out io.Reader, l *ledger) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			continue // cut off by a kill
		}
		a.mu.Lock()
		a.ready = a.ready || e.Event == "ready"
		a.closed = a.closed || e.Event == "closed"
		a.mu.Unlock()
		l.add(e)
	}
}

func (a *app) pid() int { return a.cmd.Process.Pid }

// driver is the process of its driver.
func (a *app) driver(t *testing.T) int {
	t.Helper()
	pid := 0
	testbed.Eventually(t, patience, a.name+" has a driver", func() bool {
		pid = bed.DriverOf(a.pid())
		return pid != 0
	})
	return pid
}

// stop ends it cleanly: by SIGTERM, or by the end of its standard input.
func (a *app) stop(t *testing.T, term bool) {
	t.Helper()
	if term {
		if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
	} else if err := a.stdin.Close(); err != nil {
		t.Error(err)
	}
	a.wait(t)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil || !a.closed {
		t.Errorf("%s ended with %v, closed: %t", a.name, a.err, a.closed)
	}
}

// kill ends it as a crash would.
func (a *app) kill(t *testing.T) {
	t.Helper()
	if err := a.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
}

func (a *app) wait(t *testing.T) {
	t.Helper()
	select {
	case <-a.ended:
	case <-time.After(patience):
		t.Fatalf("%s does not end", a.name)
	}
}

// mustLeaveNothing checks that neither process, socket nor temporary file is there, but for the
// sockets of nodes whose driver was killed.
func mustLeaveNothing(t *testing.T, tmp string, killed int) {
	t.Helper()
	var left []string
	look := func() bool {
		sockets := 0
		left = slices.DeleteFunc(bed.Left(tmp), func(path string) bool {
			if !testbed.IsNodeSocket(path) || sockets == killed {
				return false
			}
			sockets++
			return true
		})
		return len(left) == 0
	}
	if !testbed.Wait(2*time.Second, look) {
		t.Errorf("left behind: %v", left)
	}
}

// tempDir is a directory for an application's temporary files.
func tempDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}
