// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/parleymq/parley/internal/procfs"
)

func TestOwnerOf(t *testing.T) {
	const self, server = 10, 20
	all := map[int]procfs.Stat{1: {Parent: 0}, self: {Parent: 1}, 11: {Parent: self}, server: {Parent: self},
		21: {Parent: server}, 30: {Parent: 1}, 40: {Parent: 41}, 41: {Parent: 40}}
	for pid, want := range map[int]int{11: self, server: self, 21: server, 30: 0, 40: 0} {
		if got := ownerOf(all, all[pid].Parent, self, server); got != want {
			t.Errorf("%d: got %d, want %d", pid, got, want)
		}
	}
}
