// SPDX-License-Identifier: Apache-2.0

//go:build unix

package driverfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parleymq/parley/plugin/driver"
)

const (
	// describeTimeout bounds the run of a driver that is asked what it is.
	describeTimeout = 10 * time.Second
	// describeGrace is how long its output is waited for after its end.
	describeGrace = time.Second
	// maxSaid bounds what is kept of what it says to standard error.
	maxSaid = 1 << 10
)

// describe runs the program to print its description. file is how errors name it.
func describe(ctx context.Context, program, file string) (text []byte, m manifest, err error) {
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	stdout := &bounded{limit: maxManifest, over: cancel}
	stderr := &bounded{limit: maxSaid}
	err = runPatiently(ctx, func() *exec.Cmd { return describeCommand(ctx, program, stdout, stderr) })
	switch {
	case stdout.full:
		err = fmt.Errorf("it printed more than %d bytes", maxManifest)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("it did not end within %s", describeTimeout)
	case err == nil:
		m, err = parseManifest(stdout.kept.Bytes())
	}
	if err == nil && !validName(m.Name) {
		err = fmt.Errorf("it calls itself %q", m.Name)
	}
	if err != nil {
		return nil, m, notDescribed(file, err, stderr.kept.String())
	}
	return stdout.kept.Bytes(), m, nil
}

func describeCommand(ctx context.Context, program string, stdout, stderr io.Writer) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, "describe")
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.Env = describeEnv(os.Getenv)
	cmd.WaitDelay = describeGrace
	// Its children are killed with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	return cmd
}

// How long, and how often, a program that is open for writing is tried again.
const (
	busyWait  = 250 * time.Millisecond
	busyPause = 10 * time.Millisecond
)

// runPatiently runs a program that was just written: a process that another part of this program
// forked meanwhile has it open for a moment.
func runPatiently(ctx context.Context, command func() *exec.Cmd) error {
	deadline := time.Now().Add(busyWait)
	for {
		err := command().Run()
		if !errors.Is(err, unix.ETXTBSY) || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		<-time.After(busyPause)
	}
}

func notDescribed(file string, err error, said string) error {
	e := driver.Errorf(driver.ReasonConfig, "%s does not describe itself as a driver: %w", file, err).
		WithHint("is it a driver of Parley, for this machine? See: %s describe", ShellQuote(file))
	if said = strings.TrimSpace(said); said != "" {
		e.Message += fmt.Sprintf("; it said %q", said)
	}
	return e
}

// describeEnv is what a program that only prints needs.
func describeEnv(env func(string) string) []string {
	var out []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "LANG"} {
		if value := env(name); value != "" {
			out = append(out, name+"="+value)
		}
	}
	return out
}

// bounded keeps the first bytes of what is written to it. The buffer is not embedded: its ReadFrom
// would go past the limit.
type bounded struct {
	kept  bytes.Buffer
	limit int
	over  func() // called when there was more; may be nil
	full  bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := b.limit - b.kept.Len()
	if len(p) > room {
		b.full = true
		if b.over != nil {
			b.over()
		}
	}
	_, err := b.kept.Write(p[:min(len(p), room)])
	return len(p), err
}
