// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// Poll collects n deliveries, asking for at most max at a time.
func Poll(ctx context.Context, t testing.TB, l driver.Listener, n, max int) []*driver.Delivery {
	t.Helper()
	var all []*driver.Delivery
	for len(all) < n {
		ds, err := l.Poll(ctx, max)
		if err != nil {
			t.Fatalf("Poll after %d of %d: %v", len(all), n, err)
		}
		if len(ds) == 0 || len(ds) > max {
			t.Fatalf("Poll(%d) returned %d (POLL-1)", max, len(ds))
		}
		all = append(all, ds...)
	}
	return all
}

// Nothing asserts that l has nothing to give for a moment.
func Nothing(t testing.TB, l driver.Listener) {
	t.Helper()
	ds, err := l.Poll(Within(t, 200*time.Millisecond), 10)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Poll returned %d deliveries and %v, want nothing", len(ds), err)
	}
}

// Settle is Done with one result for all.
func Settle(ctx context.Context, t testing.TB, l driver.Listener, r driver.Result, ds ...*driver.Delivery) {
	t.Helper()
	outcomes := make([]driver.Outcome, 0, len(ds))
	for _, d := range ds {
		outcomes = append(outcomes, driver.Outcome{Token: d.Token, Result: r})
	}
	if err := l.Done(ctx, outcomes); err != nil {
		t.Fatalf("Done: %v", err)
	}
}
