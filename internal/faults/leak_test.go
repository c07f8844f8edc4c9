// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

const (
	crowd = 64
	// What is not to be answered in time has leakTimeout; slow answers much later, also for a
	// caller whose timer is late on a busy machine.
	leakTimeout = 100 * time.Millisecond
	slowTime    = 4 * leakTimeout
)

// slow answers when nobody waits any more.
var slow = messaging.Method[doArgs, int]{Name: "slow"}

// leakBench is a client and a server of one broker.
type leakBench struct {
	t              *testing.T
	client, server *messaging.Transport
	// toNobody is how a call ends that nobody listens to, when its time is over.
	toNobody error
	// runs is by the number of the call. It is made before anything is measured.
	runs    []atomic.Int32
	next    atomic.Int64 // number of the next call
	longest atomic.Int64 // that was answered
}

// TestLeaksInMemory makes 100 000 calls and lets 1 000 time out on a broker in this process,
// so that whatever is left is the library's.
func TestLeaksInMemory(t *testing.T) {
	mustEndGoroutines(t)
	d := memory.New()
	open := func() *messaging.Transport {
		c, err := d.Open(t.Context(), driver.Config{Driver: "fake", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		tr := messaging.NewTransport(c, &messaging.Options{Logger: slog.New(slog.DiscardHandler)})
		t.Cleanup(func() { testbed.Close(t, tr) })
		return tr
	}
	b := &leakBench{t: t, client: open(), server: open(), toNobody: messaging.ErrNoReply}
	b.run(100_000, 1_000, allowance{goroutines: 2, heap: 1 << 20})
}

// TestLeaks does the same through driver processes and a wire.
func TestLeaks(t *testing.T) { bed.EachWire(t, testLeaks) }

func testLeaks(t *testing.T, w *testbed.Wire) {
	mustEndGoroutines(t)
	url := w.New(t).URL
	b := &leakBench{t: t, client: openQuietly(t, url), server: openQuietly(t, url), toNobody: messaging.ErrNoReply}
	if w.Has(driver.CapDirect) {
		b.toNobody = messaging.ErrUndeliverable // which a driver without a broker knows
	}
	calls, a := 100_000, allowance{goroutines: 2, heap: 2 << 20, driverRAM: 16 << 20}
	if testbed.RaceEnabled() {
		// Under the race detector a tenth: it takes four times as long, and what leaks with
		// a call shows as well. The detector's own memory grows with what it has seen.
		calls, a.driverRAM = calls/10, 96<<20
	}
	calls = times(w, calls)
	b.run(calls, 1_000, a)
}

// openQuietly opens a transport with a driver of its own, whose log is not kept: it would grow
// with the calls.
func openQuietly(t *testing.T, url string) *messaging.Transport {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	host := messaging.NewHost(&messaging.HostOptions{DriverPath: []string{bed.Drivers}, RuntimeDir: bed.Runtime, Logger: logger})
	tr, err := messaging.Open(t.Context(), url, &messaging.Options{Host: host, Logger: logger, AppName: "leaks"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { testbed.Close(t, tr) })
	return tr
}

// mustEndGoroutines looks for goroutines when everything of the test is closed.
func mustEndGoroutines(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

// run compares what is in use after calls and timeouts with what was before. The first calls
// fill what stays filled: pools, the workers of the server, its window of duplicates.
func (b *leakBench) run(calls, timeouts int, a allowance) {
	b.t.Helper()
	const (
		warmCalls, warmOthers = 5_000, 200
		cancels               = 500
	)
	b.runs = make([]atomic.Int32, warmCalls+2*warmOthers+calls+timeouts+cancels+2*crowd)
	b.serve()
	b.answered(warmCalls)
	b.unanswered(warmOthers)
	b.cancelled(warmOthers)
	b.catchUp()
	base := usageNow(b.client)
	testbed.Wait(settleTime/5, func() bool { // until it does not shrink any more
		now := usageNow(b.client)
		smaller := now.Goroutines < base.Goroutines || now.Files < base.Files || now.DriverFiles < base.DriverFiles
		base = now
		return !smaller
	})
	began := time.Now()
	b.answered(calls)
	took := time.Since(began)
	b.unanswered(timeouts)
	b.cancelled(cancels)
	b.catchUp()
	mustReturnTo(b.t, b.client, base, a)
	twice, never := b.ledger()
	late := b.client.Stats().LateReplies
	b.t.Logf("%d calls in %v, all answered, %d that timed out, %d that were cancelled; %d run twice, %d not run; longest answered call %v; %d late replies dropped",
		calls, took.Round(time.Millisecond), timeouts, cancels, twice, never, time.Duration(b.longest.Load()).Round(time.Millisecond), late)
	if late == 0 {
		b.t.Error("no reply came late: the test proves less than it says")
	}
}

// serve serves both methods.
func (b *leakBench) serve() {
	ep := messaging.NewEndpoint(nil)
	do.Handle(ep, func(_ context.Context, a doArgs) (int, error) {
		b.runs[a.N].Add(1)
		return a.N, nil
	})
	slow.Handle(ep, func(ctx context.Context, a doArgs) (int, error) {
		b.runs[a.N].Add(1)
		late := time.NewTimer(slowTime)
		defer late.Stop()
		<-late.C // whatever ctx says: the answer is to come late
		return a.N, ctx.Err()
	})
	testbed.Serve(b.t, messaging.NewRPCServer(b.server, messaging.Target{Topic: topic, Server: "s1"}, nil, ep))
}

// answered makes n calls, of which each must get its own answer.
func (b *leakBench) answered(n int) {
	b.t.Helper()
	c := messaging.NewRPCClient(b.client, messaging.Target{Topic: topic}, &messaging.RPCClientOptions{Timeout: patience})
	b.each(n, func(i int) {
		began := time.Now()
		got, err := do.Call(context.Background(), c, doArgs{i})
		if err != nil || got != i {
			b.t.Errorf("call %d: %d, %v", i, got, err)
		}
		b.slower(time.Since(began))
	})
}

func (b *leakBench) slower(took time.Duration) {
	for {
		longest := b.longest.Load()
		if int64(took) <= longest || b.longest.CompareAndSwap(longest, int64(took)) {
			return
		}
	}
}

// unanswered makes n calls whose time runs out: half of them are run, half sent to nobody. On a busy
// machine the time of a call can be up before it is sent, or before the driver has said what became
// of it, or the broker takes nothing for so long that the driver says so.
func (b *leakBench) unanswered(n int) {
	b.t.Helper()
	tooLong := messaging.NewRPCClient(b.client, messaging.Target{Topic: topic}, &messaging.RPCClientOptions{Timeout: leakTimeout})
	nobody := tooLong.With(messaging.Topic("nobody"))
	var hasty atomic.Int64
	b.each(n, func(i int) {
		c, want := tooLong, messaging.ErrNoReply
		if i%2 == 0 {
			c, want = nobody, b.toNobody
		}
		switch _, err := slow.Call(context.Background(), c, doArgs{i}); {
		case errors.Is(err, want):
		case errors.Is(err, messaging.ErrExpired), errors.Is(err, messaging.ErrUnavailable), errors.Is(err, messaging.ErrInDoubt):
			hasty.Add(1)
		default:
			b.t.Errorf("call %d ended with %v", i, err)
		}
	})
	if hasty.Load() == int64(n) {
		b.t.Errorf("none of %d calls ended as it does on a quiet machine: what is left of calls that time out is not proven", n)
	}
}

// cancelled makes n calls that are given up. The server does not learn of it, and answers.
func (b *leakBench) cancelled(n int) {
	b.t.Helper()
	c := messaging.NewRPCClient(b.client, messaging.Target{Topic: topic}, &messaging.RPCClientOptions{Timeout: patience})
	b.each(n, func(i int) {
		ctx, cancel := context.WithCancel(context.Background())
		defer time.AfterFunc(leakTimeout, cancel).Stop()
		defer cancel()
		if _, err := slow.Call(ctx, c, doArgs{i}); !errors.Is(err, context.Canceled) {
			b.t.Errorf("call %d ended with %v", i, err)
		}
	})
}

// catchUp lets the server finish what was given up. The queue is in order: when calls that come
// after it are answered, all of it was begun, and an answer that comes late has come soon.
func (b *leakBench) catchUp() {
	b.t.Helper()
	b.answered(crowd)
	late := b.client.Stats().LateReplies
	since := time.Now()
	testbed.Eventually(b.t, settleTime, "the last late reply has come", func() bool {
		if now := b.client.Stats().LateReplies; now != late {
			late, since = now, time.Now()
		}
		return time.Since(since) > 2*slowTime
	})
}

// each runs one for n numbers, many at once.
func (b *leakBench) each(n int, one func(int)) {
	var wg sync.WaitGroup
	last := b.next.Load() + int64(n)
	var next atomic.Int64
	next.Store(b.next.Load())
	for range crowd {
		wg.Go(func() {
			for i := next.Add(1); i <= last; i = next.Add(1) {
				one(int(i - 1))
			}
		})
	}
	wg.Wait()
	b.next.Store(last)
}

// ledger checks how often each call was run. Half of those that timed out were sent to nobody,
// and never are.
func (b *leakBench) ledger() (twice, never int) {
	b.t.Helper()
	for i := range b.runs {
		switch b.runs[i].Load() {
		case 0:
			never++
		case 1:
		default:
			twice++
			b.t.Errorf("call %d was run %d times", i, b.runs[i].Load())
		}
	}
	return twice, never
}
