// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// start hands a job to a worker: an idle one, a new one, or the next to be idle. A slot is
// free, so there is one.
func (sv *serving) start(j *job) {
	select {
	case sv.jobs <- j:
		return
	default:
	}
	if sv.started.Load() == int64(sv.s.opts.Concurrency) {
		sv.jobs <- j
		return
	}
	sv.startWorker(j)
}

// startWorker starts a worker with its first job.
func (sv *serving) startWorker(j *job) {
	sv.started.Add(1)
	sv.workers.Go(func() {
		sv.work1(j)
		for j := range sv.jobs {
			sv.work1(j)
		}
	})
}

// work1 does a job, and then those of its key that wait for it.
func (sv *serving) work1(j *job) {
	for ; j != nil; j = sv.order.next(j) {
		j.handle()
	}
}

// errGone answers a call whose handler ended its goroutine (runtime.Goexit, which is also what
// Fatal of package testing does).
var errGone = errors.New("the handler ended its goroutine")

// handle runs one request and answers it, whichever way the handler ends.
func (j *job) handle() {
	sv := j.sv
	sv.unfinished.Add(1)
	if j.isTooLate() {
		sv.unfinished.Add(-1)
		j.release()
		return
	}
	var result any
	err := errGone
	defer func() {
		if err == errGone {
			sv.s.log.gone(j.handler, j.request())
		}
		j.answer(result, err)
		sv.unfinished.Add(-1)
		if err == errGone { // this worker ends; before its slot is free
			sv.started.Add(-1)
			if next := sv.order.next(j); next != nil {
				sv.startWorker(next)
			}
		}
		j.release()
	}()
	result, err = j.dispatch()
}

// isTooLate ends a job that is not to be begun: one that was answered before, whose caller's time
// ran out while it waited for its turn, or whose server has lost patience with its handlers.
func (j *job) isTooLate() bool {
	sv := j.sv
	switch {
	case j.again:
		sv.s.counters.resent.Add(1)
		j.reply.start()
	case j.key != "" && j.isOver(time.Now()):
		j.stopHeartbeats()
		sv.settleDuplicates(j)
		sv.expired(j.delivery)
	case sv.work.Err() != nil && sv.s.opts.Ack == AckAfterHandler:
		j.giveBack()
	case sv.work.Err() != nil:
		sv.s.log.notBegun(&j.context, j.request())
		j.answer(nil, context.Cause(sv.work))
	default:
		return false
	}
	return true
}

// settleDuplicates settles the repeated deliveries of a job that has ended without an answer.
func (sv *serving) settleDuplicates(j *job) {
	sv.settling.settle(driver.Accepted, sv.seen.forget(&j.inProgress)...)
}

// dispatch runs the request through middleware and method.
func (j *job) dispatch() (any, error) {
	s := j.sv.s
	j.startHeartbeats()
	j.read()
	if j.problem == nil && s.opts.Serializer != nil {
		j.convertContext(s.opts.Serializer)
	}
	if j.problem != nil {
		s.counters.malformed.Add(1)
		s.log.malformed(j.handler, j.request(), j.problem)
		return nil, j.problem
	}
	if j.state.exposed == nil {
		s.counters.refused.Add(1)
	}
	return s.chain(j.handler, j.request())
}

// answer ends the handler's context and, for a call, sends the answer.
func (j *job) answer(result any, err error) {
	sent := j.isCall && !j.isCutOff(err)
	if sent {
		j.reply.encode(j.handler, result, err)
	}
	j.context.end()
	j.stopHeartbeats()
	switch {
	case sent:
		j.reply.start()
	case j.isCutOff(err):
		j.giveBack()
	default:
		j.settled()
	}
}

// isCutOff reports whether a handler failed because a shutdown cut it off, and another server may
// have its request.
func (j *job) isCutOff(err error) bool {
	return err != nil && j.sv.s.opts.Ack == AckAfterHandler && j.sv.work.Err() != nil &&
		(errors.Is(err, context.Canceled) || errors.Is(err, ErrServerClosed))
}

// settled ends a job that was handled, and its reply with it.
func (j *job) settled() {
	sv := j.sv
	if j.isCall && !j.reply.taken && sv.replyCtx.Err() != nil {
		return // the shutdown cut the reply off: the request is still open, and goes back
	}
	result := driver.Accepted
	if j.problem != nil && !j.isCall {
		result = driver.Rejected // nobody was told
	}
	sv.settling.settle(result, j.delivery.Token)
	if j.again {
		return
	}
	sv.settling.settle(driver.Accepted, sv.seen.end(&j.inProgress, j.reply.answer(), time.Now())...)
}

// giveBack gives the request back to the broker.
func (j *job) giveBack() {
	sv := j.sv
	j.stopHeartbeats()
	sv.s.counters.returned.Add(1)
	sv.settling.settle(driver.Requeued, append(sv.seen.forget(&j.inProgress), j.delivery.Token)...)
}

// release frees the job's slot.
func (j *job) release() {
	j.sv.s.counters.running.Add(-1)
	j.sv.in.release(1)
}
