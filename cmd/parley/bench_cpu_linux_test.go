// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	p, ok := parseStat([]byte("42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 100 1 1 1"))
	if !ok || p.parent != 7 || p.cpu != 2*time.Second {
		t.Errorf("got %+v, %v", p, ok)
	}
	for _, text := range []string{"", "42 a S 7", "42 (a) S 7 1"} {
		if p, ok := parseStat([]byte(text)); ok {
			t.Errorf("%q: got %+v", text, p)
		}
	}
	if own := processes()[os.Getpid()]; own.parent != os.Getppid() {
		t.Errorf("got %+v, want parent %d", own, os.Getppid())
	}
}

func TestOwnerOf(t *testing.T) {
	const self, server = 10, 20
	all := map[int]processStat{1: {parent: 0}, self: {parent: 1}, 11: {parent: self}, server: {parent: self},
		21: {parent: server}, 30: {parent: 1}, 40: {parent: 41}, 41: {parent: 40}}
	for pid, want := range map[int]int{11: self, server: self, 21: server, 30: 0, 40: 0} {
		if got := ownerOf(all, all[pid].parent, self, server); got != want {
			t.Errorf("%d: got %d, want %d", pid, got, want)
		}
	}
}
