// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
)

// newReceiptStage is a stage whose driver keeps nothing that it delivered.
func newReceiptStage(t *testing.T, receives bool, opts *RPCServerOptions, eps ...*Endpoint) *stage {
	t.Helper()
	s := &stage{
		inbox: make(chan []*driver.Delivery, 64), served: make(chan error, 1), receives: receives,
		can: []driver.Capability{driver.CapAckOnReceipt},
	}
	s.serve(t, nil, opts, eps...)
	return s
}

func (s *stage) doneCalls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.dones)
}

func TestReceiptIsTheSource(t *testing.T) {
	for _, tt := range []struct {
		policy AckPolicy
		can    []driver.Capability
		settle driver.Settle
		once   bool
	}{
		{AckBeforeDispatch, nil, driver.SettleOnPoll, false},
		{AckBeforeDispatch, []driver.Capability{driver.CapAckOnReceipt}, driver.SettleOnDone, true},
		{AckAfterHandler, []driver.Capability{driver.CapAckOnReceipt}, driver.SettleOnDone, false},
	} {
		var src driver.Source
		tt.policy.apply(&src, driver.Info{Capabilities: tt.can})
		if src.Settle != tt.settle || src.AtMostOnce != tt.once {
			t.Errorf("%d with %v: %+v", tt.policy, tt.can, src)
		}
	}
}

// seeingDone notes, for each request that is run, what was done before.
func seeingDone(s **stage, ran chan<- string) *Endpoint {
	ep := NewEndpoint(nil)
	ep.HandleFunc("note", func(_ context.Context, args map[string]any) (any, error) {
		ran <- fmt.Sprintf("%v after %s", args["n"], strings.Join((*s).doneCalls(), "; "))
		return nil, nil
	})
	return ep
}

// All of a batch is acknowledged, once, before any of it is run.
func TestReceiptBeforeDispatch(t *testing.T) {
	for _, receives := range []bool{false, true} {
		t.Run(fmt.Sprintf("receiver %v", receives), func(t *testing.T) {
			ran := make(chan string, 16)
			var s *stage
			s = newReceiptStage(t, receives, nil, seeingDone(&s, ran))
			s.inbox <- []*driver.Delivery{
				withToken(castOf("a", "note", `{"n":"a"}`), 1),
				withToken(callOf("b", "note", `{"n":"b"}`), 2),
				withToken(castOf("a", "note", `{"n":"again"}`), 3),                          // a duplicate
				withToken(wanted(callOf("late", "note", `{"n":"late"}`), -1), 4),            // expired
				withToken(&driver.Delivery{Message: driver.Message{Kind: driver.Reply}}, 5), // no request
				withToken(castOf("h", "note", "[]"), 6),                                     // not understood
				castOf("c", "note", `{"n":"c"}`),                                            // that needs no Done
			}
			got := []string{wait(t, ran, "a handler"), wait(t, ran, "a handler"), wait(t, ran, "a handler")}
			slices.Sort(got)
			const receipt = "1 accepted, 2 accepted, 3 accepted, 4 accepted, 5 rejected, 6 accepted"
			for i, n := range []string{"a", "b", "c"} {
				if want := n + " after " + receipt; got[i] != want {
					t.Errorf("got %q, want %q", got[i], want)
				}
			}
			s.deliver(withToken(callOf("b", "note", `{"n":"b"}`), 7)) // is answered again
			eventually(t, "two answers", func() bool { return len(s.replies()) == 2 })
			if err := s.server.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			if calls := s.doneCalls(); !slices.Equal(calls, []string{receipt, "7 accepted"}) {
				t.Errorf("Done was called for %q", calls)
			}
			st := s.server.Stats()
			if st.Received != 8 || st.Duplicates != 2 || st.Expired != 1 || st.Malformed != 1 || st.Returned != 0 {
				t.Errorf("%+v", st)
			}
			if receives && s.released.Load() != 8 {
				t.Errorf("%d of 8 deliveries were released", s.released.Load())
			}
		})
	}
}

// A driver that dies before it hears of the receipt has its messages given again.
func TestReceiptDriverDies(t *testing.T) {
	ran := make(chan string, 16)
	began, release := make(chan string, 4), make(chan struct{})
	ep := afterEndpoint(began, release)
	var s *stage
	s = newReceiptStage(t, false, nil, seeingDone(&s, ran), ep)
	again := func(d *driver.Delivery, token uint64) *driver.Delivery {
		d.Redelivered = true
		return withToken(d, token)
	}
	s.deliver(withToken(castOf("done", "note", `{"n":"x"}`), 1))
	wait(t, ran, "the handler")
	s.deliver(withToken(callOf("runs", "wait", `{"n":1}`), 2))
	wait(t, began, "the handler that waits")
	// The next life gives both again, and one that the first had not handed over.
	s.inbox <- []*driver.Delivery{
		again(castOf("done", "note", `{"n":"x"}`), 3), again(callOf("runs", "wait", `{"n":1}`), 4), again(castOf("new", "note", `{"n":"y"}`), 5),
	}
	if got := wait(t, ran, "what was not handed over"); !strings.HasPrefix(got, "y ") {
		t.Errorf("run again: %s", got)
	}
	close(release)
	if got := s.reply(t, "runs"); got != `"done"` {
		t.Errorf("answered %s", got)
	}
	if err := s.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if st := s.server.Stats(); len(ran) != 0 || len(began) != 0 || st.Handled != 3 || st.Duplicates != 2 {
		t.Errorf("run more than once: %+v", st)
	}
	if got := s.settled(); got != "1 accepted, 2 accepted, 3 accepted, 4 accepted, 5 accepted" {
		t.Errorf("settled %s", got)
	}
}

// A shutdown gives back what is not acknowledged, unless it was begun here before.
func TestReceiptShutdown(t *testing.T) {
	t.Run("gives back", func(t *testing.T) {
		began, release := make(chan string, 4), make(chan struct{})
		s := newReceiptStage(t, false, nil, afterEndpoint(began, release))
		s.deliver(withToken(callOf("runs", "wait", `{"n":1}`), 1))
		wait(t, began, "the handler")
		s.mu.Lock()
		s.rest = []*driver.Delivery{
			withToken(callOf("runs", "wait", `{"n":1}`), 2), withToken(callOf("rest", "wait", `{"n":2}`), 3),
		}
		s.mu.Unlock()
		shut := make(chan error, 1)
		go func() { shut <- s.server.Shutdown(context.Background()) }()
		eventually(t, "the rest is settled", func() bool { return len(s.doneCalls()) == 2 })
		close(release)
		if err := wait(t, shut, "Shutdown"); err != nil {
			t.Error(err)
		}
		if got := s.settled(); got != "1 accepted, 2 accepted, 3 requeued" {
			t.Errorf("settled %s", got)
		}
		if st := s.server.Stats(); len(began) != 0 || st.Returned != 1 || st.Duplicates != 1 || st.Received != 3 {
			t.Errorf("%+v", st)
		}
	})
	t.Run("runs what nobody else would get", func(t *testing.T) {
		began, release := make(chan string, 4), make(chan struct{})
		close(release)
		s := newReceiptStage(t, false, nil, afterEndpoint(began, release))
		s.faults.info.Capabilities = []driver.Capability{driver.CapRPC, driver.CapAckOnReceipt}
		s.mu.Lock()
		s.rest = []*driver.Delivery{withToken(castOf("rest", "wait", `{"n":2}`), 3)}
		s.mu.Unlock()
		if err := s.server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if got := s.settled(); got != "3 accepted" || len(began) != 1 {
			t.Errorf("settled %s, %d begun", got, len(began))
		}
	})
	t.Run("runs what is acknowledged", func(t *testing.T) {
		began, release := make(chan string, 4), make(chan struct{})
		s := newReceiptStage(t, false, &RPCServerOptions{OrderBy: func(*ServerRequest) string { return "one" }}, afterEndpoint(began, release))
		s.inbox <- []*driver.Delivery{withToken(castOf("a", "wait", `{"n":1}`), 1), withToken(castOf("b", "wait", `{"n":2}`), 2)}
		wait(t, began, "the first")
		shut := make(chan error, 1)
		go func() { shut <- s.server.Shutdown(context.Background()) }()
		close(release)
		if err := wait(t, shut, "Shutdown"); err != nil {
			t.Error(err)
		}
		if calls := s.doneCalls(); len(began) != 1 || !slices.Equal(calls, []string{"1 accepted, 2 accepted"}) {
			t.Errorf("%d begun, done %q", len(began), calls)
		}
	})
}

// amnesia is a listener that forgets, now and then, what it was told to settle: its driver died,
// and the next one gives all of it again.
type amnesia struct {
	driver.Listener
	mu   sync.Mutex
	n    int
	open map[uint64]*driver.Delivery // guarded by mu
	back []*driver.Delivery          // guarded by mu
}

func (a *amnesia) Poll(ctx context.Context, limit int) ([]*driver.Delivery, error) {
	a.mu.Lock()
	n := min(len(a.back), limit)
	ds := a.back[:n:n]
	a.back = a.back[n:]
	a.mu.Unlock()
	if n > 0 {
		return ds, nil
	}
	ds, err := a.Listener.Poll(ctx, limit)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range ds {
		a.open[d.Token] = d
	}
	return ds, err
}

func (a *amnesia) Done(ctx context.Context, outcomes []driver.Outcome) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.n++
	if a.n%3 != 0 {
		for _, o := range outcomes {
			delete(a.open, o.Token)
		}
		return a.Listener.Done(ctx, outcomes)
	}
	for _, o := range outcomes {
		if d := a.open[o.Token]; d != nil {
			other := *d
			other.Redelivered = true
			a.back = append(a.back, &other)
		}
	}
	return errors.New("the driver is gone")
}

// Each request is run once, whatever the driver forgets; and a shutdown leaves none behind.
func TestReceiptRunsOnce(t *testing.T) {
	d := memory.NewDirect()
	f := &faults{Conn: openMemory(t, d), info: d.Describe()}
	f.wrap = func(src driver.Source, l driver.Listener) driver.Listener {
		if src.Kind != driver.SourceServer {
			return l
		}
		if src.Settle != driver.SettleOnDone || !src.AtMostOnce {
			t.Errorf("%+v", src)
		}
		return &amnesia{Listener: l, open: make(map[uint64]*driver.Delivery)}
	}
	log := &recorder{}
	tr := NewTransport(asyncFaults{f}, &Options{Logger: log.logger()})
	t.Cleanup(func() { closeTransport(t, tr) })
	var ran, total atomic.Int64
	seen := new(sync.Map)
	ep := NewEndpoint(nil)
	ep.HandleFunc("count", func(_ context.Context, args map[string]any) (any, error) {
		total.Add(1)
		if _, loaded := seen.LoadOrStore(fmt.Sprint(args["n"]), true); !loaded {
			ran.Add(1)
		}
		return nil, nil
	})
	serve(t, tr, computeTarget, &RPCServerOptions{Concurrency: 8}, ep)
	c := NewRPCClient(tr, Target{Topic: "compute"}, nil)
	const calls = 500
	var wg sync.WaitGroup
	for i := range calls {
		wg.Go(func() {
			if err := c.Call(t.Context(), "count", map[string]any{"n": i}, nil); err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if ran.Load() != calls || total.Load() != calls {
		t.Errorf("%d calls, %d run, %d times", calls, ran.Load(), total.Load())
	}
}

// directRig is a transport on a driver without a broker.
func directRig(t *testing.T) *Transport {
	t.Helper()
	tr, err := OpenDriver(t.Context(), memory.NewDirect(), driver.Config{Driver: "fake"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeTransport(t, tr) })
	return tr
}

// What applications see when nobody listens and nothing keeps the message.
func TestDirectToNobody(t *testing.T) {
	tr := directRig(t)
	nobody := NewRPCClient(tr, Target{Topic: "nobody"}, &RPCClientOptions{Timeout: 100 * time.Millisecond})
	for _, call := range []bool{true, false} {
		send := func(ctx context.Context, c *RPCClient) error {
			if call {
				return c.Call(ctx, "m", nil, nil)
			}
			return c.Cast(ctx, "m", nil)
		}
		begun := time.Now()
		err := send(t.Context(), nobody)
		if !errors.Is(err, ErrUndeliverable) && !errors.Is(err, ErrExpired) || errors.Is(err, ErrInDoubt) {
			t.Errorf("call %v, in its time: %v", call, err)
		}
		if waited := time.Since(begun); waited < 90*time.Millisecond {
			t.Errorf("call %v: it waited %v", call, waited)
		}
		cancelled, cancel := context.WithCancel(t.Context())
		gaveUp := make(chan error, 1)
		go func() { gaveUp <- send(cancelled, nobody.With(Timeout(patience))) }()
		cancel()
		if err := wait(t, gaveUp, "a request that was cancelled"); err != context.Canceled {
			t.Errorf("call %v, cancelled: %v", call, err)
		}
		// With a number of retries nothing waits, and nobody is no trouble that goes away.
		before := tr.Stats().Retries
		if err := send(t.Context(), nobody.With(Timeout(patience), Retry(5))); !errors.Is(err, ErrUndeliverable) {
			t.Errorf("call %v, with retries: %v", call, err)
		}
		if n := tr.Stats().Retries - before; n != 0 {
			t.Errorf("call %v: %d retries", call, n)
		}
		if err := send(t.Context(), nobody.With(Timeout(patience), Mandatory())); !errors.Is(err, ErrUndeliverable) {
			t.Errorf("call %v, mandatory: %v", call, err)
		}
	}
	if err := nobody.With(Fanout()).Cast(t.Context(), "m", nil); err != nil {
		t.Errorf("a fanout: %v", err)
	}
}

// A call waits for its server.
func TestDirectWaitsForTheServer(t *testing.T) {
	tr := directRig(t)
	answered := make(chan error, 1)
	go func() {
		answered <- NewRPCClient(tr, Target{Topic: "compute"}, nil).Call(t.Context(), "echo", nil, nil)
	}()
	serve(t, tr, computeTarget, nil, echoEndpoint())
	if err := wait(t, answered, "the answer"); err != nil {
		t.Error(err)
	}
}
