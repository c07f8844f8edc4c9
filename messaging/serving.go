// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// serving is one run of an RPCServer: from listening to the last reply.
//
// Its goroutines: the one that polls, which is Serve's; up to Concurrency workers, which end
// when jobs is closed; one for each monitored call, which ends with its handler; one for each
// reply that is sent again, which ends with replyCtx; with AckAfterHandler the one that settles.
// Serve waits for all of them.
type serving struct {
	s        *RPCServer
	in       *intake
	seen     *dedupe
	clocks   *senderClocks // used by the goroutine that polls
	order    ordering
	settling *settling
	receipts *receipts // nil when the driver or the handlers acknowledge

	draining chan struct{} // closed when no more requests are taken

	jobs    chan *job
	started atomic.Int64 // workers
	workers sync.WaitGroup

	// work is the context of all handlers, replyCtx that of all replies: it ends later.
	work, replyCtx        context.Context
	stopWork              context.CancelCauseFunc
	stopReplies           context.CancelFunc
	replies               sync.WaitGroup // replies that are on their way
	resending, unfinished atomic.Int64   // replies being sent again; handlers that run
}

func newServing(ctx context.Context, s *RPCServer, l driver.Listener, src driver.Source) *serving {
	sv := &serving{
		s: s, in: newIntake(l, s.opts.Concurrency), jobs: make(chan *job), draining: make(chan struct{}),
		seen:     newDedupe(s.opts.DedupeSize, s.opts.DedupeAge),
		clocks:   newSenderClocks(time.Now()),
		order:    ordering{keyOf: s.opts.OrderBy, lines: newLines[*job]()},
		settling: newSettling(l, s.opts.Logger, s.opts.Ack),
	}
	if src.AtMostOnce {
		sv.receipts = &receipts{sv: sv}
	}
	detached := context.WithoutCancel(ctx)
	sv.work, sv.stopWork = context.WithCancelCause(detached)
	sv.replyCtx, sv.stopReplies = context.WithCancel(detached)
	if sv.settling.done != nil {
		go sv.settling.run(detached)
	}
	return sv
}

// run polls until polling ends, and drains. It returns what polling failed with.
func (sv *serving) run(polling context.Context) error {
	err := sv.in.run(polling, sv.startBatch)
	sv.takeRest(polling)
	close(sv.draining)
	close(sv.jobs)
	sv.giveBackWaiting()
	sv.drain(polling)
	sv.s.counters.returned.Add(uint64(sv.settling.close()))
	if closeErr := sv.in.close(polling); closeErr != nil {
		sv.s.opts.Logger.WarnContext(context.WithoutCancel(polling), "closing the server's listener failed", errorAttr(closeErr))
	}
	return err
}

// startBatch starts the requests that are to be run; the slots of the others are free again.
func (sv *serving) startBatch(batch []*driver.Delivery) {
	sv.s.counters.received.Add(uint64(len(batch)))
	now := time.Now()
	if sv.receipts != nil {
		sv.receipts.startBatch(batch, now)
		return
	}
	sv.settling.begin(batch)
	for _, d := range batch {
		sv.begin(sv.admit(d, now))
	}
}

// begin starts a job, or lets it wait for its turn. There is none for a request that was dropped.
func (sv *serving) begin(j *job) {
	if j == nil {
		sv.in.release(1)
		return
	}
	sv.s.counters.running.Add(1)
	if j.again || sv.order.enter(j) {
		sv.start(j)
	} else {
		j.startHeartbeats() // or the caller would take us for dead
	}
}

// takeRest stops the listener and starts what the driver has acknowledged and was about to hand
// over: nobody else gets it any more. It is within the slots of the last poll. What is not
// acknowledged yet goes back instead.
func (sv *serving) takeRest(polling context.Context) {
	start := sv.startBatch
	switch {
	case sv.s.opts.Ack == AckAfterHandler:
		start = sv.giveBackBatch
	case sv.receipts != nil:
		start = sv.receipts.giveBackBatch
	}
	if err := sv.in.rest(polling, start); err != nil {
		sv.s.opts.Logger.WarnContext(polling, "stopping the server's listener failed", errorAttr(err))
	}
}

// giveBackBatch gives back deliveries that nothing was done for.
func (sv *serving) giveBackBatch(batch []*driver.Delivery) {
	sv.s.counters.received.Add(uint64(len(batch)))
	sv.s.counters.returned.Add(uint64(len(batch)))
	sv.settling.begin(batch)
	for _, d := range batch {
		sv.settling.settle(driver.Requeued, d.Token)
	}
}

// giveBackWaiting gives back what waits for its turn, when that is still possible.
func (sv *serving) giveBackWaiting() {
	if sv.s.opts.Ack != AckAfterHandler {
		return
	}
	for _, j := range sv.order.takeWaiting() {
		j.giveBack()
		j.release()
	}
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
			"running", sv.unfinished.Load(), "waiting", sv.s.counters.running.Load()-sv.unfinished.Load())
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
