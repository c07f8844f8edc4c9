// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sync"

	"github.com/parleymq/parley/plugin/driver"
)

// stateReporter reports each change of the state, once, until it is ended.
type stateReporter struct {
	report func(driver.State)

	mu    sync.Mutex   // held over report, which does not block, to keep the order
	last  driver.State // guarded by mu
	ended bool         // guarded by mu
}

func newStateReporter(report func(driver.State)) *stateReporter {
	return &stateReporter{report: report}
}

// set reports s if it is new (STATE-1).
func (r *stateReporter) set(s driver.State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended || sameState(s, r.last) {
		return
	}
	r.last = s
	r.report(s)
}

// end stops reporting.
func (r *stateReporter) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
}

func sameState(a, b driver.State) bool {
	return a.Phase == b.Phase && a.Host == b.Host && errorText(a.Err) == errorText(b.Err)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
