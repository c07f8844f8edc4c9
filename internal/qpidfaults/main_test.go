// SPDX-License-Identifier: Apache-2.0

package qpidfaults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleymq/parley/internal/testbed"
)

const (
	// timeVariable makes the run long.
	timeVariable = "PARLEY_QPIDFAULTS_TIME"
	// onlyVariable is a regular expression for the faults to make, whose files are kept.
	onlyVariable = "PARLEY_QPIDFAULTS_ONLY"
	buildTimeout = 3 * time.Minute
)

// drivers is the directory of the driver.
var drivers string

func TestMain(m *testing.M) {
	testbed.ActAsApp(actAsApp)
	dir, err := os.MkdirTemp("/tmp", "pq")
	if err == nil {
		drivers = filepath.Join(dir, "drivers")
		err = buildDriver()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

func buildDriver() error {
	if err := testbed.EndQuickly(); err != nil {
		return err
	}
	if err := os.Mkdir(drivers, 0o700); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	return testbed.Build(ctx, filepath.Join(drivers, "parley-driver-qpid"), "plugins/qpid")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
