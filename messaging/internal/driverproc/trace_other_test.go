// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package driverproc

import "testing"

func traceFor(t *testing.T, _ int, _ func()) {
	t.Helper()
	t.Skip("NOT PROVEN: a tracer is seen: it is not on this system")
}

func actAsTracer() {}
