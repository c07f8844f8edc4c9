// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// closedByDriver is a listener whose driver closes it: nobody asked.
type closedByDriver struct{ driver.Listener }

func (closedByDriver) Poll(context.Context, int) ([]*driver.Delivery, error) {
	return nil, driver.Errorf(driver.ReasonClosed, "the listener is closed")
}

// oneDelivery gives one message and then waits.
type oneDelivery struct {
	driver.Listener
	d chan *driver.Delivery
}

func (o oneDelivery) Poll(ctx context.Context, _ int) ([]*driver.Delivery, error) {
	select {
	case d := <-o.d:
		return []*driver.Delivery{d}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func lifeForTest(number uint64) *connLife {
	return &connLife{number: number, changed: make(chan struct{}), replaced: make(chan struct{})}
}

// A listener that its driver closes goes on in the next life, and only its owner can end it.
func TestListenerOutlivesADriverThatClosesIt(t *testing.T) {
	old, next := lifeForTest(1), lifeForTest(2)
	l := newListener(&Conn{life: next, listeners: map[*Listener]struct{}{}}, driver.Source{Kind: driver.SourceReplies})
	if !l.attach(old, closedByDriver{}) {
		t.Fatal("not attached")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	polled := make(chan error, 1)
	go func() {
		ds, err := l.Poll(ctx, 1)
		if err == nil && ds[0].UniqueID != "x" {
			t.Errorf("polled %q", ds[0].UniqueID)
		}
		polled <- err
	}()
	d := &driver.Delivery{Message: driver.Message{UniqueID: "x"}}
	inner := oneDelivery{d: make(chan *driver.Delivery, 1)}
	inner.d <- d
	if !l.attach(next, inner) {
		t.Fatal("not attached")
	}
	if err := <-polled; err != nil {
		t.Fatalf("poll: %v", err)
	}
}

// What gets ready in a process that was replaced meanwhile is not used: it is about to end.
func TestAttachToAReplacedLife(t *testing.T) {
	old := lifeForTest(1)
	close(old.replaced)
	l := newListener(&Conn{}, driver.Source{Kind: driver.SourceReplies})
	if l.attach(old, closedByDriver{}) {
		t.Error("it was attached")
	}
}
