// SPDX-License-Identifier: Apache-2.0

package messagingtest

import (
	"context"
	"slices"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// fault happens to the next message that fits, once.
type fault struct {
	match Match
	do    action
}

// action stands for the sending of one message, which is what send does.
type action func(ctx context.Context, send func(context.Context) error) error

func (b *Broker) inject(m Match, do action) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, fault{m, do})
}

// takeFault returns what is to happen to s, or nil.
func (b *Broker) takeFault(s Sent) action {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.faults, func(f fault) bool { return f.match.fits(s) })
	if i < 0 {
		return nil
	}
	do := b.faults[i].do
	b.faults = slices.Delete(b.faults, i, i+1)
	return do
}

// Drop loses the next message that fits: the sender is told that the broker took it, and
// nobody receives it.
func (b *Broker) Drop(m Match) {
	b.inject(m, func(context.Context, func(context.Context) error) error { return nil })
}

// Duplicate delivers the next message that fits twice, with the same unique id, as a broker
// does after a broken connection.
func (b *Broker) Duplicate(m Match) {
	b.inject(m, func(ctx context.Context, send func(context.Context) error) error {
		if err := send(ctx); err != nil {
			return err
		}
		return send(ctx)
	})
}

// Delay holds the next message that fits for d, or until its sender gives up.
func (b *Broker) Delay(m Match, d time.Duration) {
	b.inject(m, func(ctx context.Context, send func(context.Context) error) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return send(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// Fail makes the sending of the next message that fits fail with err; nobody receives it.
//
//	broker.Fail(messagingtest.Match{}, driver.Errorf(driver.ReasonNotConnected, "the broker is away"))
func (b *Broker) Fail(m Match, err *driver.Error) {
	b.inject(m, func(context.Context, func(context.Context) error) error { return err })
}

// InDoubt breaks the connection, as it seems to the sender, before the broker has confirmed
// the next message that fits: the sender cannot know whether it arrived. arrives says whether
// it did.
func (b *Broker) InDoubt(m Match, arrives bool) {
	b.inject(m, func(ctx context.Context, send func(context.Context) error) error {
		if arrives {
			if err := send(ctx); err != nil {
				return err
			}
		}
		err := driver.Errorf(driver.ReasonNotConnected, "the connection broke before the broker confirmed")
		err.InDoubt = true
		return err
	})
}
