// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/parleymq/parley/messaging/internal/driverfile"
	"github.com/parleymq/parley/messaging/internal/hosttest"
)

// A file that is put in the place of the checked one is not the one that runs.
func TestTrustSurvivesSwap(t *testing.T) {
	for _, kind := range []string{"script", "program"} {
		t.Run(kind, func(t *testing.T) {
			dir := hosttest.PrivateDir(t)
			path := filepath.Join(dir, "parley-driver-x")
			if kind == "script" {
				must(t, os.WriteFile(path, []byte("#!/bin/sh\nexit 7\n"), 0o755))
			} else {
				must(t, os.Link(mustLookFalse(t), path))
			}
			c := newClient(t, driverfile.Candidate{Name: "x", Path: path}, nil)
			must(t, os.Remove(path))
			must(t, os.WriteFile(path, []byte("#!/bin/sh\necho evil >&2; exit 66\n"), 0o755))
			err := c.startError(t)
			if s := c.runner.ExitState(); s.Code == 66 || s.Code <= 0 {
				t.Errorf("exit code %d: %v", s.Code, err)
			}
			must(t, c.runner.Kill(context.Background()))
		})
	}
}

// mustLookFalse is a copy of an ELF program that fails at once.
func mustLookFalse(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/bin/false")
	must(t, err)
	path := filepath.Join(hosttest.PrivateDir(t), "false")
	must(t, os.WriteFile(path, text, 0o755))
	must(t, os.Chmod(path, 0o755))
	return path
}
