// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

const (
	// maxOutstanding is how many messages may be queued or unconfirmed before senders wait
	// (ASYNC-2).
	maxOutstanding = 4096
	// sweepInterval is how late the end of a message's ctx or time may be noticed.
	sweepInterval = 25 * time.Millisecond
)

// publisher sends messages over one channel with confirms, many at a time.
//
// A message passes three stages. Whoever sends encodes it and puts it into queue. One
// goroutine, the writer, takes what has gathered, moves each message to unconfirmed and writes
// it. One goroutine of each lane learns what the broker says and settles it. A sweeper gives up
// what is not wanted any longer. Settling is the one place where done is called.
type publisher struct {
	set    *settings
	link   *link
	bodies *bodies
	watch  *watch

	cancel context.CancelFunc
	ended  chan struct{}
	wake   chan struct{} // of capacity one: queue is not empty

	mu          sync.Mutex
	queue       deque[*outgoing] // not written; guarded by mu
	unconfirmed deque[*outgoing] // written on the current lane, in order of their delivery tags; guarded by mu
	outstanding int              // not settled; guarded by mu
	closed      bool             // guarded by mu
	waiters     int              // senders and closers that wait for room; guarded by mu
	room        chan struct{}    // closed and replaced when outstanding falls and somebody waits; guarded by mu
	sweeper     *time.Timer      // guarded by mu
	sweeping    bool             // the sweeper's timer runs; guarded by mu
	maxSize     int              // the largest message the broker takes, once it told; guarded by mu
}

func newPublisher(set *settings, l *link) *publisher {
	return &publisher{
		set: set, link: l, bodies: newBodies(), watch: newWatch(set, l), ended: make(chan struct{}),
		wake: make(chan struct{}, 1), room: make(chan struct{}),
	}
}

func (p *publisher) start() {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go p.write(ctx)
}

// sendAsync is driver.AsyncSender's. sync is true when Send waits for the results.
func (p *publisher) sendAsync(ctx context.Context, messages []*driver.Message, sync bool, done func(int, error)) {
	b := newBatch(ctx, len(messages), done)
	b.sync = sync
	now := time.Now()
	for i, m := range messages {
		b.items = append(b.items, outgoing{batch: b, index: i})
		if err := p.prepare(&b.items[i], m, now); err != nil {
			b.items[i].settled = true
			done(i, err)
		}
	}
	for i := range b.items {
		o := &b.items[i]
		if o.settled {
			continue
		}
		if err := p.enqueue(ctx, o); err != nil {
			p.bodies.put(o.body)
			done(i, err)
		}
	}
}

// enqueue queues o once there is room, and fails when it cannot be sent.
func (p *publisher) enqueue(ctx context.Context, o *outgoing) error {
	away, changed := p.keepsOff(o)
	p.mu.Lock()
	for p.outstanding >= maxOutstanding && !p.closed && ctx.Err() == nil && away == nil {
		p.awaitRoomLocked(ctx, changed)
		away, changed = p.keepsOff(o)
	}
	switch {
	case p.closed:
		p.mu.Unlock()
		return closedError("connection")
	case away != nil:
		p.mu.Unlock()
		p.link.miss()
		return away
	case ctx.Err() != nil:
		p.mu.Unlock()
		_, trouble, _ := p.link.trouble()
		return giveUp(o, ctx.Err(), trouble)
	}
	p.queue.pushBack(o)
	p.outstanding++
	if !p.sweeping {
		p.armLocked()
	}
	p.mu.Unlock()
	signal(p.wake)
	return nil
}

// keepsOff returns why o must not wait for the broker, or nil, and for a FailFast message a channel
// that is closed when that may have changed.
func (p *publisher) keepsOff(o *outgoing) (*driver.Error, <-chan struct{}) {
	if !o.failFast {
		return nil, nil
	}
	return p.link.failing()
}

// awaitRoomLocked gives up mu while it waits for a change, of the room or by changed.
func (p *publisher) awaitRoomLocked(ctx context.Context, changed <-chan struct{}) {
	room := p.room
	p.waiters++
	p.mu.Unlock()
	select {
	case <-room:
	case <-changed:
	case <-ctx.Done():
	}
	p.mu.Lock()
	p.waiters--
}

// settle calls done once, and not under mu.
func (p *publisher) settle(o *outgoing, err error) {
	p.mu.Lock()
	first := p.settleLocked(o)
	p.mu.Unlock()
	if first {
		o.batch.done(o.index, err)
	}
}

// settleLocked marks o and reports whether the caller is to call done.
func (p *publisher) settleLocked(o *outgoing) bool {
	if o.settled {
		return false
	}
	o.settled = true
	p.outstanding--
	if p.waiters > 0 {
		close(p.room)
		p.room = make(chan struct{})
	}
	return true
}

// armLocked starts the sweeper's timer. It runs only while there is something to sweep.
func (p *publisher) armLocked() {
	p.sweeping = true
	if p.sweeper == nil {
		p.sweeper = time.AfterFunc(sweepInterval, p.tick)
		return
	}
	p.sweeper.Reset(sweepInterval)
}

func (p *publisher) tick() {
	p.sweep()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sweeping = p.outstanding > 0 && !p.closed; p.sweeping {
		p.sweeper.Reset(sweepInterval)
	}
}

// sweep settles messages whose ctx ended or whose time is over, and those that do not wait for a
// broker which is away. Those that were written stay
// in their place, for the delivery tags to fit.
func (p *publisher) sweep() {
	_, trouble, _ := p.link.trouble()
	away, _ := p.link.failing()
	missed := false
	now := time.Now()
	var over []verdict
	p.mu.Lock()
	for i := range p.queue.len() {
		o := p.queue.at(i)
		err := p.overdue(o, now, trouble)
		if err == nil && o.failFast && away != nil && !o.settled {
			err, missed = away, true
		}
		if err != nil && p.settleLocked(o) {
			over = append(over, verdict{o, err})
		}
	}
	for i := range p.unconfirmed.len() {
		o := p.unconfirmed.at(i)
		if !o.settled && hasEnded(o.batch.ended) && p.settleLocked(o) {
			over = append(over, verdict{o, doubtful(o, trouble)})
		}
	}
	p.mu.Unlock()
	if missed {
		p.link.miss()
	}
	report(over)
}

// verdict is a result that waits for mu to be given up.
type verdict struct {
	o   *outgoing
	err error
}

func report(verdicts []verdict) {
	for _, v := range verdicts {
		v.o.batch.done(v.o.index, v.err)
	}
}

// overdue says why a message that was not written is given up, or nil.
func (p *publisher) overdue(o *outgoing, now time.Time, trouble *driver.Error) error {
	switch {
	case o.settled:
		return nil
	case hasEnded(o.batch.ended):
		return giveUp(o, o.batch.cause(), trouble)
	case !o.deadline.IsZero() && now.After(o.deadline):
		if trouble != nil {
			return trouble // the reason says more than that time passed
		}
		return expiredError()
	}
	return nil
}

// giveUp is the error of a message that was not written when its ctx ended. Send says what
// kept it (SEND-4); SendAsync says that it was given up, and the cause in words (ASYNC-4).
func giveUp(o *outgoing, ended error, trouble *driver.Error) error {
	if o.batch.sync && trouble != nil {
		return trouble
	}
	return endedError(ended, trouble)
}

// doubtful is the error of a message that was written and not confirmed when its ctx ended.
func doubtful(o *outgoing, trouble *driver.Error) error {
	if trouble != nil {
		return inDoubt(trouble)
	}
	e := endedError(o.batch.cause(), nil)
	e.Message = "the broker did not confirm the message in time"
	e.InDoubt = true
	return e
}

func hasEnded(ended <-chan struct{}) bool {
	select {
	case <-ended:
		return true
	default:
		return false
	}
}

// failQueued settles everything that was not written.
func (p *publisher) failQueued(err error) {
	var over []verdict
	p.mu.Lock()
	for p.queue.len() > 0 {
		if o := p.queue.popFront(); p.settleLocked(o) {
			over = append(over, verdict{o, err})
		}
	}
	p.mu.Unlock()
	report(over)
}

// close gives what is under way until the end of ctx (CLOSE-1), and then ends the writer. The
// link must be stopped after it, and finish called after that.
func (p *publisher) close(ctx context.Context) {
	p.mu.Lock()
	p.closed = true
	close(p.room)
	p.room = make(chan struct{})
	for p.outstanding > 0 && ctx.Err() == nil {
		p.awaitRoomLocked(ctx, nil)
	}
	if p.sweeper != nil {
		p.sweeper.Stop()
	}
	p.mu.Unlock()
	p.cancel()
}

// finish waits for the writer and settles what is left.
func (p *publisher) finish() {
	<-p.ended
	p.watch.stop()
	p.failQueued(closedError("connection"))
}
