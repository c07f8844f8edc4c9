// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// serving is one run of an RPCServer: from listening to the last reply.
//
// Its goroutines: the one that polls, which is Serve's; up to Concurrency workers, which end
// when jobs is closed; one for each monitored call, which ends with its handler; one for each
// reply that is sent again, which ends with replyCtx. Serve waits for all of them.
type serving struct {
	s        *RPCServer
	listener driver.Listener
	receiver driver.Receiver // the listener, when it has the ability
	slots    slots
	seen     *dedupe

	draining chan struct{} // closed when no more requests are taken

	jobs    chan job
	started atomic.Int64 // workers
	workers sync.WaitGroup

	// work is the context of all handlers, replyCtx that of all replies: it ends later.
	work, replyCtx        context.Context
	stopWork              context.CancelCauseFunc
	stopReplies           context.CancelFunc
	replies               sync.WaitGroup // replies that are on their way
	resending, unfinished atomic.Int64   // replies being sent again; handlers that run
}

// job is a request with the moment it was received.
type job struct {
	d        *driver.Delivery
	received time.Time
}

func newServing(ctx context.Context, s *RPCServer, l driver.Listener) *serving {
	sv := &serving{s: s, listener: l, jobs: make(chan job), draining: make(chan struct{}), seen: newDedupe(s.opts.DedupeSize, s.opts.DedupeAge)}
	sv.receiver, _ = l.(driver.Receiver)
	sv.slots.init(s.opts.Concurrency)
	detached := context.WithoutCancel(ctx)
	sv.work, sv.stopWork = context.WithCancelCause(detached)
	sv.replyCtx, sv.stopReplies = context.WithCancel(detached)
	return sv
}

// run polls until polling ends, and drains. It returns what polling failed with.
func (sv *serving) run(polling context.Context) error {
	err := sv.poll(polling)
	sv.takeRest(polling)
	close(sv.draining)
	close(sv.jobs)
	sv.drain(polling)
	closing, cancel := context.WithTimeout(context.WithoutCancel(polling), cleanupTimeout)
	defer cancel()
	if closeErr := sv.listener.Close(closing); closeErr != nil {
		sv.s.opts.Logger.WarnContext(closing, "closing the server's listener failed", "error", closeErr)
	}
	return err
}

// poll takes as many requests as there are free slots, again and again. A listener that can
// call us spares the step from the goroutine that receives to the one that polls.
func (sv *serving) poll(polling context.Context) error {
	if sv.receiver != nil {
		return sv.receiver.Receive(polling, sv.s.opts.Concurrency, func(batch []*driver.Delivery) {
			sv.startBatch(polling, batch)
		})
	}
	for {
		free := sv.slots.take(polling)
		if free == 0 {
			return polling.Err()
		}
		batch, err := sv.listener.Poll(polling, free)
		sv.slots.give(free - len(batch))
		sv.startBatch(polling, batch)
		if err != nil {
			return err
		}
	}
}

// startBatch starts the requests that are to be run; the slots of the others are free again.
func (sv *serving) startBatch(ctx context.Context, batch []*driver.Delivery) {
	now := time.Now()
	for _, d := range batch {
		if sv.admit(ctx, d, now) {
			sv.start(job{d, now})
		} else {
			sv.freeSlot()
		}
	}
}

// freeSlot makes room for one more request.
func (sv *serving) freeSlot() {
	if sv.receiver != nil {
		sv.receiver.Release(1)
		return
	}
	sv.slots.give(1)
}

// takeRest stops the listener and starts what the driver has acknowledged and was about to hand
// over: nobody else gets it any more. It is within the slots of the last poll.
func (sv *serving) takeRest(polling context.Context) {
	stopper, ok := sv.listener.(driver.Stopper)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(polling), cleanupTimeout)
	defer cancel()
	if err := stopper.Stop(ctx); err != nil {
		sv.s.opts.Logger.WarnContext(ctx, "stopping the server's listener failed", "error", err)
	}
	for {
		batch, err := sv.listener.Poll(ctx, sv.s.opts.Concurrency)
		sv.startBatch(ctx, batch)
		if err != nil {
			return // it is empty, or was given up
		}
	}
}

// admit reports whether a message is to be run.
func (sv *serving) admit(ctx context.Context, d *driver.Delivery, now time.Time) bool {
	logger := sv.s.opts.Logger
	id := slog.String("unique_id", d.UniqueID)
	switch {
	case d.Kind != driver.Call && d.Kind != driver.Cast:
		logger.LogAttrs(ctx, slog.LevelWarn, "message dropped: not a request", slog.String("kind", d.Kind.String()), id)
	case d.TimeLeft < 0:
		logger.LogAttrs(ctx, slog.LevelInfo, "request dropped: its time ran out before it was received", id)
	case !sv.seen.add(d.UniqueID, now):
		logger.LogAttrs(ctx, slog.LevelInfo, "request dropped: received before", slog.Bool("redelivered", d.Redelivered), id)
	default:
		return true
	}
	return false
}

// start hands a job to a worker: an idle one, a new one, or the next to be idle. A slot is
// free, so there is one.
func (sv *serving) start(j job) {
	select {
	case sv.jobs <- j:
		return
	default:
	}
	if sv.started.Load() == int64(sv.s.opts.Concurrency) {
		sv.jobs <- j
		return
	}
	sv.started.Add(1)
	sv.workers.Go(func() {
		sv.handle(j)
		for j := range sv.jobs {
			sv.handle(j)
		}
	})
}

// drain waits for handlers and replies, and cuts them off when their time is over.
func (sv *serving) drain(polling context.Context) {
	defer sv.stopReplies()
	defer sv.stopWork(ErrServerClosed)
	finished := make(chan struct{})
	go func() { // ends when the last handler does, which may be after a cut
		defer close(finished)
		sv.workers.Wait()
		sv.replies.Wait()
	}()
	limit := sv.drainLimit()
	select {
	case <-finished:
		return
	case <-limit:
	case <-sv.s.cancel:
	}
	sv.stopWork(ErrServerClosed)
	if waitFor(finished, cancelGrace) {
		return
	}
	sv.stopReplies()
	if !waitFor(finished, time.Second) {
		sv.s.opts.Logger.ErrorContext(polling, "handlers ignored the end of their context and are left behind",
			"running", sv.unfinished.Load())
	}
}

// drainLimit ends the wait for handlers when no Shutdown bounds it.
func (sv *serving) drainLimit() <-chan time.Time {
	if isClosed(sv.s.stopping) {
		return nil
	}
	return time.After(sv.s.opts.ShutdownTimeout)
}

func waitFor(done <-chan struct{}, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// errGone answers a call whose handler ended its goroutine (runtime.Goexit, which is also what
// Fatal of package testing does).
var errGone = errors.New("the handler ended its goroutine")

// handle runs one request and answers it, whichever way the handler ends.
func (sv *serving) handle(j job) {
	sv.unfinished.Add(1)
	isCall := j.d.Kind == driver.Call && j.d.ReplyTo != ""
	stopHeartbeats := func() {}
	if isCall && j.d.MonitorTimeout > 0 {
		stopHeartbeats = sv.heartbeats(j.d)
	}
	var result any
	err := errGone
	defer func() {
		stopHeartbeats()
		if isCall {
			sv.reply(j, result, err)
		}
		sv.unfinished.Add(-1)
		if err == errGone {
			sv.s.opts.Logger.Error("handler ended its goroutine", "call_id", j.d.CallID)
			sv.started.Add(-1) // this worker ends; before its slot is free
		}
		sv.freeSlot()
	}()
	result, err = sv.dispatch(j, isCall)
}

// dispatch finds and runs the method, and logs how it failed.
func (sv *serving) dispatch(j job, isCall bool) (any, error) {
	r, err := parseRequest(j.d.Body)
	if err != nil {
		err = &RemoteError{Module: builtinsModule, Class: "ValueError", Message: "the request cannot be understood: " + err.Error()}
		sv.s.dispatcher.logNotFound(sv.work, r, err)
		return nil, err
	}
	h, err := sv.s.dispatcher.find(r)
	if err != nil {
		sv.s.dispatcher.logNotFound(sv.work, r, err)
		return nil, err
	}
	rc, err := receivedContext(j.d.Context)
	if err != nil {
		err = &RemoteError{Module: builtinsModule, Class: "ValueError", Message: "the request context cannot be understood: " + err.Error()}
		sv.s.dispatcher.log(sv.work, r, isCall, err)
		return nil, err
	}
	ctx := &handlerContext{Context: sv.work, rc: rc, info: RequestInfo{
		Method: r.method, Namespace: r.namespace, Version: r.version, Call: isCall,
	}}
	if isCall && j.d.TimeLeft > 0 {
		ctx.deadline = j.received.Add(j.d.TimeLeft)
	}
	defer ctx.end()
	result, err := sv.s.dispatcher.run(ctx, h, r.args)
	if err != nil {
		sv.s.dispatcher.log(ctx, r, isCall, err)
	}
	return result, err
}

// minHeartbeat keeps a caller that asks for a tiny monitor time from getting a flood.
const minHeartbeat = 10 * time.Millisecond

// heartbeats tells the caller every half of its monitor time that the handler still runs,
// until the returned function is called, which waits for the last one. Upstream's server
// (dispatcher.py, _watchdog) goes on for ever when no method was found; here every way out of
// a request stops them.
func (sv *serving) heartbeats(d *driver.Delivery) (stop func()) {
	ctx, cancel := context.WithCancel(sv.replyCtx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		sv.beat(ctx, d.ReplyTo, d.CallID, max(d.MonitorTimeout/2, minHeartbeat))
	}()
	return func() { cancel(); <-done }
}

func (sv *serving) beat(ctx context.Context, replyTo, callID string, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		m := &driver.Message{Kind: driver.Heartbeat, ReplyTo: replyTo, CallID: callID, UniqueID: newID(), TimeLeft: every}
		sending, cancel := context.WithTimeout(ctx, every)
		err := driver.MessageErr(sv.s.t.conn.Send(sending, []*driver.Message{m}), 0)
		cancel()
		if err != nil && ctx.Err() == nil {
			sv.s.opts.Logger.DebugContext(ctx, "heartbeat not sent", "call_id", callID, "error", err)
		}
	}
}

// slots counts how many more requests may be taken. One goroutine takes, any may give.
type slots struct {
	wake chan struct{} // has room for one; filled when slots may be free

	mu   sync.Mutex // guards free
	free int
}

func (s *slots) init(n int) {
	s.free = n
	s.wake = make(chan struct{}, 1)
}

// take waits until there are free slots and takes all of them. It returns 0 when ctx ended.
func (s *slots) take(ctx context.Context) int {
	for ctx.Err() == nil {
		if n := s.takeNow(); n > 0 {
			return n
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
		}
	}
	return 0
}

func (s *slots) takeNow() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.free
	if n <= 0 {
		return 0
	}
	s.free = 0
	return n
}

func (s *slots) give(n int) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	s.free += n
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
