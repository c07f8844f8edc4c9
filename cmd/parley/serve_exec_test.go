// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/messaging"
)

func runner(command string) execRunner {
	return execRunner{command: command, logger: slog.New(slog.DiscardHandler)}
}

func TestExecResult(t *testing.T) {
	tests := []struct {
		name, command string
		want          any
	}{
		{"arguments come in, JSON goes out", "cat", json.RawMessage(`{"a": 1}`)},
		{"the method is known", `printf '"%s"' "$PARLEY_METHOD"`, json.RawMessage(`"do it"`)},
		{"text", "echo hello; echo world", "hello\nworld"},
		{"text with spaces", "printf ' a \\n\\n'", " a \n"},
		{"nothing", ":", nil},
		{"Python's JSON", "echo NaN", json.RawMessage("NaN")},
		{"standard error is not the result", "echo oops >&2; echo 1", json.RawMessage("1")},
		{"arguments that are not read", "exec <&-; echo 1", json.RawMessage("1")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := runner(test.command).run(t.Context(), "do it", json.RawMessage(`{"a": 1}`))
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %#v, %v; want %#v", got, err, test.want)
			}
		})
	}
}

func TestExecFailure(t *testing.T) {
	tests := []struct{ name, command, want string }{
		{"status", "exit 3", "the command ended with status 3"},
		{"with a reason", "echo 'no such thing' >&2; exit 1", "the command ended with status 1: no such thing"},
		{"signal", "kill -9 $$", "the command failed: signal: killed"},
		{"too much", "yes | head -c 20000000", "the command printed more than 16777216 bytes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := runner(test.command).run(t.Context(), "m", json.RawMessage(`{}`))
			e, ok := errors.AsType[*messaging.RemoteError](err)
			if !ok || e.Message != test.want || e.Class != "CommandFailed" {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestExecTellsTheEndOfStandardError(t *testing.T) {
	_, err := runner("yes | head -c 100000 >&2; echo last words >&2; exit 1").run(t.Context(), "m", json.RawMessage(`{}`))
	e, ok := errors.AsType[*messaging.RemoteError](err)
	if !ok || !strings.HasSuffix(e.Message, "last words") || len(e.Message) > keptStderr+100 {
		t.Errorf("got %d bytes: %.100s", len(e.Message), e.Message)
	}
}

// TestExecKillsTheGroup: what the command started ends with it, at the deadline.
func TestExecKillsTheGroup(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	done := make(chan error, 1)
	go func() {
		_, err := runner("sleep 1000 & echo $! > "+pidFile+".new; mv "+pidFile+".new "+pidFile+"; wait").run(ctx, "m", json.RawMessage(`{}`))
		done <- err
	}()
	pid := awaitPID(t, pidFile)
	cancel(errors.New("time is over"))
	err := <-done
	if e, ok := errors.AsType[*messaging.RemoteError](err); !ok || e.Message != "the command was killed: time is over" {
		t.Errorf("got %v", err)
	}
	eventually(t, "the end of the command's child", func() bool { return gone(pid) })
}

// TestExecBackground: what a command leaves running neither delays the result for long nor
// outlives it.
func TestExecBackground(t *testing.T) {
	got, err := runner("sleep 1000 & echo $!").run(t.Context(), "m", json.RawMessage(`{}`))
	raw, ok := got.(json.RawMessage)
	if err != nil || !ok {
		t.Fatalf("got %v, %v", got, err)
	}
	pid, err := strconv.Atoi(string(raw))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the command's child", func() bool { return gone(pid) })
}

func TestExecTimeout(t *testing.T) {
	r := runner("sleep 1000")
	r.timeout = 50 * time.Millisecond
	_, err := r.run(t.Context(), "m", json.RawMessage(`{}`))
	if err == nil || !strings.Contains(err.Error(), "longer than this server allows") {
		t.Errorf("got %v", err)
	}
}

func awaitPID(t *testing.T, file string) int {
	t.Helper()
	pid := 0
	eventually(t, file, func() bool {
		text, err := os.ReadFile(file)
		if err != nil {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil
	})
	return pid
}

// gone reports whether a process has ended; one that nobody has waited for yet has, too.
func gone(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	limit := time.After(20 * time.Second)
	for !condition() {
		select {
		case <-ticker.C:
		case <-limit:
			t.Fatalf("waited too long for %s", what)
		}
	}
}
