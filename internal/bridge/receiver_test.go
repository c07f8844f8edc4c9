// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
)

// TestReceiverHoldsNoMoreThanItsLimit proves RECV-1 and RECV-2 with more messages than the
// limit, released one by one.
func TestReceiverHoldsNoMoreThanItsLimit(t *testing.T) {
	const total, limit = 500, 8
	p := newPair(t, memory.New(), bridge.Limits{})
	c := p.open(t, "v")
	ctx := within(t)
	l, err := c.Listen(ctx, driver.Source{Kind: driver.SourceServer, Settle: driver.SettleOnPoll, Target: driver.Target{Exchange: "e", Topic: "t", Server: "s"}})
	if err != nil {
		t.Fatal(err)
	}
	receiver := l.(driver.Receiver)
	var (
		mu       sync.Mutex
		held     int
		most     int
		received = make(map[string]int)
		work     = make(chan string, total)
	)
	receiving, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- receiver.Receive(receiving, limit, func(ds []*driver.Delivery) {
			mu.Lock()
			defer mu.Unlock()
			held += len(ds)
			most = max(most, held)
			for _, d := range ds {
				received[d.UniqueID]++
				work <- d.UniqueID
			}
		})
	}()
	for i := range total {
		if err := c.Send(ctx, []*driver.Message{castTo("t", strconv.Itoa(i), []byte("{}"))}); err != nil {
			t.Fatal(err)
		}
		if i < limit {
			continue // nothing is released until the limit is reached
		}
		takeOne(ctx, t, work)
		mu.Lock()
		held--
		mu.Unlock()
		receiver.Release(1)
	}
	for range limit {
		takeOne(ctx, t, work)
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Receive ended with %v", err)
	}
	if len(received) != total || most > limit || most < limit/2 {
		t.Errorf("%d of %d received, at most %d of %d held", len(received), total, most, limit)
	}
	if err := l.Close(ctx); err != nil {
		t.Error(err)
	}
}

func takeOne(ctx context.Context, t *testing.T, work <-chan string) {
	t.Helper()
	select {
	case <-work:
	case <-ctx.Done():
		t.Fatal("no message in time")
	}
}

// TestUnawaitedResultsComeWithoutAnythingElse: what may be late does come.
func TestUnawaitedResultsComeWithoutAnythingElse(t *testing.T) {
	p := newPair(t, memory.New(), bridge.Limits{})
	c := p.open(t, "v")
	call := &driver.Message{Kind: driver.Call, Target: driver.Target{Exchange: "e", Topic: "t"}, ReplyTo: "r", CallID: "c", Body: []byte("{}")}
	began := time.Now()
	if err := c.Send(within(t), []*driver.Message{call}); err != nil {
		t.Fatal(err)
	}
	t.Logf("the result of a call came after %v", time.Since(began))
}
