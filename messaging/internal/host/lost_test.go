// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/messaging/internal/host"
	"github.com/parleymq/parley/messaging/internal/hosttest"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/sdk/drivertest"
)

// relayed is a broker in this process, a server on it, and a caller behind a driver's process. The
// server outlives whatever happens to the driver.
type relayed struct {
	t      *testing.T
	h      *host.Host
	broker *memory.Driver
	conn   *host.Conn
	server driver.Listener
	peer   driver.Conn

	over sync.WaitGroup

	mu      sync.Mutex
	waiting map[string]chan *driver.Delivery // by call; guarded by mu
	early   int                              // deliveries that no call waits for; guarded by mu
}

const (
	relayVhost = "v"
	replyName  = "reply_relayed"
)

func newRelayHost(t *testing.T, change func(*host.Options)) (*host.Host, *memory.Driver) {
	t.Helper()
	broker := memory.NewDynamic()
	socket := host.ServeBrokerForTest(t, broker)
	dir := hosttest.PrivateDir(t)
	host.InstallSelfForTest(t, dir, "relay")
	return newFakeHost(t, func(o *host.Options) {
		o.DriverPath, o.Env, o.BreakerFailures = []string{dir}, []string{host.RelayEnvForTest(socket)}, -1
		if change != nil {
			change(o)
		}
	}), broker
}

// newRelayed begins to receive replies, by Poll or by Receive.
func newRelayed(t *testing.T, polling bool, change func(*host.Options)) *relayed {
	t.Helper()
	r := &relayed{t: t, waiting: make(map[string]chan *driver.Delivery)}
	r.h, r.broker = newRelayHost(t, change)
	ctx := within(t, 60*time.Second)
	cfg := driver.Config{Driver: "relay", VirtualHost: relayVhost, HasVirtualHost: true}
	var err error
	if r.peer, err = r.broker.Open(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	if r.server, err = r.peer.Listen(ctx, serverSource); err != nil {
		t.Fatal(err)
	}
	if r.conn, err = r.h.Open(ctx, host.OpenRequest{Config: cfg}); err != nil {
		t.Fatal(err)
	}
	l, err := r.conn.Listen(ctx, driver.Source{Kind: driver.SourceReplies, Settle: driver.SettleOnDone, ReplyName: replyName})
	if err != nil {
		t.Fatal(err)
	}
	reading, stop := context.WithCancel(context.Background())
	r.over.Go(func() { r.receive(reading, l, polling) })
	t.Cleanup(func() {
		stop()
		r.over.Wait()
		ctx := within(t, 30*time.Second)
		for what, c := range map[string]interface{ Close(context.Context) error }{"the listener": l, "the connection": r.conn, "the peer": r.peer} {
			if err := c.Close(ctx); err != nil && what != "the listener" { // which ended with its connection, perhaps
				t.Errorf("close %s: %v", what, err)
			}
		}
	})
	return r
}

func (r *relayed) receive(ctx context.Context, l driver.Listener, polling bool) {
	const limit = 8
	if !polling {
		receiver := l.(driver.Receiver)
		err := receiver.Receive(ctx, limit, func(ds []*driver.Delivery) {
			r.deliver(ctx, l, ds)
			receiver.Release(len(ds))
		})
		if ctx.Err() == nil {
			r.t.Errorf("receive: %v", err)
		}
		return
	}
	for {
		ds, err := l.Poll(ctx, limit)
		if len(ds) > limit {
			r.t.Errorf("polled %d deliveries", len(ds))
		}
		r.deliver(ctx, l, ds)
		if err != nil {
			if ctx.Err() == nil {
				r.t.Errorf("poll: %v", err)
			}
			return
		}
	}
}

func (r *relayed) deliver(ctx context.Context, l driver.Listener, ds []*driver.Delivery) {
	for _, d := range ds {
		if d.Token != 0 {
			_ = l.Done(ctx, []driver.Outcome{{Token: d.Token, Result: driver.Accepted}}) // its process may be gone
		}
		r.mu.Lock()
		c := r.waiting[d.CallID]
		delete(r.waiting, d.CallID)
		if c == nil {
			r.early++
		}
		r.mu.Unlock()
		if c != nil {
			c <- d
		}
	}
}

// call sends a call; what comes of it comes through the channel.
func (r *relayed) call(ctx context.Context, id string) (<-chan *driver.Delivery, error) {
	c := make(chan *driver.Delivery, 1)
	r.mu.Lock()
	r.waiting[id] = c
	r.mu.Unlock()
	m := cast(id)
	m.Kind, m.CallID, m.ReplyTo, m.TimeLeft = driver.Call, id, replyName, time.Minute
	return c, r.conn.Send(ctx, []*driver.Message{m})
}

// mustCall is a call that is sent and that its server has.
func (r *relayed) mustCall(ctx context.Context, id string) (<-chan *driver.Delivery, *driver.Delivery) {
	r.t.Helper()
	c, err := r.call(ctx, id)
	if err != nil {
		r.t.Fatalf("call %s: %v", id, err)
	}
	ds, err := r.server.Poll(ctx, 1)
	if err != nil || ds[0].CallID != id {
		r.t.Fatalf("serving %s: %v, %v", id, ds, err)
	}
	return c, ds[0]
}

func (r *relayed) answer(ctx context.Context, call *driver.Delivery) error {
	return r.peer.Send(ctx, []*driver.Message{{Kind: driver.Reply, ReplyTo: call.ReplyTo, CallID: call.CallID, Body: []byte("1")}})
}

func (r *relayed) await(ctx context.Context, c <-chan *driver.Delivery, id string) *driver.Delivery {
	r.t.Helper()
	select {
	case d := <-c:
		return d
	case <-ctx.Done():
		r.t.Fatalf("nothing came of the call %s", id)
		return nil
	}
}

func (r *relayed) wantLost(ctx context.Context, c <-chan *driver.Delivery, id, why string) {
	r.t.Helper()
	d := r.await(ctx, c, id)
	if d.Lost == nil || !d.Lost.InDoubt || d.Token != 0 || d.Kind != driver.Reply || !strings.Contains(d.Lost.Error(), why) {
		r.t.Errorf("call %s: got a %s with the token %d, lost: %v, want it lost: %s", id, d.Kind, d.Token, d.Lost, why)
	}
}

// answered proves that calls work.
func (r *relayed) answered(ctx context.Context, id string) {
	r.t.Helper()
	c, call := r.mustCall(ctx, id)
	if err := r.answer(ctx, call); err != nil {
		r.t.Fatalf("answer %s: %v", id, err)
	}
	if d := r.await(ctx, c, id); d.Lost != nil {
		r.t.Errorf("call %s: lost: %v", id, d.Lost)
	}
}

// wantNothingElse is called when everything has been waited for.
func (r *relayed) wantNothingElse() {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.early != 0 || len(r.waiting) != 0 {
		r.t.Errorf("%d deliveries came twice, or for no call; %d calls wait", r.early, len(r.waiting))
	}
}

func bothWays(t *testing.T, test func(t *testing.T, polling bool)) {
	for name, polling := range map[string]bool{"poll": true, "receive": false} {
		t.Run(name, func(t *testing.T) { test(t, polling) })
	}
}

// Calls whose reply address died with the driver's process fail at once; those that were not sent
// go with the next one.
func TestKilledDriverLosesItsCalls(t *testing.T) {
	bothWays(t, func(t *testing.T, polling bool) {
		r := newRelayed(t, polling, nil)
		ctx := within(t, 60*time.Second)
		r.answered(ctx, "before")
		const n = 20
		var lost []<-chan *driver.Delivery
		for i := range n {
			c, _ := r.mustCall(ctx, fmt.Sprint("lost-", i))
			lost = append(lost, c)
		}
		began := time.Now()
		if err := r.h.SignalForTest("relay", syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for i, c := range lost {
			r.wantLost(ctx, c, fmt.Sprint("lost-", i), "the address of its reply ended")
		}
		t.Logf("%d calls were lost within %v", n, time.Since(began))
		hosttest.Eventually(t, "another process", func() bool { return r.conn.Restarts() == 1 })
		r.answered(ctx, "after")
		r.wantNothingElse()
	})
}

// Calls are sent all the while that processes are killed: each is answered, or lost, or fails.
func TestNoCallIsForgottenWhenDriversDie(t *testing.T) {
	r := newRelayed(t, false, nil)
	ctx := within(t, 120*time.Second)
	serve := r.serveSlowly(0)
	defer serve()
	var (
		wg                           sync.WaitGroup
		mu                           sync.Mutex // guards the counters
		answered, lost, doubt, never int
	)
	stop := make(chan struct{})
	for caller := range 8 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				id := fmt.Sprintf("%d-%d", caller, n)
				c, err := r.call(ctx, id)
				e := driver.AsError(err)
				if e != nil && !e.InDoubt {
					t.Errorf("call %s: %v", id, err)
					return
				}
				var d *driver.Delivery
				select {
				case d = <-c:
				case <-ctx.Done():
				}
				mu.Lock()
				switch {
				case d == nil:
					never++
				case d.Lost != nil && err != nil:
					doubt++
				case d.Lost != nil:
					lost++
				default:
					answered++
				}
				mu.Unlock()
				if d == nil {
					return
				}
			}
		})
	}
	for round := range uint64(5) {
		mu.Lock()
		before := answered
		mu.Unlock()
		hosttest.Eventually(t, "calls are answered", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return answered > before+10
		})
		if err := r.h.SignalForTest("relay", syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		hosttest.Eventually(t, "another process", func() bool { return r.conn.Restarts() > round })
	}
	close(stop)
	wg.Wait()
	if never > 0 || answered == 0 {
		t.Errorf("%d calls were forgotten, %d answered", never, answered)
	}
	t.Logf("%d answered, %d lost, %d in doubt and then lost", answered, lost, doubt)
	r.wantNothingElse()
}

// serveSlowly answers each call after a time, until it is stopped.
func (r *relayed) serveSlowly(after time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			ds, err := r.server.Poll(ctx, 10)
			if err != nil {
				return
			}
			for _, d := range ds {
				wg.Go(func() {
					timer := time.NewTimer(after)
					defer timer.Stop()
					select {
					case <-timer.C:
						_ = r.answer(ctx, d) // the address may be gone
					case <-ctx.Done():
					}
				})
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

// The streams of a connection break, and its process lives on.
func TestBrokenConnectionLosesItsCalls(t *testing.T) {
	bothWays(t, func(t *testing.T, polling bool) {
		r := newRelayed(t, polling, nil)
		ctx := within(t, 60*time.Second)
		c, _ := r.mustCall(ctx, "lost")
		r.conn.BreakForTest()
		r.wantLost(ctx, c, "lost", "the address of its reply ended")
		r.answered(ctx, "after")
		r.wantNothingElse()
	})
}

// The driver itself says that an address ended.
func TestDriverLosesItsCalls(t *testing.T) {
	bothWays(t, func(t *testing.T, polling bool) {
		r := newRelayed(t, polling, nil)
		ctx := within(t, 60*time.Second)
		c, _ := r.mustCall(ctx, "lost")
		r.broker.EndReplies(relayVhost)
		r.wantLost(ctx, c, "lost", "the connection to the broker was lost")
		r.answered(ctx, "after")
		if err := r.conn.Reload(ctx); err != nil { // what was lost is not lost again
			t.Fatal(err)
		}
		r.answered(ctx, "last")
		r.wantNothingElse()
	})
}

// Slow calls survive swaps: the old process goes on until they are answered, and new calls do not
// wait for them.
func TestSwapUnderSlowCalls(t *testing.T) {
	bothWays(t, func(t *testing.T, polling bool) {
		r := newRelayed(t, polling, func(o *host.Options) { o.DrainTimeout = time.Minute })
		ctx := within(t, 120*time.Second)
		first, slow := r.mustCall(ctx, "slow")
		old := only(t, r.h).PID
		if err := r.conn.Reload(ctx); err != nil {
			t.Fatal(err)
		}
		r.answered(ctx, "new") // while the old call is under way
		if !alive(old) {
			t.Error("the old process ended with a call under way")
		}
		stop := r.serveSlowly(300 * time.Millisecond)
		var wg sync.WaitGroup
		over := make(chan struct{})
		for caller := range 8 {
			wg.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-over:
						return
					default:
					}
					id := fmt.Sprintf("%d-%d", caller, n)
					c, err := r.call(ctx, id)
					if err != nil {
						t.Errorf("call %s: %v", id, err)
						return
					}
					select {
					case d := <-c:
						if d.Lost != nil {
							t.Errorf("call %s: lost: %v", id, d.Lost)
						}
					case <-ctx.Done():
						t.Errorf("call %s was not answered", id)
						return
					}
				}
			})
		}
		for range 3 {
			if err := r.conn.Reload(ctx); err != nil {
				t.Errorf("reload: %v", err)
			}
		}
		close(over)
		wg.Wait()
		stop()
		if err := r.answer(ctx, slow); err != nil {
			t.Fatal(err)
		}
		if d := r.await(ctx, first, "slow"); d.Lost != nil {
			t.Errorf("the first call was lost: %v", d.Lost)
		}
		hosttest.Eventually(t, "the first process is gone", func() bool { return !alive(old) })
		r.wantNothingElse()
	})
}

// What is not answered in the time that an old process has is lost with it.
func TestSwapLosesWhatTakesTooLong(t *testing.T) {
	bothWays(t, func(t *testing.T, polling bool) {
		r := newRelayed(t, polling, func(o *host.Options) { o.DrainTimeout = 500 * time.Millisecond })
		ctx := within(t, 60*time.Second)
		c, _ := r.mustCall(ctx, "lost")
		old := only(t, r.h).PID
		if err := r.conn.Reload(ctx); err != nil {
			t.Fatal(err)
		}
		r.wantLost(ctx, c, "lost", "")
		r.answered(ctx, "after")
		hosttest.Eventually(t, "the old process is gone", func() bool { return !alive(old) })
		r.wantNothingElse()
	})
}

// TestConformanceOfLosses runs what the suite says of replies through all that there is between an
// application and a driver.
func TestConformanceOfLosses(t *testing.T) {
	h, broker := newRelayHost(t, nil)
	info, err := h.Describe(within(t, 20*time.Second), "relay")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range drivertest.Check(drivertest.Harness{
		Info: func() driver.Info { return info },
		Open: func(ctx context.Context, t drivertest.TB, namespace string) driver.Conn {
			c, err := h.Open(ctx, host.OpenRequest{Config: driver.Config{Driver: "relay", VirtualHost: namespace, HasVirtualHost: true}})
			if err != nil {
				t.Fatalf("open: %v", err)
			}
			return c
		},
		StopBroker:  func(_ context.Context, _ drivertest.TB, namespace string) { broker.EndReplies(namespace) },
		StartBroker: func(context.Context, drivertest.TB, string) {},
	}, "LOST-1", "LOST-3", "LISTEN-2", "LISTEN-4", "STOP-1", "STOP-2", "STOP-3", "POLL-1", "POLL-3", "CLOSE-4") {
		if r.Status == drivertest.Failed {
			t.Errorf("%s %s: %s", r.Rule, r.Name, strings.Join(r.Details, "; "))
		}
	}
}
