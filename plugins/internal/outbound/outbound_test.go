// SPDX-License-Identifier: Apache-2.0

package outbound_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/outbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

func TestResults(t *testing.T) {
	bad := errors.New("bad")
	for _, tt := range []struct {
		name string
		errs []error
		want func(error) bool
	}{
		{"all is well", []error{nil, nil}, func(err error) bool { return err == nil }},
		{"one of one", []error{bad}, func(err error) bool { return err == bad }},
		{"one of three", []error{nil, bad, nil}, func(err error) bool {
			batch, ok := errors.AsType[*driver.BatchError](err)
			return ok && len(batch.Errs) == 3 && batch.Errs[1] == bad && batch.Errs[0] == nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := outbound.NewResults(len(tt.errs))
			for i, err := range tt.errs {
				select {
				case <-r.All():
					t.Fatalf("all are known after %d", i)
				default:
				}
				r.Done(i, err)
			}
			<-r.All()
			if err := r.Err(); !tt.want(err) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestCaller has what a message is told whose caller does not wait any longer (SEND-4, ASYNC-4).
func TestCaller(t *testing.T) {
	trouble := driver.Errorf(driver.ReasonBrokerBlocked, "full")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	expired, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for _, tt := range []struct {
		name    string
		ctx     context.Context
		sync    bool
		trouble *driver.Error
		want    driver.Reason
	}{
		{"Send, cancelled", cancelled, true, nil, driver.ReasonCancelled},
		{"Send, out of time", expired, true, nil, driver.ReasonExpired},
		{"Send, kept", cancelled, true, trouble, driver.ReasonBrokerBlocked},
		{"SendAsync, kept", cancelled, false, trouble, driver.ReasonCancelled},
		{"SendAsync, out of time", expired, false, trouble, driver.ReasonExpired},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := outbound.NewCaller(tt.ctx, tt.sync, nil)
			if err := c.GiveUp(tt.trouble); driver.ReasonOf(err) != tt.want || driver.AsError(err).InDoubt {
				t.Errorf("got %v", err)
			}
			if _, bounded := tt.ctx.Deadline(); !c.HasEnded() || c.Err() != tt.ctx.Err() || c.Bounded() != bounded {
				t.Errorf("ended %v, %v, bounded %v", c.HasEnded(), c.Err(), c.Bounded())
			}
		})
	}
	c := outbound.NewCaller(t.Context(), true, func(i int, err error) {
		if i != 7 || err != trouble {
			t.Errorf("told %d, %v", i, err)
		}
	})
	c.Done(7, trouble)
	if c.HasEnded() || c.Err() != nil || c.Bounded() {
		t.Error("it has ended before its ctx")
	}
}

func TestErrors(t *testing.T) {
	trouble := driver.Errorf(driver.ReasonBrokerBlocked, "full").WithHint("drink")
	if e := outbound.InDoubt(trouble); !e.InDoubt || trouble.InDoubt || e.Reason != trouble.Reason || e.Message != trouble.Message || e.Hint != trouble.Hint {
		t.Errorf("in doubt: %+v of %+v", e, trouble)
	}
	if err := outbound.Expired(trouble); err != trouble {
		t.Errorf("expired in trouble: %v", err)
	}
	if err := outbound.Expired(nil); driver.ReasonOf(err) != driver.ReasonExpired {
		t.Errorf("expired: %v", err)
	}
}

// TestRoom: no more than its limit are in it, whoever waits gets in or is told, and Close waits for
// the last.
func TestRoom(t *testing.T) {
	var mu sync.Mutex
	r := outbound.NewRoom(&mu, 3)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var wg sync.WaitGroup
	most, in, refused := 0, 0, 0
	enter := func() {
		mu.Lock()
		defer mu.Unlock()
		for r.Full() && ctx.Err() == nil {
			r.Wait(ctx, nil)
		}
		if r.Closed() || ctx.Err() != nil {
			refused++
			return
		}
		r.Take()
		in++
		most = max(most, in)
		mu.Unlock() // it is under way
		mu.Lock()
		in--
		r.Leave()
	}
	for range 50 {
		wg.Go(func() {
			for range 100 {
				enter()
			}
		})
	}
	wg.Wait()
	if most > 3 || refused > 0 || !r.Empty() {
		t.Errorf("%d at once, %d refused, empty %v", most, refused, r.Empty())
	}

	mu.Lock()
	defer mu.Unlock()
	r.Take()
	changed := make(chan struct{})
	close(changed)
	r.Wait(ctx, changed) // returns, or the test hangs
	wg.Go(func() {
		mu.Lock()
		defer mu.Unlock()
		for !r.Closed() {
			r.Wait(ctx, nil)
		}
		r.Leave()
	})
	r.Close(ctx)
	if !r.Empty() || !r.Closed() || ctx.Err() != nil {
		t.Errorf("empty %v, closed %v, %v", r.Empty(), r.Closed(), ctx.Err())
	}
	r.Take()
	short, stop := context.WithCancel(t.Context())
	stop()
	r.Close(short)
	if r.Empty() {
		t.Error("it did not give up")
	}
}
