// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/parleymq/parley/internal/pyjson"
	"github.com/parleymq/parley/messaging"
)

const (
	// methodVariable tells a command which method was called.
	methodVariable = "PARLEY_METHOD"
	// maxResult bounds what a command may print.
	maxResult = 16 << 20
	// keptStderr is how much of the end of a command's standard error its caller is told.
	keptStderr = 2 << 10
	// pipeGrace is how long what a command left running may hold its output open.
	pipeGrace = time.Second
)

// execRunner runs a shell command for each call.
type execRunner struct {
	command string
	timeout time.Duration // 0 is without limit
	logger  *slog.Logger
}

var errExecTimeout = errors.New("it took longer than this server allows")

// commandFailed is the error of a command that did not do its work. The command itself is
// not told to the caller.
func commandFailed(format string, args ...any) error {
	return &messaging.RemoteError{Module: "parley", Class: "CommandFailed", Message: fmt.Sprintf(format, args...)}
}

// run runs the command for one call and returns what it printed.
func (r execRunner) run(ctx context.Context, method string, args json.RawMessage) (any, error) {
	if r.timeout > 0 {
		bounded, cancel := context.WithTimeoutCause(ctx, r.timeout, errExecTimeout)
		defer cancel()
		ctx = bounded
	}
	stdout := &limitedBuffer{limit: maxResult}
	stderr := &tailBuffer{limit: keptStderr}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", r.command)
	cmd.Env = append(os.Environ(), methodVariable+"="+method)
	cmd.Stdin = bytes.NewReader(args)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = groupOfItsOwn()
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
	cmd.WaitDelay = pipeGrace
	err := runLocked(cmd)
	if stderr.Len() > 0 {
		r.logger.InfoContext(ctx, "the command wrote to standard error", "method", method, "text", stderr.String())
	}
	if err = r.judge(ctx, err, stdout, stderr); err != nil {
		return nil, err
	}
	return result(stdout.kept), nil
}

// runLocked runs cmd to its end, and ends what it left running. The thread is held because
// Linux takes the end of the thread that started a process for the death of its parent.
func runLocked(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return err
	}
	err := cmd.Wait()
	// Nothing is there to kill, as a rule.
	_ = killGroup(cmd.Process.Pid)
	return err
}

// killGroup kills a process group that is led by pid.
func killGroup(pid int) error {
	if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil {
		return os.ErrProcessDone
	}
	return nil
}

// judge turns the end of a command into the error for the caller. What the command left in
// the background holding its output is no failure of the command.
func (r execRunner) judge(ctx context.Context, err error, stdout *limitedBuffer, stderr *tailBuffer) error {
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case ctx.Err() != nil:
		return commandFailed("the command was killed: %v%s", context.Cause(ctx), stderr.after())
	case stdout.over:
		return commandFailed("the command printed more than %d bytes", maxResult)
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		return nil
	case exited && exit.ExitCode() >= 0:
		return commandFailed("the command ended with status %d%s", exit.ExitCode(), stderr.after())
	default:
		return commandFailed("the command failed: %v%s", err, stderr.after())
	}
}

// result is what a command printed: JSON if it is, else a text without its last line end.
func result(printed []byte) any {
	value := bytes.TrimSpace(printed)
	switch {
	case len(value) == 0:
		return nil
	case pyjson.Valid(value) == nil:
		return json.RawMessage(value)
	default:
		text := strings.ToValidUTF8(string(printed), "\uFFFD")
		return strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	}
}

// limitedBuffer keeps what is written up to a limit and fails beyond it.
type limitedBuffer struct {
	kept  []byte
	limit int
	over  bool
}

var errTooMuch = errors.New("too much output")

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if len(b.kept)+len(p) > b.limit {
		b.over = true
		return 0, errTooMuch
	}
	b.kept = append(b.kept, p...)
	return len(p), nil
}

// tailBuffer keeps the end of what is written.
type tailBuffer struct {
	tail  []byte
	limit int
}

func (b *tailBuffer) Write(p []byte) (int, error) {
	b.tail = append(b.tail, p...)
	if cut := len(b.tail) - b.limit; cut > 0 {
		b.tail = append(b.tail[:0], b.tail[cut:]...)
	}
	return len(p), nil
}

func (b *tailBuffer) Len() int { return len(b.tail) }

func (b *tailBuffer) String() string {
	return strings.TrimSpace(strings.ToValidUTF8(string(b.tail), "\uFFFD"))
}

// after is the text to append to an error.
func (b *tailBuffer) after() string {
	if text := b.String(); text != "" {
		return ": " + text
	}
	return ""
}
