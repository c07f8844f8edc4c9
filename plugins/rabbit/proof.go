// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// proofGrace is how much longer than its ctx Poll waits for a proof: what is acknowledged cannot go
// back to the broker any more, and who stops or closes may not poll again.
const proofGrace = time.Second

// proof is the question to the broker whether it took acknowledgements, which AMQP does not confirm.
//
// A connection that goes right after they were written may lose them, and then the broker gives the
// messages to somebody else as well. So a method that has an answer is written behind them on the same
// channel, where the broker does one thing after the other: with its answer they are done.
type proof struct {
	deliveries []*driver.Delivery // what is acknowledged; Poll's
	done       chan struct{}      // closed when err is set
	err        error              // nil when the broker took them
}

// await waits for the answer, until some time after the end of ctx.
func (p *proof) await(ctx context.Context) bool {
	select {
	case <-p.done:
		return true
	case <-ctx.Done():
	}
	timer := time.NewTimer(proofGrace)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		return false
	}
}

// take returns up to max of what is proven.
func (p *proof) take(max int) []*driver.Delivery {
	n := min(max, len(p.deliveries))
	ds := p.deliveries[:n:n]
	p.deliveries = p.deliveries[n:]
	return ds
}

// prover is the goroutine of a consumer that waits for the answers, which the AMQP library does not do
// with a context. What comes while it waits is acknowledged together and shares the next answer.
type prover struct {
	asked chan *proof
	quit  chan struct{}
	ended chan struct{}
}

func newProver() *prover {
	return &prover{asked: make(chan *proof), quit: make(chan struct{}), ended: make(chan struct{})}
}

func (v *prover) run(c *consumer) {
	defer close(v.ended)
	for {
		select {
		case p := <-v.asked:
			p.err = c.ackProven(tagsOf(p.deliveries))
			close(p.done)
		case <-v.quit:
			return
		}
	}
}

// stop needs a closed channel: it waits for the answer that is under way.
func (v *prover) stop() {
	close(v.quit)
	<-v.ended
}

// prove acknowledges ds and asks for the proof; nil when the consumer has ended.
func (c *consumer) prove(ds []*driver.Delivery) *proof {
	p := &proof{deliveries: ds, done: make(chan struct{})}
	select {
	case c.prover.asked <- p:
		return p
	case <-c.prover.quit:
		return nil
	}
}

// ackProven acknowledges and returns when the broker has taken it, or when the channel is lost and
// that will not be known.
func (c *consumer) ackProven(tags []uint64) error {
	c.rpcMu.Lock()
	defer c.rpcMu.Unlock()
	socket := c.session.socket
	socket.cork()
	if err := c.ack(tags); err != nil {
		_ = socket.uncork() // err says more
		return err
	}
	socket.uncorkWithNext()
	// The prefetch that it has: it says nothing new, and has an answer.
	return c.ch.Qos(c.qos, 0, false)
}

// tagsOf returns the delivery tags of ds, which are to be settled now and by nobody else.
func tagsOf(ds []*driver.Delivery) []uint64 {
	tags := make([]uint64, len(ds))
	for i, d := range ds {
		tags[i] = d.Token & tagMask
		d.Token = 0
	}
	return tags
}
