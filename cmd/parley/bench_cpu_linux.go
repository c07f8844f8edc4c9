// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"time"

	"github.com/parleymq/parley/internal/procfs"
)

// cpuTimes is the processor time used so far by this process, the server and their drivers.
func cpuTimes(serverPID int) map[string]time.Duration {
	used := map[string]time.Duration{cpuClient: ownCPU()}
	all := procfs.All()
	self := os.Getpid()
	for pid, p := range all {
		switch owner := ownerOf(all, p.Parent, self, serverPID); {
		case pid == self || owner == 0:
		case pid == serverPID:
			used[cpuServer] += p.CPU
		case owner == serverPID:
			used[cpuServerDriver] += p.CPU
		default:
			used[cpuClientDriver] += p.CPU
		}
	}
	return used
}

// ownerOf returns which of the two a process is below, the nearer one, or 0.
func ownerOf(all map[int]procfs.Stat, pid, self, serverPID int) int {
	for range len(all) { // processes come and go while they are read: no chain is endless
		if pid == self || pid != 0 && pid == serverPID {
			return pid
		}
		p, ok := all[pid]
		if !ok {
			return 0
		}
		pid = p.Parent
	}
	return 0
}
