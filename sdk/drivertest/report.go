// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Status is what became of a case.
type Status string

// The statuses.
const (
	Passed    Status = "passed"
	Failed    Status = "failed"
	NotProven Status = "not proven"
)

// Result is what became of one case.
type Result struct {
	Rule    string        `json:"rule"`
	Name    string        `json:"name"`
	Status  Status        `json:"status"`
	Details []string      `json:"details,omitempty"` // failures, logs, or why it was not proven
	Elapsed time.Duration `json:"elapsed"`
}

// Check runs the cases without package testing's runner: for a command line, and for tests of
// the suite itself. With rules it runs only the cases of these.
func Check(h Harness, rules ...string) []Result {
	var results []Result
	for _, c := range casesFor(h.Info()) {
		if len(rules) > 0 && !slices.Contains(rules, c.Rule) {
			continue
		}
		results = append(results, c.check(h))
	}
	return results
}

func (c Case) check(h Harness) Result {
	r := Result{Rule: c.Rule, Name: c.Name, Status: NotProven}
	if why := c.missing(h, h.Info()); why != "" {
		r.Details = []string{why}
		return r
	}
	started := time.Now()
	rec := &recorder{}
	var proven string // written by the case, read once it has finished
	finished := rec.do(func() { proven = c.prove(rec, h) })
	limit := time.NewTimer(4*h.timeout() + closeTimeout)
	defer limit.Stop()
	select {
	case <-finished:
		r.Status, r.Details = rec.outcome(proven)
	case <-limit.C:
		// The driver ignores ctx. The goroutine is lost; saying so is better than hanging.
		rec.Errorf("the case did not end: a call of the driver ignores its ctx")
		r.Status, r.Details = rec.outcome("")
	}
	r.Elapsed = time.Since(started)
	return r
}

// recorder is a TB that remembers.
type recorder struct {
	mu       sync.Mutex
	lines    []string // guarded by mu
	failed   bool     // guarded by mu
	cleanups []func() // guarded by mu
}

// do runs f in a goroutine of its own, because Fatalf ends the goroutine it is called from.
// The channel is closed when f and the cleanups have ended.
func (r *recorder) do(f func()) <-chan struct{} {
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		defer r.cleanup()
		f()
	}()
	return finished
}

func (r *recorder) cleanup() {
	r.mu.Lock()
	cleanups := slices.Clone(r.cleanups)
	r.mu.Unlock()
	for _, f := range slices.Backward(cleanups) {
		f()
	}
}

func (r *recorder) outcome(unproven string) (Status, []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.failed:
		return Failed, slices.Clone(r.lines)
	case unproven != "":
		return NotProven, append(slices.Clone(r.lines), unproven)
	default:
		return Passed, slices.Clone(r.lines)
	}
}

func (r *recorder) add(failed bool, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
	r.failed = r.failed || failed
}

func (r *recorder) Helper()                           {}
func (r *recorder) Logf(format string, args ...any)   { r.add(false, format, args...) }
func (r *recorder) Errorf(format string, args ...any) { r.add(true, format, args...) }

func (r *recorder) Fatalf(format string, args ...any) {
	r.add(true, format, args...)
	runtime.Goexit()
}

func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}
