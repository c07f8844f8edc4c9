// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestDriverOf starts two drivers of one application, as a swap does: the last one is its driver, until
// it ends.
func TestDriverOf(t *testing.T) {
	drivers := t.TempDir()
	program := filepath.Join(drivers, "parley-driver-mute")
	text, err := os.ReadFile(os.Args[0])
	Must(t, err)
	Must(t, os.WriteFile(program, text, 0o700))
	bed := Bed{Drivers: drivers}
	if pid := bed.DriverOf(os.Getpid()); pid != 0 {
		t.Fatalf("process %d is a driver before one was started", pid)
	}
	first := startMute(t, program)
	mustBeDriver(t, &bed, first)
	// The clock of processes ticks a hundred times a second.
	Pause(t.Context(), 50*time.Millisecond)
	second := startMute(t, program)
	mustBeDriver(t, &bed, second)
	Must(t, second.Process.Kill())
	_ = second.Wait() // it was killed
	mustBeDriver(t, &bed, first)
}

// startMute starts an application that waits for its settings.
func startMute(t *testing.T, program string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), appVariable+"=1")
	stdin, err := cmd.StdinPipe()
	Must(t, err)
	Must(t, cmd.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	return cmd
}

func mustBeDriver(t *testing.T, bed *Bed, want *exec.Cmd) {
	t.Helper()
	if got := bed.DriverOf(os.Getpid()); got != want.Process.Pid {
		t.Errorf("the driver is process %d, want %d", got, want.Process.Pid)
	}
}
