// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"sync"
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

	by *app // whose event it is; nil for this process
}

// app is a running application.
type app struct {
	*testbed.App
	name string

	mu     sync.Mutex
	ready  bool // guarded by mu
	closed bool // it said so; guarded by mu
}

// startApp starts an application whose events go to the ledger. tmp is its directory for
// temporary files.
func startApp(t *testing.T, name, tmp string, l *ledger, s settings) *app {
	t.Helper()
	a := &app{name: name}
	a.App = testbed.StartApp(t, testbed.AppOptions{
		Name: name, Program: filepath.Join(bed.Bin, "app"), Settings: s, Drivers: bed.Drivers,
		Env:    []string{"PARLEY_DRIVER_PATH=" + bed.Drivers, "PARLEY_RUNTIME_DIR=" + bed.Runtime, "TMPDIR=" + tmp},
		OnLine: func(line []byte) { a.read(line, l) },
	})
	testbed.Eventually(t, patience, name+" is ready", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.ready || a.HasExited()
	})
	if a.HasExited() {
		t.Fatalf("%s ended: %v", name, a.Exit(patience))
	}
	return a
}

// read takes an event.
func (a *app) read(line []byte, l *ledger) {
	var e event
	if err := json.Unmarshal(line, &e); err != nil {
		return // cut off by a kill
	}
	a.mu.Lock()
	a.ready = a.ready || e.Event == "ready"
	a.closed = a.closed || e.Event == "closed"
	a.mu.Unlock()
	e.by = a
	l.add(e)
}

// driver is the process of its driver.
func (a *app) driver(t *testing.T) int {
	t.Helper()
	pid, err := a.Driver()
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// stop ends it cleanly: by SIGTERM, or by the end of its standard input.
func (a *app) stop(t *testing.T, term bool) {
	t.Helper()
	end := a.CloseInput
	if term {
		end = a.Terminate
	}
	if err := end(patience); err != nil {
		t.Error(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		t.Errorf("%s did not close", a.name)
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
