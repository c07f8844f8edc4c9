// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"testing"
	"time"
)

// Must ends the test when there is an error.
func Must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// Pause lets time pass, or less when ctx ends. It is for what has a pace: who waits for something
// looks for it with [Wait].
func Pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
