// SPDX-License-Identifier: Apache-2.0

// Package testprogram builds the programs that tests start: the command, the drivers and
// applications under test. Many test programs need the same ones, and to link one takes seconds:
// PARLEY_TEST_PROGRAMS may name a directory where they are kept from one to the next. What is kept
// is never out of date, for "go build" looks at it each time.
package testprogram

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	module = "github.com/parleymq/parley/"
	// keptVariable names the directory of the programs that are kept.
	keptVariable = "PARLEY_TEST_PROGRAMS"
)

// Build compiles a main package of the module, by its path below the module, into file. flags are
// those of "go build".
func Build(ctx context.Context, file, path string, flags ...string) error {
	err := build(ctx, file, path, flags)
	if err == nil {
		// Whatever the umask is: a driver that others may write is refused.
		err = os.Chmod(file, 0o755) //nolint:gosec // a program
	}
	if err != nil {
		return fmt.Errorf("build %s: %w", path, err)
	}
	return nil
}

func build(ctx context.Context, file, path string, flags []string) error {
	dir := os.Getenv(keptVariable)
	if dir == "" {
		return compile(ctx, file, path, flags)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil { //nolint:gosec // whoever runs the tests names it
		return err
	}
	kept := filepath.Join(dir, strings.ReplaceAll(strings.Join(append([]string{path}, flags...), ""), "/", "-"))
	unlock, err := lock(ctx, kept+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if err := compile(ctx, kept, path, flags); err != nil {
		return err
	}
	// A process of its own writes the copy: a file that is open for writing while this one starts
	// another program could not be run for a moment.
	return run(ctx, "cp", kept, file)
}

func compile(ctx context.Context, file, path string, flags []string) error {
	return run(ctx, "go", append(append([]string{"build", "-o", file}, flags...), module+path)...)
}

func run(ctx context.Context, program string, args ...string) error {
	if out, err := exec.CommandContext(ctx, program, args...).CombinedOutput(); err != nil { //nolint:gosec // tests name both
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// lock waits until no other process has the file locked. The lock ends with the process at the
// latest.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // whoever runs the tests names the directory
	if err != nil {
		return nil, err
	}
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, context.Cause(ctx)), file.Close())
		}
	}
}
