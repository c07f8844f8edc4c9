// SPDX-License-Identifier: Apache-2.0

package examples_test

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// TestShutdownAnswersWhatRuns stops the example while a call runs, and sees it answered.
func TestShutdownAnswersWhatRuns(t *testing.T) {
	dir := t.TempDir()
	build(t, dir, "parley-driver-fake", "plugins/fake")
	program := build(t, dir, "shutdown", "examples/shutdown")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), "PARLEY_DRIVER_PATH="+dir)
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(output)
	expect := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Errorf("the program said %q, want %q", lines.Text(), want)
		}
	}
	expect("working; press Enter to finish")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	expect("stopping")
	if _, err := io.WriteString(input, "\n"); err != nil {
		t.Fatal(err)
	}
	expect("answered: done <nil>")
	if lines.Scan() {
		t.Errorf("the program went on with %q", lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the program ended with %v", err)
	}
}
