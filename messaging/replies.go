// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/parleymq/parley/plugin/driver"
)

// maxReplyBatch is how many replies one poll takes.
const maxReplyBatch = 256

// replies receives the answers to all calls of a transport and hands each to its call. There
// is one reply name for the life of the transport, chosen here: answers sent while the driver
// is away are still there when it is back. Listening starts with the first call.
type replies struct {
	t    *Transport
	name string

	// opening is held, as a lock that gives way to a context, by whoever starts listening.
	opening chan struct{}
	opened  atomic.Bool

	mu      sync.Mutex // guards the rest
	waiting map[string]*pending
	closed  error // why no call may wait any more; nil while open
	// listener is what run polls; nil before the first call, and after run ended by itself.
	listener *replyListener
}

// replyListener is a listener with the goroutine that polls it.
type replyListener struct {
	driver.Listener
	stop context.CancelFunc
	done chan struct{} // closed when the goroutine has ended
}

func newReplies(t *Transport) *replies {
	return &replies{
		t:       t,
		name:    "reply_" + newID(),
		opening: make(chan struct{}, 1),
		waiting: make(map[string]*pending),
	}
}

// open makes sure that replies are received. It is called for every call, after add; all but
// the first cost one atomic load. When listening fails, this call fails and the next one tries
// again. With failFast it does not wait for a broker that is away.
func (r *replies) open(ctx context.Context, failFast bool) error {
	if r.opened.Load() {
		return nil
	}
	if !failFast {
		return r.listen(ctx)
	}
	bounded, stop := r.t.states.failing(ctx)
	defer stop()
	err := r.listen(bounded)
	if trouble := context.Cause(bounded); err != nil && ctx.Err() == nil && trouble != nil {
		return trouble
	}
	return err
}

func (r *replies) listen(ctx context.Context) error {
	select {
	case r.opening <- struct{}{}:
		defer func() { <-r.opening }()
	case <-ctx.Done():
		return r.notOpened()
	}
	if r.opened.Load() {
		return nil
	}
	l, err := r.t.conn.Listen(ctx, driver.Source{
		Kind: driver.SourceReplies, Settle: driver.SettleOnDone, ReplyName: r.name,
	})
	if err != nil {
		return err
	}
	r.start(l)
	return nil
}

// notOpened is why a call that waited for another one to start listening was not sent: what
// keeps the driver from its broker, if it has said so.
func (r *replies) notOpened() error {
	if state := r.t.states.now(); state.Phase != PhaseReady && state.Err != nil {
		return state.Err
	}
	return driver.Errorf(driver.ReasonNotConnected, "the driver has not begun to receive replies in time")
}

// start begins to poll l. Its goroutine ends when close stops it, or when the listener breaks
// for good.
func (r *replies) start(l driver.Listener) {
	ctx, stop := context.WithCancel(context.Background())
	rl := &replyListener{Listener: l, stop: stop, done: make(chan struct{})}
	r.mu.Lock()
	r.listener = rl
	r.mu.Unlock()
	r.opened.Store(true)
	go func() {
		defer close(rl.done)
		defer stop()
		r.run(ctx, rl)
	}()
}

// run takes in replies until ctx ends or the listener breaks for good.
func (r *replies) run(ctx context.Context, l *replyListener) {
	if err := r.receive(ctx, l); ctx.Err() == nil {
		r.broken(ctx, l, err)
	}
}

// receive lets the listener call us when it can, which spares a goroutine between the one that
// receives a reply and the one that waits for it, and polls otherwise.
func (r *replies) receive(ctx context.Context, l *replyListener) error {
	var outcomes []driver.Outcome // of the batch at hand
	take := func(batch []*driver.Delivery) { outcomes = r.takeBatch(ctx, l, batch, outcomes[:0]) }
	if receiver, ok := l.Listener.(driver.Receiver); ok {
		return receiver.Receive(ctx, maxReplyBatch, func(batch []*driver.Delivery) {
			take(batch)
			receiver.Release(len(batch))
		})
	}
	for {
		batch, err := l.Poll(ctx, maxReplyBatch)
		take(batch)
		if err != nil {
			return err
		}
	}
}

// takeBatch hands replies to their calls and settles them. It returns outcomes, for its memory.
func (r *replies) takeBatch(ctx context.Context, l driver.Listener, batch []*driver.Delivery, outcomes []driver.Outcome) []driver.Outcome {
	for _, d := range batch {
		if d.Token != 0 {
			outcomes = append(outcomes, driver.Outcome{Token: d.Token, Result: driver.Accepted})
		}
		r.deliver(ctx, d)
	}
	if len(outcomes) > 0 {
		// A reply that stays unsettled comes again and finds no call: harmless.
		if err := l.Done(ctx, outcomes); err != nil && ctx.Err() == nil {
			r.t.opts.Logger.DebugContext(ctx, "settling replies failed", "error", err)
		}
	}
	return outcomes
}

// deliver hands one message to its call.
func (r *replies) deliver(ctx context.Context, d *driver.Delivery) {
	if d.Lost != nil {
		r.lost(d)
		return
	}
	if d.Kind == driver.Heartbeat {
		r.mu.Lock()
		p := r.waiting[d.CallID]
		r.mu.Unlock()
		if p != nil {
			p.alive()
		}
		return
	}
	if p := r.take(d.CallID); p != nil {
		p.outcome <- outcome{delivery: d}
		return
	}
	r.t.counters.lateReplies.Add(1)
	r.t.opts.Logger.LogAttrs(ctx, slog.LevelDebug, "reply dropped: no call waits for it",
		slog.String("kind", d.Kind.String()), slog.String("call_id", d.CallID))
}

// broken is called by run when the listener can never work again: every call fails at once,
// and the next one listens anew.
func (r *replies) broken(ctx context.Context, l *replyListener, err error) {
	r.t.opts.Logger.ErrorContext(ctx, "receiving replies failed", "error", err)
	failure := operation{verb: "receive replies"}.wrap(err)
	r.mu.Lock()
	taken := r.waiting
	if r.closed == nil {
		r.waiting = make(map[string]*pending)
		r.listener = nil
		// Under the lock: a call that is added from now on listens anew, one that was added
		// before is among those taken.
		r.opened.Store(false)
	}
	r.mu.Unlock()
	failAll(taken, failure)
	closing, cancel := context.WithTimeout(ctx, cleanupTimeout)
	defer cancel()
	if err := l.Close(closing); err != nil {
		r.t.opts.Logger.DebugContext(ctx, "closing the broken reply listener failed", "error", err)
	}
}

// add registers a call before anything is done for it, so that Close ends it whatever it waits
// for.
func (r *replies) add(p *pending) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed != nil {
		return r.closed
	}
	r.waiting[p.msg.CallID] = p
	return nil
}

// waitingNow is how many calls wait.
func (r *replies) waitingNow() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.waiting)
}

// take removes a call and returns it; nil when it is not there. Whoever takes a call decides
// its outcome: there is exactly one.
func (r *replies) take(callID string) *pending {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.waiting[callID]
	delete(r.waiting, callID)
	return p
}

// fail ends every waiting call, and every later one, with err.
func (r *replies) fail(err error) {
	r.mu.Lock()
	r.closed = err
	taken := r.waiting
	r.waiting = nil
	r.mu.Unlock()
	failAll(taken, err)
}

func failAll(calls map[string]*pending, err error) {
	for _, p := range calls {
		p.outcome <- outcome{err: err}
		p.cancel()
	}
}

// close stops receiving and closes the listener. It is called after fail, when no call is in
// progress.
func (r *replies) close(ctx context.Context) {
	r.mu.Lock()
	l := r.listener
	r.listener = nil
	r.mu.Unlock()
	if l == nil {
		return
	}
	l.stop()
	select {
	case <-l.done:
	case <-ctx.Done():
	}
	if err := l.Close(ctx); err != nil {
		r.t.opts.Logger.DebugContext(ctx, "closing the reply listener failed", "error", err)
	}
}
