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
	queue       outbound.Deque[*outgoing] // not written; guarded by mu
	unconfirmed outbound.Deque[*outgoing] // written on the current lane, in order of their delivery tags; guarded by mu
	room        *outbound.Room            // for what is not settled; guarded by mu
	sweeper     *time.Timer               // guarded by mu
	sweeping    bool                      // the sweeper's timer runs; guarded by mu
	maxSize     int                       // the largest message the broker takes, once it told; guarded by mu
}

func newPublisher(set *settings, l *link) *publisher {
	p := &publisher{
		set: set, link: l, bodies: newBodies(), watch: newWatch(set, l), ended: make(chan struct{}),
		wake: make(chan struct{}, 1),
	}
	p.room = outbound.NewRoom(&p.mu, maxOutstanding)
	return p
}

func (p *publisher) start() {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go p.write(ctx)
}

// sendAsync is driver.AsyncSender's. sync is true when Send waits for the results.
func (p *publisher) sendAsync(ctx context.Context, messages []*driver.Message, sync bool, done func(int, error)) {
	caller, items := outbound.NewCaller(ctx, sync, done), make([]outgoing, len(messages))
	now := time.Now()
	for i, m := range messages {
		o := &items[i]
		o.caller, o.index = caller, i
		if err := p.prepare(o, m, now); err != nil {
			o.settled = true
			done(i, err)
		}
	}
	for i := range items {
		o := &items[i]
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
	p.queue.PushBack(o)
	p.room.Take()
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
	return p.link.Failing()
}

// settle calls done once, and not under mu.
func (p *publisher) settle(o *outgoing, err error) {
	p.mu.Lock()
	first := p.settleLocked(o)
	p.mu.Unlock()
	if first {
		o.caller.Done(o.index, err)
	}
}

// settleLocked marks o and reports whether the caller is to call done.
func (p *publisher) settleLocked(o *outgoing) bool {
	if o.settled {
		return false
	}
	o.settled = true
	p.room.Leave()
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
	if p.sweeping = !p.room.Empty() && !p.room.Closed(); p.sweeping {
		p.sweeper.Reset(sweepInterval)
	}
}

// sweep settles messages whose ctx ended or whose time is over, and those that do not wait for a
// broker which is away. Those that were written stay
// in their place, for the delivery tags to fit.
func (p *publisher) sweep() {
	_, trouble, _ := p.link.Trouble()
	away, _ := p.link.Failing()
	missed := false
	now := time.Now()
	var over []verdict
	p.mu.Lock()
	for i := range p.queue.Len() {
		o := p.queue.At(i)
		err := p.overdue(o, now, trouble)
		if err == nil && o.failFast && away != nil && !o.settled {
			err, missed = away, true
		}
		if err != nil && p.settleLocked(o) {
			over = append(over, verdict{o, err})
		}
	}
	for i := range p.unconfirmed.Len() {
		o := p.unconfirmed.At(i)
		if !o.settled && o.caller.HasEnded() && p.settleLocked(o) {
			over = append(over, verdict{o, doubtful(o, trouble)})
		}
	}
	p.mu.Unlock()
	if missed {
		p.link.Miss()
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
		v.o.caller.Done(v.o.index, v.err)
	}
}

// overdue says why a message that was not written is given up, or nil.
func (p *publisher) overdue(o *outgoing, now time.Time, trouble *driver.Error) error {
	switch {
	case o.settled:
		return nil
	case o.caller.HasEnded():
		return o.caller.GiveUp(trouble)
	case !o.deadline.IsZero() && now.After(o.deadline):
		return outbound.Expired(trouble)
	}
	return nil
}

// doubtful is the error of a message that was written and not confirmed when its ctx ended.
func doubtful(o *outgoing, trouble *driver.Error) error {
	if trouble != nil {
		return outbound.InDoubt(trouble)
	}
	e := outbound.Ended(o.caller.Err(), nil)
	e.Message = "the broker did not confirm the message in time"
	e.InDoubt = true
	return e
}

// failQueued settles everything that was not written.
func (p *publisher) failQueued(err error) {
	var over []verdict
	p.mu.Lock()
	for p.queue.Len() > 0 {
		if o := p.queue.PopFront(); p.settleLocked(o) {
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
	p.room.Close(ctx)
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
	p.failQueued(uplink.Closed("connection"))
}
