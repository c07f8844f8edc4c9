// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"sync"

	"github.com/parleymq/parley/plugin/driver"
)

// States makes one state of those of a Conn's links: the Conn is as well as its worst link.
type States struct {
	report func(driver.State)

	mu    sync.Mutex              // held over report, which does not block, to keep the order
	links map[string]driver.State // guarded by mu
	last  driver.State            // guarded by mu
	ended bool                    // guarded by mu
}

// NewStates returns one that calls report with each change, never twice at a time. report must not
// block.
func NewStates(report func(driver.State)) *States {
	return &States{report: report, links: make(map[string]driver.State)}
}

// set stores the state of a link and reports a change of the whole (STATE-1).
func (r *States) set(link string, s driver.State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.links[link] = s
	worst := s
	for _, other := range r.links {
		if rank(other) < rank(worst) {
			worst = other
		}
	}
	if r.ended || sameState(worst, r.last) {
		return
	}
	r.last = worst
	r.report(worst)
}

// End stops reporting.
func (r *States) End() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
}

// rank orders states from the worst to the best. One that knows why it is bad tells more.
func rank(s driver.State) int {
	switch {
	case s.Phase == driver.Connecting && s.Err != nil:
		return 0
	case s.Phase == driver.Connecting:
		return 1
	case s.Phase == driver.Blocked:
		return 2
	default:
		return 3
	}
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
