// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"time"
)

const (
	castsGrace = 20 * time.Second      // for what was sent to be received
	castsPoll  = 20 * time.Millisecond // between two questions for the count
)

// RunCasts keeps load.InFlight casters busy for load.Seconds, and waits until the server says
// that it received what was sent. What it did not receive counts as errors.
func RunCasts(ctx context.Context, load Load, cast func(context.Context) error, received func(context.Context) (int, error)) Result {
	begin := time.Now()
	before, err := received(ctx)
	if err != nil {
		return Result{Errors: 1, Error: err.Error()}
	}
	r := Run(ctx, load, cast)
	got, err := awaitCasts(ctx, before+r.Calls, received)
	if err != nil && r.Error == "" {
		r.Error = err.Error()
	}
	r.Errors += r.Calls - (got - before)
	r.Calls, r.Seconds = got-before, time.Since(begin).Seconds()
	return r
}

// awaitCasts asks for the count until it is as wanted.
func awaitCasts(ctx context.Context, want int, received func(context.Context) (int, error)) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, castsGrace)
	defer cancel()
	tick := time.NewTicker(castsPoll)
	defer tick.Stop()
	for last := 0; ; {
		got, err := received(ctx)
		if err == nil {
			last = got
		}
		if last >= want {
			return last, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last, fmt.Errorf("%d casts were not received: %w", want-last, ctx.Err())
		}
	}
}
