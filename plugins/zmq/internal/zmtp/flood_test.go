// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Row 3 of the list of zmq4's faults: its one silent client stopped all others. Here a thousand
// silent clients and a thousand that send garbage come at once, while a peer works and new ones
// come.
func TestFloodDoesNotDisturbPeers(t *testing.T) {
	const clients = 1000
	o := Options{MaxHandshakes: 256}
	l := listen(t, "tcp://127.0.0.1:0", o)
	serve(t, l)
	peer := dial(t, l.Endpoint(), o)
	before := measure()
	calm := echoTimes(t, peer, 2000, func() bool { return false })

	var flood sync.WaitGroup
	start := time.Now()
	done := make(chan struct{})
	silent := func(net.Conn) {}
	garbage := func(c net.Conn) { _, _ = c.Write(someGarbage()) }
	address := strings.TrimPrefix(l.Endpoint(), "tcp://")
	for _, act := range []func(net.Conn){silent, garbage} {
		for range 4 {
			flood.Go(func() { attack(address, clients/4, act, done) })
		}
	}
	joined := make(chan time.Duration, 1)
	flood.Go(func() { joined <- newcomers(t, l.Endpoint(), 20, o) })
	var worst usage
	busy := echoTimes(t, peer, 4000, func() bool {
		now := measure()
		worst.heap = max(worst.heap, now.heap)
		worst.goroutines = max(worst.goroutines, now.goroutines)
		worst.extra = max(worst.extra, now.goroutines-3*int(l.conns.Load()))
		return time.Since(start) < 2500*time.Millisecond // past the deadline of the handshakes
	})
	close(done)
	flood.Wait()

	t.Logf("echo p50 %v p99 %v; in the flood p50 %v p99 %v worst %v (%d echoes)",
		at(calm, 50), at(calm, 99), at(busy, 50), at(busy, 99), busy[len(busy)-1], len(busy))
	t.Logf("goroutines %d to %d, heap %d KiB to %d KiB; slowest newcomer %v",
		before.goroutines, worst.goroutines, before.heap>>10, worst.heap>>10, <-joined)
	// A third of the garbage comes after a good handshake, and each Conn is served by three
	// goroutines here. The rest are handshakes, 8 attackers, and what is just ending.
	if n := worst.extra - before.goroutines; n > 2*o.MaxHandshakes+100 {
		t.Errorf("%d goroutines more than the Conns have", n)
	}
	if n := int64(worst.heap) - int64(before.heap); n > 64*mib {
		t.Errorf("%d bytes of heap more", n)
	}
	if p99 := at(busy, 99); p99 > 2*time.Second {
		t.Errorf("echoes wait for %v", p99)
	}
	eventually(t, "all clients are gone", func() bool {
		l.shaking.mu.Lock()
		defer l.shaking.mu.Unlock()
		return l.shaking.open.Len() == 0
	})
}

// attack opens connections and keeps them until done.
func attack(address string, n int, act func(net.Conn), done <-chan struct{}) {
	var open []net.Conn
	for range n {
		c, err := net.Dial("tcp", address)
		if err != nil {
			continue
		}
		act(c)
		open = append(open, c)
	}
	<-done
	for _, c := range open {
		_ = c.Close()
	}
}

// someGarbage is noise, or a good start with noise behind it.
func someGarbage() []byte {
	noise := make([]byte, 1+rand.IntN(300))
	for i := range noise {
		noise[i] = byte(rand.Int())
	}
	switch rand.IntN(3) {
	case 0:
		return noise
	case 1:
		return append(goodGreeting(nil), noise...)
	default:
		return append(append(goodGreeting(nil), goodReady("garbage")...), noise...)
	}
}

// newcomers come one after the other and return how long the slowest took.
func newcomers(t *testing.T, endpoint string, n int, o Options) time.Duration {
	var worst time.Duration
	for range n {
		start := time.Now()
		c, err := Dial(soon(t), endpoint, o)
		for err != nil && time.Since(start) < patience { // this machine may be busy with more than this
			c, err = Dial(soon(t), endpoint, o)
		}
		if err != nil {
			t.Errorf("a newcomer was not heard: %v", err)
			continue
		}
		if err := c.Send(frames("hello")); err != nil {
			t.Error(err)
		}
		if _, err := c.Recv(); err != nil {
			t.Error(err)
		}
		worst = max(worst, time.Since(start))
		_ = c.Close()
	}
	return worst
}

// echoTimes sends at least n messages, one after the other, and returns their sorted times.
func echoTimes(t *testing.T, c *Conn, n int, more func() bool) []time.Duration {
	t.Helper()
	var all []time.Duration
	for i := 0; i < n || i%50 != 0 || more(); i++ {
		if i%50 == 0 {
			more()
		}
		start := time.Now()
		roundTrip(t, c, echoFrames())
		all = append(all, time.Since(start))
	}
	slices.Sort(all)
	return all
}

func at(sorted []time.Duration, percent int) time.Duration {
	return sorted[len(sorted)*percent/100]
}

type usage struct {
	goroutines int
	extra      int // goroutines that serve no Conn
	heap       uint64
}

func measure() usage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{goroutines: runtime.NumGoroutine(), heap: m.HeapInuse}
}

// Peers that announce the most and send nothing get nothing set aside. Eight that send a little get
// it, and are closed when others want it.
func TestAnnouncedBytesAreBounded(t *testing.T) {
	o := Options{MaxMessage: 8 * mib, Budget: NewBudget(16 * mib), PingInterval: -1}
	l := listen(t, "tcp://127.0.0.1:0", o)
	for range 50 {
		c, router := rawPeer(t, l)
		write(t, c, longFrame(0, 8*mib), []byte("x"))
		background(t, router)
	}
	var ends []<-chan error
	for range 8 {
		c, router := rawPeer(t, l)
		write(t, c, longFrame(0, 8*mib), make([]byte, earnest))
		ends = append(ends, background(t, router))
	}
	eventually(t, "the budget is taken", func() bool { return o.Budget.held() == 16*mib })
	good := dial(t, l.Endpoint(), o)
	router := accept(t, l)
	var work sync.WaitGroup
	work.Go(func() { echo(router) })
	defer work.Wait()
	defer func() { _ = router.Close() }()
	start := time.Now()
	roundTrip(t, good, [][]byte{make([]byte, 60*kib)}) // asks for nothing
	if took := time.Since(start); took > 500*time.Millisecond {
		t.Errorf("a small message waited for %v", took)
	}
	roundTrip(t, good, [][]byte{make([]byte, 4*mib), make([]byte, 3*mib)})
	t.Logf("a big message came through after %v", time.Since(start))
	if o.Budget.held() > 16*mib {
		t.Errorf("%d bytes are held", o.Budget.held())
	}
	ended := 0
	for _, e := range ends {
		select {
		case err := <-e:
			ended++
			if ended == 1 {
				t.Log(err)
			}
		default:
		}
	}
	if ended == 0 {
		t.Error("nobody made room")
	}
}
