// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os/exec"
)

// buildWorker builds the worker beside the drivers.
func buildWorker(ctx context.Context, path string) error {
	out, err := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/parleymq/parley/internal/bench/cmd/worker").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build the worker: %w\n%s", err, out)
	}
	return nil
}
