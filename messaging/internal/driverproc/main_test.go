// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/parleymq/parley/internal/testprogram"
	"github.com/parleymq/parley/messaging/internal/hosttest"
)

// roleVariable makes the test program act as something else than a test.
const roleVariable = "PARLEY_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "host":
		actAsHost()
		return
	case "tracer":
		actAsTracer()
		return
	}
	removeLock, err := hosttest.UseLockFile()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		removeLock()
		removeHelper()
		os.Exit(code)
	}))
}

// helper is the compiled helperdriver, built when the first test wants it.
var helper struct {
	once sync.Once
	dir  string
	err  error
}

// helperProgram returns the path of the compiled helperdriver.
func helperProgram(t testing.TB) string {
	t.Helper()
	helper.once.Do(func() {
		if helper.dir, helper.err = os.MkdirTemp("", "helperdriver"); helper.err != nil {
			return
		}
		helper.err = testprogram.Build(context.Background(), filepath.Join(helper.dir, "helperdriver"), "messaging/internal/driverproc/internal/helperdriver")
	})
	if helper.err != nil {
		t.Fatalf("build the helper driver: %v", helper.err)
	}
	return filepath.Join(helper.dir, "helperdriver")
}

func removeHelper() {
	if helper.dir != "" {
		_ = os.RemoveAll(helper.dir)
	}
}
