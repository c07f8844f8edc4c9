// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/outbound"
	"github.com/parleymq/parley/plugins/internal/uplink"
)

const (
	// maxOutstanding is how many messages may be queued or unsettled before senders wait (ASYNC-2).
	maxOutstanding = 4096
	// maxStuck is how many of them may wait for an address that takes none now. What comes then
	// fails at once with the reason: the other addresses need the room.
	maxStuck = maxOutstanding / 2
	// sweepInterval is how late the end of a message's ctx or time may be noticed.
	sweepInterval = 25 * time.Millisecond
	// writeGrace is how long a message that is being written when it is given up has for a true
	// result, before it is in doubt.
	writeGrace = 500 * time.Millisecond
	// maxLanes bounds the sender links that are kept for later use.
	maxLanes = 256
)

// outbox sends messages, each over the lane of its address. Whoever sends puts the message into its
// lane's queue; the lane's goroutine writes it; another one of each link learns what became of it. A
// sweeper gives up what is not wanted any longer. Settling is the one place where done is called.
type outbox struct {
	set  *settings
	link *link
	book *replyBook

	maxAnswerLanes int

	ctx    context.Context //nolint:containedctx // the life of the lanes' goroutines
	cancel context.CancelFunc
	wg     sync.WaitGroup // the lanes' goroutines and those of their links

	mu          sync.Mutex
	lanes       map[laneKey]*lane // guarded by mu
	answerLanes int               // those for the answers to one client; guarded by mu
	room        *outbound.Room    // for what is not settled; guarded by mu
	sweeper     *time.Timer       // guarded by mu
	sweeping    bool              // the sweeper's timer runs; guarded by mu
	swept       bool              // there will be no more sweeps; guarded by mu
}

func newOutbox(set *settings, l *link, book *replyBook) *outbox {
	ctx, cancel := context.WithCancel(context.Background())
	p := &outbox{
		set: set, link: l, book: book, ctx: ctx, cancel: cancel,
		maxAnswerLanes: fewAnswerLanes, lanes: make(map[laneKey]*lane),
	}
	p.room = outbound.NewRoom(&p.mu, maxOutstanding)
	book.ending = p.wakeCalls
	return p
}

// wakeCalls makes the lanes look again at the calls that they are writing: a reply address has ended,
// and what waits for credit may have it.
func (p *outbox) wakeCalls() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lanes {
		if o := l.current; o != nil && o.stage == writing && o.m.Kind == driver.Call {
			l.interruptLocked()
		}
	}
}

// sendAsync is driver.AsyncSender's. sync is true when Send waits for the results.
func (p *outbox) sendAsync(ctx context.Context, messages []*driver.Message, sync bool, done func(int, error)) {
	caller, items := outbound.NewCaller(ctx, sync, done), make([]outgoing, len(messages))
	now := time.Now()
	for i, m := range messages {
		o := &items[i]
		o.caller, o.index = caller, i
		if err := p.set.prepare(o, m, now); err != nil {
			done(i, err)
			continue
		}
		if err := p.enqueue(ctx, o); err != nil {
			done(i, err)
		}
	}
}

// enqueue queues o once there is room, and fails when it cannot be sent.
func (p *outbox) enqueue(ctx context.Context, o *outgoing) error {
	away, changed := p.keepsOff(o)
	p.mu.Lock()
	for p.room.Full() && ctx.Err() == nil && away == nil {
		p.room.Wait(ctx, changed)
		away, changed = p.keepsOff(o)
	}
	switch {
	case p.room.Closed():
		p.mu.Unlock()
		return uplink.Closed("connection")
	case away != nil:
		p.mu.Unlock()
		p.link.Miss()
		return away
	case ctx.Err() != nil:
		p.mu.Unlock()
		_, trouble, _ := p.link.Trouble()
		return o.caller.GiveUp(trouble)
	}
	l := p.laneLocked(p.keyLocked(o.m))
	if stuck := l.trouble; stuck != nil && (o.m.FailFast || l.queue.Len() >= maxStuck) {
		p.mu.Unlock()
		return stuck
	}
	l.queue.PushBack(o)
	l.used = time.Now()
	p.room.Take()
	if !p.sweeping {
		p.armLocked()
	}
	p.mu.Unlock()
	signal(l.wake)
	return nil
}

// laneLocked returns the lane of key, which has a goroutine.
func (p *outbox) laneLocked(key laneKey) *lane {
	if l := p.lanes[key]; l != nil {
		return l
	}
	if len(p.lanes) >= maxLanes {
		p.evictLocked()
	}
	l := newLane(p, key)
	p.lanes[key] = l
	if key.to != "" {
		p.answerLanes++
	}
	p.wg.Go(func() { l.run(p.ctx) })
	return l
}

// evictLocked ends the lane that was not used for the longest time, of those that have nothing to
// do.
func (p *outbox) evictLocked() {
	var oldest *lane
	for _, l := range p.lanes {
		if !l.busy() && (oldest == nil || l.used.Before(oldest.used)) {
			oldest = l
		}
	}
	if oldest != nil {
		p.dropLocked(oldest)
	}
}

// dropLocked takes a lane with nothing to do out of the book, and ends its goroutine.
func (p *outbox) dropLocked(l *lane) {
	if p.lanes[l.key] == l {
		delete(p.lanes, l.key)
		if l.key.to != "" {
			p.answerLanes--
		}
	}
	l.dropped = true
	signal(l.wake)
}

// keepsOff returns why o must not wait for the broker, or nil, and for a FailFast message a channel
// that is closed when that may have changed.
func (p *outbox) keepsOff(o *outgoing) (*driver.Error, <-chan struct{}) {
	if !o.m.FailFast {
		return nil, nil
	}
	return p.link.Failing()
}

// settle calls done once, and not under mu.
func (p *outbox) settle(o *outgoing, err error) {
	p.mu.Lock()
	first := p.settleLocked(o)
	p.mu.Unlock()
	if first {
		p.report(o, err)
	}
}

// settleLocked marks o and reports whether the caller is to report it.
func (p *outbox) settleLocked(o *outgoing) bool {
	if o.stage == settled {
		return false
	}
	o.stage = settled
	p.room.Leave()
	return true
}

// report calls done for a message that was settled by the caller.
func (p *outbox) report(o *outgoing, err error) {
	switch { // before done: the caller may send it again
	case err == nil || o.m.Kind != driver.Call:
	case driver.AsError(err).InDoubt:
		p.book.doubted(o.m.CallID)
	default:
		p.book.failed(o.m.CallID)
	}
	o.caller.Done(o.index, err)
}

// fate is a result that waits for mu to be given up.
type fate struct {
	o   *outgoing
	err error
}

func (p *outbox) reportAll(fates []fate) {
	for _, f := range fates {
		p.report(f.o, f.err)
	}
}

// close gives what is under way until the end of ctx (CLOSE-1), and then ends the lanes, with a
// good-bye to the peer while ctx lasts.
func (p *outbox) close(ctx context.Context) {
	p.mu.Lock()
	p.room.Close(ctx)
	p.swept = true
	if p.sweeper != nil {
		p.sweeper.Stop()
	}
	var over []fate
	for _, l := range p.lanes {
		over = l.failLocked(over, uplink.Closed("connection"))
	}
	p.mu.Unlock()
	p.reportAll(over)
	p.cancel()
	ended := make(chan struct{})
	go func() { // ends with the lanes, which finish waits for
		p.wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// finish waits for the lanes, whose connection is closed, so that nothing holds them.
func (p *outbox) finish() { p.wg.Wait() }
