// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkPeers: calls of one node to 2 and to 200 others of its view, by 16 callers at once. All
// nodes are in this process, so that B/peer is both ends of a link and a node that serves.
func BenchmarkPeers(b *testing.B) {
	for _, count := range []int{2, 200} {
		b.Run(strconv.Itoa(count), func(b *testing.B) { benchmarkPeers(b, count) })
	}
}

func benchmarkPeers(b *testing.B, count int) {
	w := newWorld(b)
	dir := b.TempDir()
	ipc := func(o *Options) { o.Bind, o.Logger = []string{"ipc://" + dir + "/{node}.sock"}, nil }
	client, book := w.open(ipc), newLedger()
	b.Cleanup(book.hear(w, w.listen(client, replies("r-"+client.id))))
	before := heap()
	var wait []func()
	for i := range count {
		n := w.open(ipc)
		wait = append(wait, book.serve(w, n, w.listen(n, server("t", fmt.Sprint("s", i)))))
	}
	b.Cleanup(func() {
		for _, f := range wait {
			f()
		}
	})
	w.knows(client, "t", count)
	var id atomic.Int64
	call := func(server string) error {
		return book.callTo(client, server, strconv.FormatInt(id.Add(1), 10), testWait)
	}
	for i := range count { // a link with each
		if err := call(fmt.Sprint("s", i)); err != nil {
			b.Fatal(err)
		}
	}
	perPeer := (heap() - before) / count
	b.ResetTimer()
	var wg sync.WaitGroup
	left := int64(b.N)
	for range 16 {
		wg.Go(func() {
			for atomic.AddInt64(&left, -1) >= 0 {
				if err := call(""); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	b.ReportMetric(float64(perPeer), "B/peer")
}

func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapInuse + m.StackInuse)
}

// TestManyPeers: above the mesh limit nobody has a link to everybody, and everybody is found.
func TestManyPeers(t *testing.T) {
	const count = 60
	w := newWorld(t)
	dir := t.TempDir()
	ipc := func(o *Options) { o.Bind, o.MeshLimit = []string{"ipc://" + dir + "/{node}.sock"}, 8 }
	client := w.open(ipc)
	var all []*Listener
	for i := range count {
		all = append(all, w.listen(w.open(ipc), server("t", fmt.Sprint("s", i))))
	}
	w.knows(client, "t", count)
	for i := range count {
		m := cast("t", strconv.Itoa(i))
		m.Target.Server = fmt.Sprint("s", i)
		w.mustSend(client, m)
		w.accept(all[i], strconv.Itoa(i))
	}
	w.mustSend(client, fanoutTo("t", "all"))
	links := 0
	later := time.Now().Add(2 * client.o.DeadAfter)
	for _, l := range all {
		w.accept(l, "all")
		l.n.mu.Lock()
		l.n.sweep(later) // those without a link are not gone for that, or the mesh would count as small
		if l.n.small() {
			t.Error("a node takes the mesh for small")
		}
		for _, p := range l.n.peers {
			links += len(p.links)
		}
		l.n.mu.Unlock()
	}
	if links > 4*count {
		t.Errorf("%d nodes have %d links: that is a full mesh", count, links)
	}
	t.Logf("%d servers have %d links", count, links)
	w.idle(client)
}
