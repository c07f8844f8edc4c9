// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
)

func TestDisturb(t *testing.T) {
	p := Plan{Time: "PARLEY_LEDGER_TEST_TIME", Only: "PARLEY_LEDGER_TEST_ONLY"}
	faults := []Fault[int]{{Kind: "kill", Do: func(n *int) { *n++ }}, {Kind: "cut", Do: func(n *int) { *n++ }}}
	for _, tc := range []struct {
		name, time, only string
		kills, cuts      int // at least
	}{
		{"short", "", "", 1, 1},
		{"long", "1ns", "", longRounds, longRounds},
		{"one of them", "", "^k", 1, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv(p.Time, tc.time)
			t.Setenv(p.Only, tc.only)
			made := map[string]*int{"kill": new(int), "cut": new(int)}
			Disturb(t, p, faults, func(f Fault[int]) { f.Do(made[f.Kind]) })
			if *made["kill"] != tc.kills || *made["cut"] != tc.cuts {
				t.Errorf("%d kills and %d cuts, want %d and %d", *made["kill"], *made["cut"], tc.kills, tc.cuts)
			}
		})
	}
}

// TestDir removes the directory of a run, unless somebody wants to look at it.
func TestDir(t *testing.T) {
	p := Plan{Only: "PARLEY_LEDGER_TEST_ONLY"}
	for _, tc := range []struct {
		name, only      string
		onPurpose, kept bool
	}{
		{name: "well"},
		{name: "for somebody", only: "kill", kept: true},
		{name: "broken on purpose", only: "kill", onPurpose: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv(p.Only, tc.only)
			var dir string
			t.Run("run", func(t *testing.T) { dir = p.Dir(t, tc.onPurpose) })
			_, err := os.Stat(Runtime(dir))
			if (err == nil) != tc.kept {
				t.Errorf("kept: %v, want %v", err == nil, tc.kept)
			}
			testbed.Must(t, os.RemoveAll(dir))
		})
	}
}

// TestAwaitQuiet waits for as long as was asked for, and no longer than the limit.
func TestAwaitQuiet(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ledger")
	testbed.Must(t, os.WriteFile(file, []byte("line\n"), 0o600))
	for _, tc := range []struct{ limit, quiet, least time.Duration }{
		{limit: time.Minute, quiet: 100 * time.Millisecond, least: 100 * time.Millisecond},
		{limit: 50 * time.Millisecond, quiet: time.Hour, least: 50 * time.Millisecond},
	} {
		begun := time.Now()
		AwaitQuiet(t, tc.limit, tc.quiet, file)
		if took := time.Since(begun); took < tc.least {
			t.Errorf("it took %v, want %v", took, tc.least)
		}
	}
}

func TestInLog(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	testbed.Must(t, os.WriteFile(file, []byte("WARNING: DATA RACE\n"), 0o600))
	if found := InLog(t, file, "panic: no\n"); len(found) != 2 {
		t.Errorf("found %v, want both", found)
	}
	testbed.Must(t, os.WriteFile(file, []byte("all is well\n"), 0o600))
	if found := InLog(t, file, ""); len(found) != 0 {
		t.Errorf("found %v, want nothing", found)
	}
}
