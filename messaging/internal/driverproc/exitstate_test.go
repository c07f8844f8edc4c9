// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"strings"
	"syscall"
	"testing"
)

func TestExitStateString(t *testing.T) {
	for _, tc := range []struct {
		state ExitState
		want  string
	}{
		{ExitState{}, "was not started"},
		{ExitState{Pid: 1}, "runs"},
		{ExitState{Pid: 1, Exited: true}, "exited with code 0"},
		{ExitState{Pid: 1, Exited: true, Code: -1}, "ended, exit status unknown"},
		{ExitState{Pid: 1, Exited: true, Code: -1, Signal: syscall.SIGKILL, Killed: true}, "was killed by the host"},
		{ExitState{Pid: 1, Exited: true, Code: -1, Signal: syscall.SIGSEGV, Core: true}, "was killed by signal 11 (segmentation fault), and left a core dump"},
		{ExitState{Pid: 1, Exited: true, Code: 2, Killed: true}, "exited with code 2"},
	} {
		if got := tc.state.String(); got != tc.want {
			t.Errorf("%+v: got %q, want %q", tc.state, got, tc.want)
		}
	}
}

func TestExitStateEvidence(t *testing.T) {
	s := ExitState{Stderr: []string{"1", "2", "3", "4", "5", "6\t\""}}
	if got := s.evidence(); got != `; its standard error: "2" "3" "4" "5" "6\t\""` {
		t.Errorf("got %s", got)
	}
	s.Crash = "panic: x"
	if got := s.evidence(); !strings.Contains(got, `it crashed: "panic: x"`) || strings.Contains(got, "6") {
		t.Errorf("got %s", got)
	}
}
