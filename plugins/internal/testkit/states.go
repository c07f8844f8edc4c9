// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// stateTimeout bounds the wait for a state, on a machine that does other things.
const stateTimeout = time.Minute

// States records what a Conn reports.
type States struct {
	mu      sync.Mutex
	all     []driver.State // guarded by mu
	changed chan struct{}  // of capacity one
}

// NewStates returns States without any.
func NewStates() *States { return &States{changed: make(chan struct{}, 1)} }

// Report is the Report of a Config.
func (s *States) Report(st driver.State) {
	s.mu.Lock()
	s.all = append(s.all, st)
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// All are the states until now.
func (s *States) All() []driver.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

// Len is how many there are.
func (s *States) Len() int { return len(s.All()) }

// Last is the last one, or none.
func (s *States) Last() driver.State {
	all := s.All()
	if len(all) == 0 {
		return driver.State{}
	}
	return all[len(all)-1]
}

func (s *States) String() string { return fmt.Sprint(s.All()) }

// Await waits for a state of that phase, among those reported from the first on. One test at a time
// may wait.
func (s *States) Await(t testing.TB, from int, phase driver.Phase) driver.State {
	t.Helper()
	end := time.NewTimer(stateTimeout)
	defer end.Stop()
	for {
		all := s.All()
		for _, st := range all[min(from, len(all)):] {
			if st.Phase == phase {
				return st
			}
		}
		select {
		case <-s.changed:
		case <-end.C:
			t.Fatalf("no state %v", phase)
		}
	}
}
