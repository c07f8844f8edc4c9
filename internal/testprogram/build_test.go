// SPDX-License-Identifier: Apache-2.0

package testprogram

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const buildTimeout = 2 * time.Minute

// TestBuild builds a program of the module from several places at a time, kept and not.
func TestBuild(t *testing.T) {
	for name, kept := range map[string]string{"not kept": "", "kept": filepath.Join(t.TempDir(), "kept")} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(keptVariable, kept)
			ctx, cancel := context.WithTimeout(t.Context(), buildTimeout)
			defer cancel()
			dir := t.TempDir()
			var builders sync.WaitGroup
			for _, name := range []string{"one", "two"} {
				builders.Go(func() {
					file := filepath.Join(dir, name)
					if err := Build(ctx, file, "internal/testlog"); err != nil {
						t.Error(err)
						return
					}
					if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o755 {
						t.Errorf("got %v, %v", st, err)
					}
					// It takes the log of no test for a failure.
					if out, _ := exec.CommandContext(ctx, file).CombinedOutput(); !strings.Contains(string(out), "0 passed") {
						t.Errorf("it does not run: %s", out)
					}
				})
			}
			builders.Wait()
			if err := Build(ctx, filepath.Join(dir, "three"), "internal/nothing"); err == nil || !strings.Contains(err.Error(), "build internal/nothing") {
				t.Errorf("a package that is not there: %v", err)
			}
		})
	}
}

// TestLocked: whoever has the lock is waited for, until ctx ends.
func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := lock(ctx, path); err == nil {
		t.Error("it was locked twice")
	}
	unlock()
	again, err := lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	again()
}
