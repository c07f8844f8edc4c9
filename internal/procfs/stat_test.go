// SPDX-License-Identifier: Apache-2.0

//go:build linux

package procfs

import (
	"os"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	s, ok := parse([]byte("42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 100 1 1 1"))
	if want := (Stat{State: 'S', Parent: 7, CPU: 2 * time.Second, Start: 100}); !ok || s != want {
		t.Errorf("got %+v, %v", s, ok)
	}
	for _, text := range []string{"", "42 a S 7", "42 (a) S 7 1", "42 (a) S 7 42 42 0 -1 4194560 1 2 3 4 150 50"} {
		if s, ok := parse([]byte(text)); ok {
			t.Errorf("%q: got %+v", text, s)
		}
	}
}

func TestOwnProcessIsFound(t *testing.T) {
	own, ok := Read(os.Getpid())
	if !ok || own.Parent != os.Getppid() || own.Start == 0 {
		t.Errorf("got %+v, %v, want parent %d", own, ok, os.Getppid())
	}
	if got := All()[os.Getpid()]; got.Start != own.Start {
		t.Errorf("among all: %+v", got)
	}
	if _, ok := Read(1 << 30); ok {
		t.Error("a process that cannot be was found")
	}
}
