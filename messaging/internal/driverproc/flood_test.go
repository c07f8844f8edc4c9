// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-plugin"

	"github.com/parleymq/parley/messaging/internal/hosttest"
)

const (
	// A driver prints floodBytes before it is judged, or for floodTime and floodLeast: with the
	// race detector much is slow.
	floodBytes = 64 << 20
	floodTime  = 2 * time.Second
	floodLeast = 1 << 20
	// floodHeap is what that may cost the host.
	floodHeap = 8 << 20
)

// Whatever a driver prints, and however much, it is served and the host's memory is bounded.
func TestFloodsAreBounded(t *testing.T) {
	for _, stream := range []string{"stdout", "stderr"} {
		for _, text := range []string{"lines", "line", "long lines", "binary", "json"} {
			t.Run(stream+" "+text, func(t *testing.T) { testFlood(t, stream, text) })
		}
	}
}

func testFlood(t *testing.T, stream, text string) {
	c := newClient(t, helperCandidate(t), func(s *Spec, _ *plugin.ClientConfig) {
		s.Env = []string{"HELPER_MODE=flood", "HELPER_STREAM=" + stream, "HELPER_TEXT=" + text}
		s.Logger = nil // the test's own would keep it all
	})
	c.mustServe(t)
	before, peak := heap(), uint64(0)
	must(t, c.runner.Signal(syscall.SIGUSR1))
	began, printed := time.Now(), int64(0)
	hosttest.Eventually(t, "enough is printed", func() bool {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		peak = max(peak, m.HeapInuse)
		printed = written(t, c.runner.Pid())
		return printed > floodBytes || printed > floodLeast && time.Since(began) > floodTime
	})
	c.mustServe(t)
	after := heap()
	t.Logf("%d MiB printed in %v", printed>>20, time.Since(began).Round(time.Millisecond))
	t.Logf("heap %d KiB before, %d after, %d in use at most", before>>10, after>>10, peak>>10)
	if after > before+floodHeap || peak > before+4*floodHeap {
		t.Errorf("the heap grew from %d to %d bytes, in use at most %d", before, after, peak)
	}
	c.Kill()
	c.mustBeGone(t)
}

// heap is what is in use. What is allocated while the collector runs counts until it runs again,
// which is much when a driver floods a busy machine: the least of a few is what is kept.
func heap() uint64 {
	least := uint64(math.MaxUint64)
	for range 5 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		least = min(least, m.HeapAlloc)
	}
	return least
}

// written is how many bytes a process has written to anything.
func written(t *testing.T, pid int) (n int64) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", itoa(pid), "io"))
	must(t, err)
	for line := range bytes.Lines(text) {
		if _, err := fmt.Sscanf(string(line), "wchar: %d", &n); err == nil {
			return n
		}
	}
	t.Fatalf("no count in %s", text)
	return 0
}

func TestRunnerServesWithoutStdout(t *testing.T) {
	c := newClient(t, helperCandidate(t), helperMode("close-stdout"))
	c.mustServe(t)
	must(t, c.runner.Signal(syscall.SIGUSR1))
	hosttest.Eventually(t, "it is closed", func() bool {
		_, err := os.Readlink(filepath.Join("/proc", itoa(c.runner.Pid()), "fd", "1"))
		return os.IsNotExist(err)
	})
	c.mustServe(t)
	c.Kill()
	c.mustBeGone(t)
}
