// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// FakeDriverDir builds the fake driver and returns the directory it is in.
func FakeDriverDir(t testing.TB) string {
	t.Helper()
	dir := filepath.Dir(helperProgram(t))
	out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "parley-driver-fake"), "../../../plugins/fake").CombinedOutput()
	if err != nil {
		t.Fatalf("build the fake driver: %v\n%s", err, out)
	}
	return dir
}

// SignalForTest sends a signal to the process of a driver, as an operator could.
func (h *Host) SignalForTest(name string, sig syscall.Signal) error {
	h.mu.Lock()
	s := h.running[processKey{driver: name}]
	h.mu.Unlock()
	p, err := s.process(context.Background(), false)
	if err != nil {
		return err
	}
	return p.runner.Signal(sig)
}
