// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/parleymq/parley/internal/testprogram"
	"github.com/parleymq/parley/messaging/internal/hosttest"
)

func TestMain(m *testing.M) {
	if pid := os.Getenv(tracedVariable); pid != "" {
		if err := trace(pid); err != nil {
			fmt.Fprintln(os.Stderr, "trace:", err)
			os.Exit(1)
		}
		return
	}
	if os.Getenv(probeVariable) != "" {
		serveProbe()
		return
	}
	if socket := os.Getenv(relayVariable); socket != "" {
		serveRelay(socket)
		return
	}
	removeLock, err := hosttest.UseLockFile()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// Before any test changes the environment that the compiler needs.
	if err := buildFake(); err != nil {
		fmt.Fprintln(os.Stderr, "build the fake driver:", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		removeLock()
		_ = os.RemoveAll(fakeDir)
		os.Exit(code)
	}))
}

// fakeDir is where TestMain put the fake driver.
var fakeDir string

func buildFake() (err error) {
	if fakeDir, err = os.MkdirTemp("", "fakedriver"); err != nil {
		return err
	}
	return testprogram.Build(context.Background(), filepath.Join(fakeDir, "parley-driver-fake"), "plugins/fake")
}

// FakeDriverDir is the directory that the fake driver is in.
func FakeDriverDir(testing.TB) string { return fakeDir }
