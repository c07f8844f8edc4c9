// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

func TestListenOnceAndAgainAfterFailure(t *testing.T) {
	var refuse atomic.Bool
	r := newRig(t, nil, func(f *faults) {
		f.onListen = func(src driver.Source) error {
			if src.Kind == driver.SourceReplies && refuse.Load() {
				return driver.Errorf(driver.ReasonAccessRefused, "not allowed")
			}
			return nil
		}
	})
	serve(t, r.Transport, computeTarget, nil, echoEndpoint())
	served := r.faults.listens.Load()
	c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)
	refuse.Store(true)
	if err := c.Call(t.Context(), "echo", nil, nil); !errors.Is(err, ErrRefused) {
		t.Errorf("while listening is refused: %v", err)
	}
	refuse.Store(false)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := c.Call(t.Context(), "echo", nil, nil); err != nil {
				t.Errorf("after listening failed once: %v", err)
			}
		})
	}
	wg.Wait()
	if n := r.faults.listens.Load() - served; n != 2 {
		t.Errorf("listened %d times for replies", n)
	}
}

// breakable is a listener whose Poll can be made to fail for good.
type breakable struct {
	driver.Listener
	broken chan struct{}
}

func (b *breakable) Poll(ctx context.Context, max int) ([]*driver.Delivery, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {})
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-b.broken:
			cancel()
		case <-ctx.Done():
		}
	}()
	batch, err := b.Listener.Poll(ctx, max)
	cancel()
	<-done
	if err != nil && isClosed(b.broken) {
		err = driver.Errorf(driver.ReasonDriverBug, "the listener broke")
	}
	return batch, err
}

func TestBrokenReplyListener(t *testing.T) {
	first := make(chan struct{})
	never := make(chan struct{})
	listened := 0
	r := newRig(t, nil, func(f *faults) {
		f.wrap = func(src driver.Source, l driver.Listener) driver.Listener {
			if src.Kind != driver.SourceReplies {
				return l
			}
			if listened++; listened == 1 {
				return &breakable{l, first}
			}
			return &breakable{l, never}
		}
	})
	ep := echoEndpoint()
	began := make(chan struct{})
	ep.HandleFunc("hang", func(ctx context.Context, _ map[string]any) (any, error) {
		close(began)
		<-ctx.Done()
		return nil, nil
	})
	s := serve(t, r.Transport, computeTarget, nil, ep)
	c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)
	result := make(chan error, 1)
	go func() { result <- c.Call(t.Context(), "hang", nil, nil) }()
	wait(t, began, "the handler")
	close(first)
	if err := wait(t, result, "the call"); !errors.Is(err, ErrInternal) || !strings.Contains(err.Error(), "the listener broke") {
		t.Errorf("the call that waited: %v", err)
	}
	if err := c.Call(t.Context(), "echo", nil, nil); err != nil {
		t.Errorf("the next call: %v", err)
	}
	s.cancelHandlers()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = s.Shutdown(ctx) // lets the hanging handler go
}

func TestManyConcurrentCalls(t *testing.T) {
	r := newRig(t, nil)
	serve(t, r.Transport, computeTarget, &RPCServerOptions{Concurrency: 64}, echoEndpoint())
	c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)
	const calls = 10000
	var wg sync.WaitGroup
	for i := range calls {
		wg.Go(func() {
			var reply struct{ N int }
			if err := c.Call(t.Context(), "echo", map[string]any{"N": i}, &reply); err != nil || reply.N != i {
				t.Errorf("call %d: %d, %v", i, reply.N, err)
			}
		})
	}
	wg.Wait()
	if r.replies.waitingNow() != 0 || r.counters.lateReplies.Load() != 0 {
		t.Errorf("%d calls still wait, %d replies were late", r.replies.waitingNow(), r.counters.lateReplies.Load())
	}
}

// Of many first calls one listens and the others wait for it. None of them was sent, and all
// say so.
func TestCallsThatWaitedForListening(t *testing.T) {
	refused := driver.Errorf(driver.ReasonNotConnected, "h:5672 refuses connections")
	for _, said := range []error{nil, refused} {
		t.Run(fmt.Sprint(said), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil, func(f *faults) {
					f.onListen = func(driver.Source) error {
						time.Sleep(2 * time.Second) // of the bubble's time: longer than the calls wait
						return refused
					}
				})
				r.states.report(driver.State{Phase: driver.Connecting, Err: said})
				c := NewRPCClient(r.Transport, Target{Topic: "t"}, &RPCClientOptions{Timeout: time.Second})
				var wg sync.WaitGroup
				for range 16 {
					wg.Go(func() {
						err := c.Call(t.Context(), "m", nil, nil)
						if !errors.Is(err, ErrUnavailable) || said != nil && !strings.Contains(err.Error(), "refuses connections") {
							t.Errorf("%v", err)
						}
					})
				}
				wg.Wait()
			})
		})
	}
}
