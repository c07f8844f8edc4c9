// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
)

// states of the driver, as the application is to see them.
func TestStateFrom(t *testing.T) {
	gone := driver.Errorf(driver.ReasonDriverGone, "the process ended")
	refused := driver.Errorf(driver.ReasonNotConnected, "refused")
	for _, tt := range []struct {
		in   driver.State
		want string
	}{
		{driver.State{Phase: driver.Connecting}, "connecting"},
		{driver.State{Phase: driver.Connecting, Host: "h:5672", Err: refused}, "connecting h:5672: not connected: refused"},
		{driver.State{Phase: driver.Ready, Host: "h:5672"}, "ready h:5672"},
		{driver.State{Phase: driver.Blocked, Host: "h:5672", Err: driver.Errorf(driver.ReasonBrokerBlocked, "memory")}, "blocked h:5672: broker blocked: memory"},
		{driver.State{Phase: driver.Connecting, Err: gone}, "restarting: driver gone: the process ended"},
	} {
		got := stateFrom(tt.in)
		want := tt.want
		if tt.in.Err != nil { // how a driver's error is written is its own business
			want = State{Phase: got.Phase, Host: tt.in.Host, Err: tt.in.Err}.String()
		}
		if got.String() != want || string(got.Phase) != firstWord(tt.want) {
			t.Errorf("%v: got %q, want %q", tt.in, got, want)
		}
	}
}

func firstWord(s string) string {
	for i, r := range s {
		if r == ' ' || r == ':' {
			return s[:i]
		}
	}
	return s
}

func TestStatesOfATransport(t *testing.T) {
	var mu sync.Mutex
	var seen []Phase
	tr, err := OpenDriver(t.Context(), memory.New(), driver.Config{Driver: "fake"}, &Options{OnState: func(s State) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, s.Phase)
	}})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the driver is ready", func() bool { return tr.State().Phase == PhaseReady })
	tr.states.report(driver.State{Phase: driver.Blocked, Err: driver.Errorf(driver.ReasonBrokerBlocked, "memory")})
	if s := tr.State(); s.Phase != PhaseBlocked || s.Err == nil {
		t.Errorf("%v", s)
	}
	if err := tr.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	tr.states.report(driver.State{Phase: driver.Ready}) // a driver's last word is not the last
	mu.Lock()
	defer mu.Unlock()
	if want := []Phase{PhaseReady, PhaseBlocked, PhaseClosed}; !slices.Equal(seen, want) || tr.State().Phase != PhaseClosed {
		t.Errorf("%v", seen)
	}
}
