// SPDX-License-Identifier: Apache-2.0

// Package hosttest has what the tests of drivers' files and processes share.
package hosttest

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// PrivateDir is a directory that passes the checks whatever the umask is.
func PrivateDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	real, err := filepath.EvalSymlinks(dir)
	must(t, err)
	return real
}

// ShortDir is a private directory with a path short enough for sockets.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "ph")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// UseLockFile has this process, and those it starts, record checksums of drivers in a file of its
// own until it is told to remove it: the drivers of tests are no business of the user's lock file.
func UseLockFile() (remove func(), err error) {
	dir, err := os.MkdirTemp("", "parley-lock")
	if err != nil {
		return nil, err
	}
	return func() { _ = os.RemoveAll(dir) }, os.Setenv("PARLEY_LOCK_FILE", filepath.Join(dir, "parley.lock"))
}

// WriteProgram makes a driver of a script.
func WriteProgram(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, "parley-driver-"+name)
	must(t, os.WriteFile(path, []byte(text), 0o755))
	must(t, os.Chmod(path, 0o755))
	return path
}

// Records collects what is logged.
type Records struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (r *Records) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(b)
}

// Logger writes to r.
func (r *Records) Logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug - 4}))
}

// All returns the Records so far.
func (r *Records) All(t testing.TB) []map[string]any {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []map[string]any
	for line := range bytes.Lines(r.buf.Bytes()) {
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("log record %q: %v", line, err)
		}
		out = append(out, m)
	}
	return out
}

// With returns the first record that has the message. It decodes no other, since tests ask
// again and again.
func (r *Records) With(t testing.TB, message string) map[string]any {
	t.Helper()
	quoted, err := json.Marshal(message)
	must(t, err)
	want := append([]byte(`"msg":`), quoted...)
	r.mu.Lock()
	text := bytes.Clone(r.buf.Bytes())
	r.mu.Unlock()
	at := bytes.Index(text, want)
	if at < 0 {
		return nil
	}
	begin := bytes.LastIndexByte(text[:at], '\n') + 1
	line, _, _ := bytes.Cut(text[begin:], []byte("\n"))
	var m map[string]any
	must(t, json.Unmarshal(line, &m))
	return m
}

// WaitLimit bounds every wait of a test.
const WaitLimit = 20 * time.Second

// Eventually waits until the condition holds. It looks often instead of sleeping long.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(WaitLimit)
	defer deadline.Stop()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for !condition() {
		select {
		case <-look.C:
		case <-deadline.C:
			t.Fatalf("timed out: %s", what)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// MustSay fails unless err has the reason and the texts, in one line.
func MustSay(t *testing.T, err *driver.Error, reason driver.Reason, texts ...string) {
	t.Helper()
	if err.Reason != reason {
		t.Errorf("reason %s, want %s: %v", err.Reason, reason, err)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q is missing in: %v", text, err)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %v", err)
	}
}

// Env is os.Getenv over a map.
func Env(pairs map[string]string) func(string) string {
	return func(name string) string { return pairs[name] }
}
