// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"fmt"
	"sync"

	"github.com/parleymq/parley/plugin/driver"
)

// Phase is where a transport stands.
type Phase string

// The phases of a transport.
const (
	// PhaseConnecting: the driver has no connection to the broker and is making one.
	PhaseConnecting Phase = "connecting"
	// PhaseReady: messages flow.
	PhaseReady Phase = "ready"
	// PhaseBlocked: the broker is connected and takes no messages.
	PhaseBlocked Phase = "blocked"
	// PhaseRestarting: the driver's process has ended and another is being started.
	PhaseRestarting Phase = "restarting"
	// PhaseClosed: Close was called. It is the last.
	PhaseClosed Phase = "closed"
)

// State is where a transport stands with its driver and its broker.
type State struct {
	Phase Phase
	// Host is the broker's address as host:port, without credentials; empty when unknown.
	Host string
	// Err says why, for the phases Connecting, Blocked and Restarting; may be nil.
	Err error
}

// String returns the state as one line for people.
func (s State) String() string {
	text := string(s.Phase)
	if s.Host != "" {
		text += " " + s.Host
	}
	if s.Err != nil {
		text = fmt.Sprintf("%s: %v", text, s.Err)
	}
	return text
}

// stateFrom turns a driver's word into the application's.
func stateFrom(s driver.State) State {
	phase := Phase(s.Phase.String())
	if s.Phase == driver.Connecting && driver.ReasonOf(s.Err) == driver.ReasonDriverGone {
		phase = PhaseRestarting
	}
	return State{Phase: phase, Host: s.Host, Err: s.Err}
}

// states keeps the last state of a transport and tells the application of each.
type states struct {
	tell func(State)

	mu   sync.Mutex // guards the rest
	last State
	// told are those to be told when there is trouble; see failing.
	told map[*func(error)]struct{}
	// watching are those that are told of each change.
	watching map[*func(State)]struct{}
}

func newStates(tell func(State)) *states {
	if tell == nil {
		tell = func(State) {}
	}
	return &states{tell: tell, last: State{Phase: PhaseConnecting}}
}

// report is what the driver calls.
func (s *states) report(d driver.State) { s.set(stateFrom(d)) }

// end is the last change.
func (s *states) end() { s.set(State{Phase: PhaseClosed}) }

func (s *states) set(state State) {
	s.mu.Lock()
	if s.last.Phase == PhaseClosed {
		s.mu.Unlock()
		return
	}
	s.last = state
	for f := range s.watching {
		(*f)(state)
	}
	trouble := s.troubleLocked()
	if trouble != nil {
		for f := range s.told {
			(*f)(trouble)
		}
	}
	s.mu.Unlock()
	s.tell(state)
}

// troubleLocked is what keeps the driver from its broker, nil while it is connected or making its
// first try.
func (s *states) troubleLocked() error {
	if s.last.Phase == PhaseReady {
		return nil
	}
	return s.last.Err
}

// watch lets f be told of each change until stop is called. f does not block, and is called with
// the lock held.
func (s *states) watch(f func(State)) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watching == nil {
		s.watching = make(map[*func(State)]struct{})
	}
	s.watching[&f] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watching, &f)
	}
}

// failing returns a context that also ends when the driver says that it cannot reach its broker,
// at once when it has said so; the cause is then what it said. It is SEND-10 for what is not a
// message.
func (s *states) failing(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	f := func(trouble error) { cancel(trouble) }
	s.mu.Lock()
	defer s.mu.Unlock()
	if trouble := s.troubleLocked(); trouble != nil {
		cancel(trouble)
	}
	if s.told == nil {
		s.told = make(map[*func(error)]struct{})
	}
	s.told[&f] = struct{}{}
	return ctx, func() {
		cancel(nil)
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.told, &f)
	}
}

func (s *states) now() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// State returns where the transport stands, as its driver last said.
func (t *Transport) State() State { return t.states.now() }
