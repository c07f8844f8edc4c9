// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"sync/atomic"

	"github.com/parleymq/parley/plugin/driver"
)

// intake takes deliveries from a listener, never more than there are slots for: that is the
// back-pressure, up to the broker.
type intake struct {
	listener driver.Listener
	receiver driver.Receiver // the listener, when it has the ability
	size     int             // slots
	slots    slots
	closed   atomic.Bool // the listener is closed
}

func newIntake(l driver.Listener, size int) *intake {
	in := &intake{listener: l, size: size}
	in.receiver, _ = l.(driver.Receiver)
	in.slots.init(size)
	return in
}

// run takes as many deliveries as there are free slots, again and again, until polling ends. A
// listener that can call us spares the step from the goroutine that receives to the one that polls.
func (in *intake) run(polling context.Context, start func([]*driver.Delivery)) error {
	if in.receiver != nil {
		return in.receiver.Receive(polling, in.size, start)
	}
	for {
		free := in.slots.take(polling)
		if free == 0 {
			return polling.Err()
		}
		batch, err := in.listener.Poll(polling, free)
		in.slots.give(free - len(batch))
		start(batch)
		if err != nil {
			return err
		}
	}
}

// release makes room for n more deliveries.
func (in *intake) release(n int) {
	if in.closed.Load() {
		return // a handler that was left behind
	}
	if in.receiver != nil {
		in.receiver.Release(n)
		return
	}
	in.slots.give(n)
}

// rest stops the listener and hands over what the driver has taken and was about to hand over. It is
// within the slots of the last poll.
func (in *intake) rest(polling context.Context, handOver func([]*driver.Delivery)) (stopError error) {
	stopper, ok := in.listener.(driver.Stopper)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(polling), cleanupTimeout)
	defer cancel()
	stopError = stopper.Stop(ctx)
	for {
		batch, err := in.listener.Poll(ctx, in.size)
		handOver(batch)
		if err != nil {
			return stopError // it is empty, or was given up
		}
	}
}

// close closes the listener.
func (in *intake) close(polling context.Context) error {
	in.closed.Store(true)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(polling), cleanupTimeout)
	defer cancel()
	return in.listener.Close(ctx)
}
