// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"slices"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/registry"
	"github.com/parleymq/parley/plugins/zmq/internal/wire"
)

// Listener implements driver.Listener and driver.Stopper.
type Listener struct {
	n    *Node
	src  driver.Source
	keys []key         // whose messages are for it
	wake chan struct{} // of capacity one: ready is not empty, or the listener ended

	// The rest is guarded by n.mu.
	ready     queue[*inbound]
	bytes     int // in ready
	quiet     int // of ready, at most: not answered yet, because a Poll was waiting
	unsettled map[uint64]*inbound
	token     uint64
	wanted    int // the largest max of Poll
	polling   bool
	stopped   bool
	closed    bool
}

var (
	_ driver.Listener = (*Listener)(nil)
	_ driver.Stopper  = (*Listener)(nil)
)

// Listen implements driver.Conn.
func (n *Node) Listen(ctx context.Context, src driver.Source) (driver.Listener, error) {
	l := &Listener{n: n, src: src, wake: make(chan struct{}, 1), unsettled: make(map[uint64]*inbound)}
	for _, t := range l.targets() {
		l.keys = append(l.keys, keysOf(t)...)
	}
	n.mu.Lock()
	if n.phase >= closing {
		n.mu.Unlock()
		return nil, closedError("connection")
	}
	n.listeners[l] = struct{}{}
	n.mu.Unlock()
	if err := n.announce(ctx); err != nil {
		_ = l.Close(ctx)
		return nil, err
	}
	return l, nil
}

// targets are what a listener adds to the node's record.
func (l *Listener) targets() []registry.Target {
	switch l.src.Kind {
	case driver.SourceReplies:
		return []registry.Target{{Kind: l.src.Kind, Reply: l.src.ReplyName}}
	case driver.SourceNotifications:
		var ts []registry.Target
		for _, t := range l.src.Notifications {
			ts = append(ts, registry.Target{Kind: l.src.Kind, Exchange: t.Exchange, Topic: t.Topic, Priority: t.Priority, Pool: l.src.Pool})
		}
		return ts
	default:
		t := l.src.Target
		return []registry.Target{{Kind: l.src.Kind, Exchange: t.Exchange, Topic: t.Topic, Server: t.Server, Scoped: t.Scoped, AtLeastOnce: l.atLeastOnce()}}
	}
}

// atLeastOnce says that a message which this listener had may be handled again by another.
func (l *Listener) atLeastOnce() bool {
	return l.src.Settle == driver.SettleOnDone && !l.src.AtMostOnce
}

// hears reports whether messages for k are for this listener.
func (l *Listener) hears(k key) bool { return slices.Contains(l.keys, k) }

// idler reports whether l has less to do than other.
func (l *Listener) idler(other *Listener) bool {
	if a, b := l.waits(), other.waits(); a != b {
		return a
	}
	return l.ready.len()+len(l.unsettled) < other.ready.len()+len(other.unsettled)
}

// waits reports whether a Poll waits that has not been given anything yet.
func (l *Listener) waits() bool { return l.polling && l.ready.len() == 0 }

func (l *Listener) full(size int) bool {
	return l.ready.len() >= l.n.o.QueueMessages || l.ready.len() > 0 && l.bytes+size > l.n.o.QueueBytes
}

func (l *Listener) put(in *inbound) {
	l.ready.push(in)
	l.bytes += in.size
	signal(l.wake)
}

// Poll implements driver.Listener.
func (l *Listener) Poll(ctx context.Context, max int) ([]*driver.Delivery, error) {
	if max <= 0 {
		return nil, driver.Errorf(driver.ReasonDriverBug, "Poll was asked for %d messages", max)
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		ds, over := l.take(max)
		switch {
		case len(ds) > 0:
			return ds, nil
		case over:
			return nil, closedError("listener")
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
			l.unpoll()
		}
	}
}

func (l *Listener) unpoll() {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	l.polling = false
	l.ackReady()
}

// ackReady answers for what the Poll that was to take it has left.
func (l *Listener) ackReady() {
	if l.quiet == 0 {
		return
	}
	l.quiet = 0
	l.ready.each(func(in *inbound) { l.n.oweAck(in.peer, in.seq, in.message.Kind) })
}

// take returns up to max messages, or that there will be none.
func (l *Listener) take(max int) ([]*driver.Delivery, bool) {
	n := l.n
	n.mu.Lock()
	defer n.mu.Unlock()
	if max > l.wanted {
		l.wanted = max
	}
	var ds []*driver.Delivery
	now := time.Now()
	for l.ready.len() > 0 && len(ds) < max {
		in := l.ready.pop()
		l.bytes -= in.size
		if d := l.deliver(in, now); d != nil {
			ds = append(ds, d)
		}
	}
	l.polling = len(ds) == 0
	l.ackReady()
	return ds, l.stopped && l.ready.len() == 0
}

// deliver makes a Delivery, or returns nil when the message's time is over.
func (l *Listener) deliver(in *inbound, now time.Time) *driver.Delivery {
	n := l.n
	d := &driver.Delivery{Message: in.message, Redelivered: in.redelivered}
	if !in.expires.IsZero() {
		if d.TimeLeft = in.expires.Sub(now); d.TimeLeft <= 0 {
			n.log.Debug("a message whose time is over is dropped", "message", describe(&in.message))
			n.finishInbound(in)
			return nil
		}
	}
	if l.src.Settle == driver.SettleOnPoll {
		n.finishInbound(in)
		return d
	}
	l.token++
	d.Token = l.token
	l.unsettled[d.Token] = in
	return d
}

// Done implements driver.Listener.
func (l *Listener) Done(_ context.Context, outcomes []driver.Outcome) error {
	n := l.n
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, o := range outcomes {
		in := l.unsettled[o.Token]
		if in == nil {
			continue
		}
		delete(l.unsettled, o.Token)
		if o.Result == driver.Requeued {
			n.giveBack(in, wire.NackRequeued)
			continue
		}
		n.finishInbound(in)
	}
	return nil
}

// Stop implements driver.Stopper.
func (l *Listener) Stop(ctx context.Context) error {
	n := l.n
	n.mu.Lock()
	if l.stopped {
		n.mu.Unlock()
		return nil
	}
	l.stopped = true
	n.announceNow()
	l.emptyReady()
	n.mu.Unlock()
	signal(l.wake)
	n.withdraw(ctx)
	return nil
}

// withdrawTime bounds telling the registry that a listener is gone. The linked peers know, the
// others are told so when they try, and the registry learns it later.
const withdrawTime = 500 * time.Millisecond

func (n *Node) withdraw(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, withdrawTime)
	defer cancel()
	if err := n.publish(ctx); err != nil {
		n.log.Debug("the registry does not know yet that a listener is gone", "err", err.Error())
	}
}

// emptyReady gives back what Poll did not return.
func (l *Listener) emptyReady() {
	for l.ready.len() > 0 {
		l.n.giveBack(l.ready.pop(), wire.NackBack)
	}
	l.bytes = 0
}

// Close implements driver.Listener.
func (l *Listener) Close(ctx context.Context) error {
	n := l.n
	n.mu.Lock()
	_, open := n.listeners[l]
	n.closeListener(l)
	n.mu.Unlock()
	if open {
		n.withdraw(ctx)
	}
	return nil
}

// closeListener ends a listener, and gives back what it has.
func (n *Node) closeListener(l *Listener) {
	if l.closed {
		return
	}
	l.stopped, l.closed = true, true
	delete(n.listeners, l)
	n.announceNow()
	l.emptyReady()
	for token, in := range l.unsettled {
		delete(l.unsettled, token)
		n.giveBack(in, l.ended())
	}
	signal(l.wake)
}

// ended is why a listener that closes gives back what Poll had returned.
func (l *Listener) ended() wire.NackReason {
	if l.src.AtMostOnce {
		return wire.NackTaken // it may have been run (RECEIPT-2)
	}
	return wire.NackRequeued
}
