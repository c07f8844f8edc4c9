// SPDX-License-Identifier: Apache-2.0

package foundation

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleymq/parley/internal/testbed"
)

const (
	module = "github.com/parleymq/parley/"
	root   = "../.."
	// buildTimeout is for builds from nothing, on a busy machine.
	buildTimeout = 4 * time.Minute
	// patience bounds every wait for what must happen.
	patience = 30 * time.Second
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// build compiles a package of the module in dir and returns the directory of drivers it is in.
func build(t *testing.T, dir, path, name string, flags ...string) string {
	t.Helper()
	drivers := t.TempDir()
	must(t, os.Chmod(drivers, 0o755))
	file := filepath.Join(drivers, "parley-driver-"+name)
	if testbed.RaceEnabled() {
		flags = append(flags, "-race")
	}
	command(t, dir, "go", append(append([]string{"build", "-o", file}, flags...), module+path)...)
	must(t, os.Chmod(file, 0o755))
	return drivers
}

func command(t *testing.T, dir, program string, args ...string) []byte {
	t.Helper()
	out, err := run(t, dir, program, args...)
	must(t, err)
	return out
}

func run(t *testing.T, dir, program string, args ...string) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), buildTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return out, fmt.Errorf("%s %v: %w\n%s", program, args, err, out)
	}
	return out, nil
}

// history reports whether the foundation's commit is in the repository at hand.
func history(t *testing.T) bool {
	t.Helper()
	_, err := run(t, root, "git", "cat-file", "-e", Commit+"^{commit}")
	if err != nil {
		t.Logf("NOT PROVEN: %s: the history of the repository is not here: %v", t.Name(), err)
	}
	return err == nil
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
