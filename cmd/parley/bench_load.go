// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleymq/parley/messaging"
)

// errorPause keeps calls that fail at once from becoming a busy loop.
const errorPause = 10 * time.Millisecond

// load keeps calls in flight.
type load struct {
	noun     string // what there are many of: "calls"
	call     func(context.Context) error
	inFlight int

	done, failed atomic.Int64 // of the current run, for those who watch
}

// loadResult is what a run of load gave.
type loadResult struct {
	latencies   []time.Duration // of the calls that were answered
	errors      map[string]int  // the others, by kind
	first       error
	elapsed     time.Duration
	interrupted bool
}

func (r *loadResult) failed() int {
	n := 0
	for _, count := range r.errors {
		n += count
	}
	return n
}

// run makes calls for so long, or so many, where zero is without limit. The calls that are in
// flight at the end are waited for. The end of ctx ends it at once.
func (l *load) run(ctx context.Context, limit time.Duration, calls int64) *loadResult {
	l.done.Store(0)
	l.failed.Store(0)
	starting, stop := context.WithCancel(ctx)
	defer stop()
	if limit > 0 {
		timer := time.AfterFunc(limit, stop)
		defer timer.Stop()
	}
	var budget *atomic.Int64
	if calls > 0 {
		budget = new(atomic.Int64)
		budget.Store(calls)
	}
	results := make([]loadResult, l.inFlight)
	var workers sync.WaitGroup
	begin := time.Now()
	for i := range results {
		workers.Go(func() { l.work(ctx, starting, budget, &results[i]) })
	}
	workers.Wait()
	total := merge(results)
	total.elapsed = time.Since(begin)
	total.interrupted = ctx.Err() != nil
	return total
}

// work is one worker: it makes one call after another while starting has not ended.
func (l *load) work(ctx, starting context.Context, budget *atomic.Int64, r *loadResult) {
	for starting.Err() == nil {
		if budget != nil && budget.Add(-1) < 0 {
			return
		}
		begin := time.Now()
		err := l.call(ctx)
		took := time.Since(begin)
		switch {
		case err == nil:
			r.latencies = append(r.latencies, took)
			l.done.Add(1)
		case ctx.Err() != nil:
			return
		default:
			r.add(err)
			l.failed.Add(1)
			pause(starting, errorPause)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (r *loadResult) add(err error) {
	if r.errors == nil {
		r.errors = make(map[string]int)
	}
	r.errors[kindOfError(err)]++
	if r.first == nil {
		r.first = err
	}
}

// kindOfError is what errors are counted by.
func kindOfError(err error) string {
	if e, ok := errors.AsType[*messaging.RemoteError](err); ok {
		return codeRemote + " " + e.Class
	}
	return describe(err, false).Code
}

func merge(results []loadResult) *loadResult {
	total := &loadResult{errors: make(map[string]int)}
	n := 0
	for i := range results {
		n += len(results[i].latencies)
	}
	total.latencies = make([]time.Duration, 0, n)
	for i := range results {
		r := &results[i]
		total.latencies = append(total.latencies, r.latencies...)
		for kind, count := range r.errors {
			total.errors[kind] += count
		}
		if total.first == nil {
			total.first = r.first
		}
	}
	return total
}
