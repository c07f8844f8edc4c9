// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Idle peers cost two goroutines each, the owner's reader and the flusher, and a few KiB.
func TestIdlePeersAreCheap(t *testing.T) {
	const peers = 200
	l := listen(t, "tcp://127.0.0.1:0", Options{})
	serve(t, l)
	before, cpu := settled(), processorTime(t)
	var readers sync.WaitGroup
	conns := make([]*Conn, peers)
	for i := range conns {
		conns[i] = dial(t, l.Endpoint(), Options{})
		roundTrip(t, conns[i], echoFrames())
		readers.Go(func() { _, _ = conns[i].Recv() })
	}
	opened := processorTime(t)
	<-time.After(3 * time.Second)
	idle, after := processorTime(t)-opened, settled()
	ends := 2 * peers
	t.Logf("%d connections, both ends here: %d goroutines, %d bytes of heap and stack an end; %v of processor time to open them, %v a second idle with PINGs each second",
		peers, after.goroutines-before.goroutines, (after.heap-before.heap)/uint64(ends), opened-cpu, idle/3)
	// This test's echo server has one more goroutine for each of its ends.
	if n := after.goroutines - before.goroutines; n > 5*peers+10 {
		t.Errorf("%d goroutines for %d connections", n, peers)
	}
	if n := (after.heap - before.heap) / uint64(ends); n > 48*kib {
		t.Errorf("%d bytes for each end", n)
	}
	for _, c := range conns {
		if c.Err() != nil {
			t.Error(c.Err())
		}
		_ = c.Close()
	}
	readers.Wait()
}

func settled() usage {
	runtime.GC()
	runtime.GC()
	u := measure()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.heap = m.HeapAlloc + m.StackInuse
	return u
}

// processorTime is what this process has used.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
