// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// markVariable is set in the environment of everything that this package
// starts. Its value is the peer's own directory, so helpers that a program put
// into a process group of their own can still be told from everything else.
const markVariable = "PARLEY_PEERTEST"

// marked returns the ids of the live processes that carry the mark.
func marked(mark string) []int {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	entry := []byte(markVariable + "=" + mark)
	var pids []int
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		// Processes of others are unreadable and a zombie's environment is
		// empty; neither is of interest.
		environ, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil {
			continue
		}
		for line := range bytes.SplitSeq(environ, []byte{0}) {
			if bytes.Equal(line, entry) {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids
}

// endMarked waits until no process carries the mark. Those that are left when
// ctx ends are killed, one by one.
func endMarked(ctx context.Context, mark string) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		pids := marked(mark)
		if len(pids) == 0 {
			return
		}
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		return
	}
}
