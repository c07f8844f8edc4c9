// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
)

// TestProof is what rabbit_confirm_acks changes, and what it does not.
func TestProof(t *testing.T) {
	broker := peertest.RunSharedRabbitMQ(t)
	for _, tt := range []struct {
		name string
		run  func(*bench)
	}{
		{"POLL-5 lost and not proven", func(b *bench) { testLostAck(b, false, 1) }},
		{"POLL-5 lost and proven", func(b *bench) { testLostAck(b, true, 0) }},
		{"POLL-3 ends unproven", testPollEndsUnproven},
		{"POLL-5 cuts, not proven", func(b *bench) { testCutsUnderAcks(b, map[string]string{optConfirmAcks: "false"}) }},
		{"POLL-5 cuts, proven", func(b *bench) { testCutsUnderAcks(b, map[string]string{optConfirmAcks: "true"}) }},
		{"POLL-5 cuts, proven, quorum queues", func(b *bench) {
			testCutsUnderAcks(b, map[string]string{optConfirmAcks: "true", optQuorumQueue: "true"})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(newBench(t, broker)) })
	}
}

// testLostAck loses an acknowledgement that was written: without a proof two servers are given the
// message, with it the first one is not. wantFirst is how often the first one is given it.
func testLostAck(b *bench, prove bool, wantFirst int) {
	options := map[string]string{optConfirmAcks: strconv.FormatBool(prove)}
	p := peertest.RunAMQPProxy(b.t, b.broker.Addr())
	first := b.listen(open(b.t, testkit.Config(b.t, newDriver(), p.Addr(), b.vhost, b.logs, options)), server(driver.SettleOnPoll))
	direct := b.open(options)
	b.send(direct, testkit.Cast(0))
	testkit.Poll(soon(b.t), b.t, first, 1, 10)
	consumes(b.t, p, first)
	p.Reset()
	p.PauseClients()
	b.send(direct, testkit.Cast(1))
	polled := make(chan int, 1)
	ctx, cancel := context.WithCancel(soon(b.t))
	defer cancel()
	go func() {
		ds, err := first.Poll(ctx, 10)
		if len(ds) == 0 && !errors.Is(err, context.Canceled) {
			b.t.Errorf("Poll: %v", err)
		}
		polled <- len(ds)
	}()
	_, err := p.WaitFor(soon(b.t), func(m peertest.Method) bool { return m.FromClient && m.Name == "basic.ack" })
	testkit.Must(b.t, err) // it is written, and the broker has not got it
	if wantFirst > 0 {
		if n := <-polled; n != wantFirst {
			b.t.Errorf("the first server was given %d, want %d", n, wantFirst)
		}
	}
	p.Refuse(true)
	p.CutAll()
	p.Resume()
	source := server(driver.SettleOnPoll)
	source.Target.Server = "s2"
	second := b.listen(direct, source)
	ds := testkit.Poll(soon(b.t), b.t, second, 1, 10)
	if !ds[0].Redelivered {
		b.t.Errorf("the second server was given %+v", ds[0])
	}
	if wantFirst == 0 {
		cancel()
		if n := <-polled; n != wantFirst {
			b.t.Errorf("the first server was given %d, want %d", n, wantFirst)
		}
	}
	p.Refuse(false)
	b.send(direct, testkit.Cast(2))
	nothingElse(b, first, second)
}

// consumes waits until l, behind p, takes from all its queues.
func consumes(t testing.TB, p *peertest.AMQPProxy, l *listener) {
	t.Helper()
	eventually(t, "it consumes", func() bool {
		n := 0
		for _, m := range p.Methods() {
			if m.Name == "basic.consume-ok" {
				n++
			}
		}
		return n >= len(l.top.queues)
	})
}

// nothingElse asserts that of what was sent after a loss each message comes once, to either.
func nothingElse(b *bench, ls ...*listener) {
	b.t.Helper()
	var mu sync.Mutex
	n := 0
	var wg sync.WaitGroup
	for _, l := range ls {
		wg.Go(func() {
			ds, _ := l.Poll(testkit.Within(b.t, time.Second), 10) // one of them gets it and the other nothing
			mu.Lock()
			defer mu.Unlock()
			n += len(ds)
		})
	}
	wg.Wait()
	if n != 1 {
		b.t.Errorf("%d messages came, want 1", n)
	}
}

// testPollEndsUnproven: Poll ends with its ctx although the broker does not answer, and what was
// acknowledged comes with the next one when it does (POLL-3), though not more than that asks for.
func testPollEndsUnproven(b *bench) {
	t := b.t
	p := peertest.RunAMQPProxy(t, b.broker.Addr())
	l := b.listen(open(t, testkit.Config(t, newDriver(), p.Addr(), b.vhost, b.logs, map[string]string{optConfirmAcks: "true"})), server(driver.SettleOnPoll))
	direct := b.open(nil)
	b.send(direct, testkit.Cast(0))
	testkit.Poll(soon(t), t, l, 1, 10)
	consumes(t, p, l)
	p.Reset()
	p.PauseClients()
	b.send(direct, testkit.Cast(1), testkit.Cast(2), testkit.Cast(3))
	for range 3 {
		_, err := p.WaitFor(soon(t), func(m peertest.Method) bool { return m.Name == "basic.deliver" })
		testkit.Must(t, err)
	}
	eventually(t, "all are there", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.ready.Len() == 3
	})
	started := time.Now()
	ds, err := l.Poll(testkit.Within(t, 50*time.Millisecond), 10)
	if took := time.Since(started); !errors.Is(err, context.DeadlineExceeded) || took > proofGrace+5*time.Second {
		t.Fatalf("got %d deliveries and %v after %v", len(ds), err, took)
	}
	p.Resume()
	ds = testkit.Poll(soon(t), t, l, 2, 2)
	ds = append(ds, testkit.Poll(soon(t), t, l, 1, 2)...)
	for i, d := range ds {
		if want := string(testkit.Cast(i + 1).Body); string(d.Body) != want || d.Redelivered || d.Token != 0 {
			t.Errorf("got %+v, want %s", d, want)
		}
	}
	testkit.Nothing(t, l)
}

// testCutsUnderAcks cuts two servers' connections at moments of chance, each frame of which is under
// way for a while: with a proof no message is returned by both, whatever it is that was lost.
func testCutsUnderAcks(b *bench, options map[string]string) {
	f := newAckFaults(b, options)
	f.run(25)
	once, twice, never := f.count()
	b.t.Logf("%d connections cut: %d messages returned once, %d by two servers, %d by none", f.cuts, once, twice, never)
	if twice > 0 && options[optConfirmAcks] == "true" {
		b.t.Errorf("%d messages were returned by two servers", twice)
	}
	if once <= 1 { // the last one is sent when nothing is cut any more
		b.t.Error("no message came once")
	}
}

// ackFaults is two servers of a topic behind a proxy each, and the ledger of what they are given.
type ackFaults struct {
	b         *bench
	sender    *conn
	proxies   []*peertest.AMQPProxy
	listeners []*listener
	cuts      int

	mu       sync.Mutex
	returned map[string]int // by what is sent; guarded by mu
}

func newAckFaults(b *bench, options map[string]string) *ackFaults {
	options[optRetryInterval] = "0.05"
	f := &ackFaults{b: b, sender: b.open(options), returned: map[string]int{}}
	for i := range 2 {
		p := peertest.RunAMQPProxy(b.t, b.broker.Addr())
		source := server(driver.SettleOnPoll)
		source.Target.Server = fmt.Sprint("s", i)
		f.proxies = append(f.proxies, p)
		f.listeners = append(f.listeners, b.listen(open(b.t, testkit.Config(b.t, newDriver(), p.Addr(), b.vhost, b.logs, options)), source))
		p.Delay(time.Millisecond)
	}
	return f
}

// run sends and cuts, and waits for all that comes.
func (f *ackFaults) run(rounds int) {
	ctx, cancel := context.WithCancel(f.b.t.Context())
	var polling sync.WaitGroup
	for _, l := range f.listeners {
		polling.Go(func() { f.poll(ctx, l) })
	}
	for range rounds {
		f.send(50)
		p := f.proxies[f.cuts%len(f.proxies)]
		pause := time.NewTimer(rand.N(8 * time.Millisecond))
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
		p.CutAll()
		f.cuts++
		eventually(f.b.t, "both are connected again", func() bool { return f.proxies[0].Conns() > 0 && f.proxies[1].Conns() > 0 })
	}
	f.drain()
	cancel()
	polling.Wait()
}

// send sends n messages and returns the id of the last one.
func (f *ackFaults) send(n int) string {
	batch := make([]*driver.Message, n)
	f.mu.Lock()
	for i := range batch {
		batch[i] = testkit.Cast(len(f.returned))
		f.returned[batch[i].UniqueID] = 0
	}
	f.mu.Unlock()
	f.b.send(f.sender, batch...)
	return batch[n-1].UniqueID
}

func (f *ackFaults) poll(ctx context.Context, l *listener) {
	for {
		ds, err := l.Poll(ctx, 10)
		f.mu.Lock()
		for _, d := range ds {
			f.returned[d.UniqueID]++
		}
		f.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// drain sends one more, which comes after all that wait, and waits until it came and then nothing for
// a while.
func (f *ackFaults) drain() {
	last := f.send(1)
	eventually(f.b.t, "the last message comes", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.returned[last] > 0
	})
	all := func() (n int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, times := range f.returned {
			n += times
		}
		return n
	}
	before, since := all(), time.Now()
	eventually(f.b.t, "no more messages come", func() bool {
		if now := all(); now != before {
			before, since = now, time.Now()
		}
		return time.Since(since) > time.Second
	})
}

func (f *ackFaults) count() (once, twice, never int) {
	for _, times := range f.returned {
		switch {
		case times == 0:
			never++
		case times > 1:
			twice++
		default:
			once++
		}
	}
	return once, twice, never
}
