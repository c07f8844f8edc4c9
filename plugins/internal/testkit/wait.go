// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// Within is a context that ends with the test, and after d.
func Within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// Eventually waits for a condition of the broker or the driver.
func Eventually(t testing.TB, patience time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-deadline.C:
			if !ok() {
				t.Fatalf("it did not happen: %s", what)
			}
			return
		case <-t.Context().Done():
			t.Fatal("the test ended")
		}
	}
}

// Must ends the test when there is an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// FailsWith asserts the reason of a failure.
func FailsWith(t testing.TB, err error, want driver.Reason) {
	t.Helper()
	_ = Failure(t, err, want)
}

// Failure is FailsWith for who wants to see more of the failure.
func Failure(t testing.TB, err error, want driver.Reason) *driver.Error {
	t.Helper()
	e, ok := errors.AsType[*driver.Error](err)
	if !ok || e.Reason != want {
		t.Fatalf("got %v, want a failure with %s", err, want)
	}
	return e
}
