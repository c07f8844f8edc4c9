// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"testing"
	"time"
)

// TestExcuse: only what a killed application had accepted just then may be run by another, and once.
func TestExcuse(t *testing.T) {
	dead, alive := &app{name: "dead"}, &app{name: "alive"}
	l := newLedger()
	l.mayRegive(dead)
	killed := l.regiven[dead]
	run := func(by *app, after time.Duration) event { return event{by: by, Start: killed.Add(after).UnixNano()} }
	for _, tt := range []struct {
		name string
		runs []event
		want bool
	}{
		{"given again", []event{run(dead, -time.Millisecond), run(alive, time.Second)}, true},
		{"the lines of the second came first", []event{run(alive, time.Second), run(dead, -time.Millisecond)}, true},
		{"accepted long before", []event{run(dead, -2*ackTime), run(alive, time.Second)}, false},
		{"the first lives", []event{run(alive, -time.Millisecond), run(dead, 0)}, false},
		{"the same twice", []event{run(dead, -time.Millisecond), run(dead, 0)}, false},
		{"three times", []event{run(dead, -time.Millisecond), run(alive, 0), run(alive, 1)}, false},
		{"nobody was killed", []event{run(alive, 0), run(nil, time.Second)}, false},
	} {
		if got := l.excused(tt.runs); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
