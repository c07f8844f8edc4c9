// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"time"

	"github.com/parleymq/parley/internal/procfs"
)

// TreeCPU returns the processor time that the processes and all their living descendants have
// used so far. Between two calls no process of the tree may end, or its time is missed.
func TreeCPU(pids ...int) (time.Duration, error) {
	all := procfs.All()
	wanted := make(map[int]bool)
	for _, pid := range pids {
		if _, ok := all[pid]; !ok {
			return 0, fmt.Errorf("process %d is not there", pid)
		}
		wanted[pid] = true
	}
	for grown := true; grown; {
		grown = false
		for pid, s := range all {
			if wanted[s.Parent] && !wanted[pid] {
				wanted[pid], grown = true, true
			}
		}
	}
	var sum time.Duration
	for pid := range wanted {
		sum += all[pid].CPU
	}
	return sum, nil
}
