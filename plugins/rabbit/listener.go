// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/outbound"
	"github.com/parleymq/parley/plugins/internal/uplink"
)

// maxPrefetch bounds what the broker is asked for ahead, whatever Poll's max is: more does not
// make it faster.
const maxPrefetch = 1024

// listener receives from one Source. Its run loop declares and consumes, again after each loss
// (LISTEN-6); consumers put what they decoded into ready; Poll takes it from there.
type listener struct {
	c      *conn
	set    *settings
	link   *link
	src    driver.Source
	top    topology
	cancel context.CancelFunc
	born   time.Time
	ended  chan struct{}
	opened chan *driver.Error // of capacity one: the result of the first declaration

	proof *proof // of what is acknowledged and not returned yet, or nil; Poll's

	wake   chan struct{} // of capacity one: ready is not empty, or the state changed
	change chan struct{} // of capacity one: for the run loop, wanted or stopped changed
	halted chan struct{} // closed when the run loop has seen stopped

	mu      sync.Mutex
	ready   outbound.Deque[*driver.Delivery] // not returned by Poll yet, parked; guarded by mu
	current *consumer                        // nil while there is no channel; guarded by mu
	wanted  int                              // the prefetch that Poll asked for; guarded by mu
	stopped bool                             // no more messages are taken (STOP-1); guarded by mu
	drained bool                             // stopped, and all that was taken is in ready; guarded by mu
	closed  bool                             // guarded by mu
}

var (
	_ driver.Listener = (*listener)(nil)
	_ driver.Stopper  = (*listener)(nil)
)

// newListener starts the run loop, which ends with Close. c.mu is held.
func newListener(c *conn, lk *link, src driver.Source) (*listener, error) {
	top, err := c.set.topologyOf(src, strings.ReplaceAll(uuid.NewString(), "-", ""))
	if err != nil {
		return nil, err
	}
	for _, b := range top.bindings {
		if len(b.queue.name) > maxShortString || len(b.exchange.name) > maxShortString {
			return nil, driver.Errorf(driver.ReasonConfig, "queue %q or its exchange has a name longer than AMQP's %d bytes", b.queue.name, maxShortString).
				WithHint("use shorter names for exchange, topic and server")
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &listener{
		c: c, set: c.set, link: lk, src: src, top: top, cancel: cancel, born: time.Now(),
		ended: make(chan struct{}), opened: make(chan *driver.Error, 1),
		wake: make(chan struct{}, 1), change: make(chan struct{}, 1), halted: make(chan struct{}),
	}
	go l.run(ctx)
	return l, nil
}

// open waits for the first declaration (LISTEN-1).
func (l *listener) open(ctx context.Context) error {
	for {
		_, trouble, changed := l.link.Trouble()
		if uplink.Permanent(trouble) {
			return trouble
		}
		select {
		case err := <-l.opened:
			if err != nil {
				return err
			}
			return nil
		case <-changed:
		case <-ctx.Done():
			if trouble != nil {
				return trouble
			}
			return driver.Errorf(driver.ReasonNotConnected, "the broker did not answer the declarations in time")
		}
	}
}

// run keeps a consumer alive until ctx ends.
func (l *listener) run(ctx context.Context) {
	defer close(l.ended)
	first := true
	for generation := uint64(1); ; generation++ {
		s, _ := l.link.Await(ctx, true)
		if s == nil {
			return
		}
		c, err := l.start(s, generation)
		switch {
		case err == nil && first:
			first = false
			l.opened <- nil
		case err != nil && first && err.Reason != driver.ReasonNotConnected:
			l.opened <- err
			return
		case err != nil:
			l.set.log.Warn("cannot receive", "source", l.src.Kind.String(), "host", s.host, "err", err.Error())
			if !awaitDone(ctx, s.done, l.set.retryInterval) {
				return
			}
			continue
		}
		over := l.serve(ctx, c)
		l.drop(c)
		if over {
			l.leave(c)
			return
		}
		c.close()
		l.set.log.Warn("receiving was interrupted; declaring and consuming again", "source", l.src.Kind.String(), "host", s.host)
	}
}

// start declares everything and opens the channel to consume on.
func (l *listener) start(s *session, generation uint64) (*consumer, *driver.Error) {
	d := newDeclarer(s.conn, l.set.log)
	defer d.close()
	if err := d.topology(l.top); err != nil {
		return nil, err
	}
	c, err := newConsumer(l, s, generation)
	if err != nil {
		return nil, brokerError("open a channel", err)
	}
	l.mu.Lock()
	l.current = c
	l.mu.Unlock()
	return c, nil
}

// serve consumes as Poll asks for it. It returns true at the end of ctx, and false when the
// consumer broke.
func (l *listener) serve(ctx context.Context, c *consumer) bool {
	closes := c.ch.NotifyClose(make(chan *amqp.Error, 1))
	for {
		l.mu.Lock()
		wanted, stopped := l.wanted, l.stopped
		l.mu.Unlock()
		switch {
		case stopped:
			l.halt(c)
		case wanted > c.prefetch:
			if err := c.consume(wanted, l.top.queues); err != nil {
				l.set.log.Warn("cannot consume", "source", l.src.Kind.String(), "host", c.session.host, "err", err.Error())
				// What the broker refuses now it will refuse at once again.
				return refused(err) && !awaitDone(ctx, c.session.done, l.set.retryInterval)
			}
		}
		select {
		case <-l.change:
		case <-c.broken:
			return false
		case err := <-closes:
			l.set.log.Debug("the channel was closed", "source", l.src.Kind.String(), "err", lostError(c.session.host, err).Error())
			return false
		case <-ctx.Done():
			return true
		}
	}
}

// halt stops the consumers once; after it all that was taken is in ready, or has gone back to
// the broker, where others may want it while this listener is drained.
func (l *listener) halt(c *consumer) {
	_ = c.cancel(c.readers) // a channel that is lost has stopped as well
	c.readers = nil
	var back []uint64
	l.mu.Lock()
	first := !l.drained
	l.drained = true
	for l.src.Settle == driver.SettleOnDone && l.ready.Len() > 0 {
		back = append(back, l.ready.PopFront().Token&tagMask)
	}
	l.mu.Unlock()
	_ = c.reject(back, true) // fails on a lost channel, which gives them back as well
	if first {
		close(l.halted)
		signal(l.wake)
	}
}

// drop forgets a consumer and what it decoded: the broker delivers that again.
func (l *listener) drop(c *consumer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current == c {
		l.current = nil
	}
	l.ready = outbound.Deque[*driver.Delivery]{}
}

// leave ends a consumer for good, with the queue that is this listener's alone (CLOSE-2).
func (l *listener) leave(c *consumer) {
	_ = c.cancel(c.readers)
	if l.top.private != "" {
		err := c.rpc(func() error {
			_, err := c.ch.QueueDelete(l.top.private, false, false, false)
			return err
		})
		if err != nil && !c.ch.IsClosed() {
			l.set.log.Warn("cannot delete the fanout queue; it will expire", "queue", l.top.private, "err", err.Error())
		}
	}
	c.close()
}

// add queues a delivery for Poll, unless its channel is gone. While it is there its TimeLeft
// counts from the listener's birth: what it waits is taken off in the end.
func (l *listener) add(c *consumer, d *driver.Delivery) {
	if d.TimeLeft != 0 {
		d.Waited(-time.Since(l.born))
	}
	l.mu.Lock()
	if l.current != c {
		l.mu.Unlock()
		return
	}
	l.ready.PushBack(d)
	l.mu.Unlock()
	signal(l.wake)
}

// Poll implements driver.Listener.
func (l *listener) Poll(ctx context.Context, max int) ([]*driver.Delivery, error) {
	if max <= 0 {
		return nil, driver.Errorf(driver.ReasonDriverBug, "Poll was asked for %d messages", max)
	}
	l.want(max)
	for {
		if l.proof != nil {
			if !l.proof.await(ctx) {
				return nil, ctx.Err()
			}
			if ds := l.proven(max); len(ds) > 0 {
				return ds, nil
			}
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		ds, c, over := l.take(max)
		if len(ds) > 0 && l.settle(c, ds) {
			return l.waited(ds), nil
		}
		if over {
			return nil, uplink.Closed("listener")
		}
		if len(ds) > 0 {
			continue
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
		}
	}
}

// want raises the prefetch to what Poll can take, in steps: each needs new consumers.
func (l *listener) want(max int) {
	max = min(max, maxPrefetch)
	if l.set.prefetch > 0 {
		max = min(max, l.set.prefetch)
	}
	l.mu.Lock()
	grow := max > l.wanted+l.wanted/2
	if grow {
		l.wanted = max
	}
	l.mu.Unlock()
	if grow {
		signal(l.change)
	}
}

// take returns up to max messages and the consumer they came from, or that there will be none.
func (l *listener) take(max int) ([]*driver.Delivery, *consumer, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(max, l.ready.Len())
	if n == 0 {
		return nil, nil, l.closed || l.drained
	}
	ds := make([]*driver.Delivery, n)
	for i := range ds {
		ds[i] = l.ready.PopFront()
	}
	return ds, l.current, false
}

// settle does what is to be done with what was taken before Poll returns it, and reports whether
// Poll may do so now. What could not be acknowledged comes again, so that it must not be returned
// (POLL-5); what is to be proven is in proof.
func (l *listener) settle(c *consumer, ds []*driver.Delivery) bool {
	switch {
	case l.src.Settle != driver.SettleOnPoll:
		return true
	case c == nil:
		return false
	case c.prover != nil:
		l.proof = c.prove(ds)
		return false
	}
	if err := c.ack(tagsOf(ds)); err != nil {
		l.notTaken(len(ds), err)
		return false
	}
	return true
}

// proven returns up to max of what was acknowledged, once the broker has answered. Of what it
// did not prove nothing is returned: it comes again, to somebody, unless the broker took the
// acknowledgement and only its answer was lost.
func (l *listener) proven(max int) []*driver.Delivery {
	p := l.proof
	if p.err != nil {
		l.proof = nil
		l.notTaken(len(p.deliveries), p.err)
		return nil
	}
	ds := p.take(max)
	if len(p.deliveries) == 0 {
		l.proof = nil
	}
	return l.waited(ds)
}

func (l *listener) notTaken(n int, err error) {
	l.set.log.Debug("messages not taken: they could not be acknowledged", "count", n, "err", err.Error())
}

// waited takes off what deliveries waited here.
func (l *listener) waited(ds []*driver.Delivery) []*driver.Delivery {
	for _, d := range ds {
		if d.TimeLeft != 0 {
			d.Waited(time.Since(l.born))
		}
	}
	return ds
}

// Done implements driver.Listener.
func (l *listener) Done(_ context.Context, outcomes []driver.Outcome) error {
	l.mu.Lock()
	c := l.current
	l.mu.Unlock()
	if c == nil {
		return nil // the broker gives all of them again (DONE-2)
	}
	var accepted, requeued, rejected []uint64
	for _, o := range outcomes {
		if o.Token>>tagBits != c.generation {
			continue
		}
		tag := o.Token & tagMask
		switch o.Result {
		case driver.Accepted:
			accepted = append(accepted, tag)
		case driver.Requeued:
			requeued = append(requeued, tag)
		default:
			rejected = append(rejected, tag)
		}
	}
	c.session.socket.cork()
	// Errors are those of a channel that is gone, and the messages come again.
	_ = c.reject(requeued, true)
	_ = c.reject(rejected, false)
	_ = c.ack(accepted)
	_ = c.session.socket.uncork()
	return nil
}

// Stop implements driver.Stopper.
func (l *listener) Stop(ctx context.Context) error {
	l.mu.Lock()
	l.stopped = true
	if l.drained {
		l.mu.Unlock()
		return nil
	}
	away := l.current == nil
	if away {
		l.drained = true // there is nothing; what is at the broker stays there
	}
	l.mu.Unlock()
	if away {
		signal(l.wake)
		return nil
	}
	signal(l.change)
	select {
	case <-l.halted:
		return nil
	case <-l.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close implements driver.Listener.
func (l *listener) Close(ctx context.Context) error {
	l.stopRunning()
	select {
	case <-l.ended:
		l.c.forget(l)
		return nil
	case <-ctx.Done():
		// The broker does not answer. The run loop ends with the connection, when the Conn
		// is closed at the latest.
		return driver.Errorf(driver.ReasonNotConnected, "the broker did not answer in time; its queues end by their TTL")
	}
}

func (l *listener) stopRunning() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	signal(l.wake)
}

// signal puts a token into a channel of capacity one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
