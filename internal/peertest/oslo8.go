// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"context"
	"os"
	"os/exec"
	"testing"
)

// OsloZmq is the release of oslo.messaging whose zmq driver the tests meet; 9.0.0 has none.
const OsloZmq = "8.1.4"

// OsloZmqCommand returns a command that runs a Python script with that release. Python no longer
// has collections.Mapping and its like, which the script has to put back before it imports it.
func OsloZmqCommand(ctx context.Context, tb testing.TB, script string, args ...string) *exec.Cmd {
	tb.Helper()
	python, err := FindPython(OsloNewest)
	require(tb, err)
	dir, err := installedVenv(OsloZmq)
	require(tb, err)
	cmd := exec.CommandContext(ctx, python.Path, append([]string{"-W", "ignore", script}, args...)...)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+dir, "PYTHONDONTWRITEBYTECODE=1")
	return cmd
}
