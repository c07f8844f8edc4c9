// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/parleymq/parley/internal/pyjson"
	"github.com/parleymq/parley/plugin/driver"
)

// How a reply that could not be sent is sent again.
const (
	firstResend = 100 * time.Millisecond
	lastResend  = 5 * time.Second
	// replyPatience bounds the sending of a reply whose caller did not say how long it waits.
	// It is upstream's default for calls and for replies to a missing queue.
	replyPatience = 60 * time.Second
	// maxResending bounds the replies that wait to be sent again, and so their memory, when
	// many callers are gone for good.
	maxResending = 1024
)

// reply is an answer on its way. Its driver keeps the message until it has reported on it. It is
// a part of its job.
type reply struct {
	job      *job
	msg      driver.Message
	batch    [1]*driver.Message
	deadline time.Time // when nobody waits for it any more
	taken    bool      // the driver has said that the broker took it
}

// fill makes it an answer that was given before.
func (r *reply) fill(a keptAnswer) {
	r.msg = driver.Message{
		Kind: driver.Reply, ReplyTo: a.replyTo, CallID: a.callID, UniqueID: a.uniqueID, Body: a.body, Failure: a.failure,
	}
}

// answer is what is kept of it for a repeated call.
func (r *reply) answer() keptAnswer {
	return keptAnswer{
		replyTo: r.msg.ReplyTo, callID: r.msg.CallID, uniqueID: r.msg.UniqueID, body: r.msg.Body, failure: r.msg.Failure,
	}
}

// encode makes it the answer to its job's request. It works with the handler's context.
func (r *reply) encode(ctx context.Context, result any, err error) {
	d := r.job.delivery
	r.msg = driver.Message{Kind: driver.Reply, ReplyTo: d.ReplyTo, CallID: d.CallID, UniqueID: newID()}
	r.msg.Body, r.msg.Failure = r.job.sv.encodeReply(ctx, result, err)
}

// start sends the answer. It returns once the driver has taken the message; what becomes of it
// is settled in the background.
func (r *reply) start() {
	sv := r.job.sv
	r.deadline = r.job.deadline
	if r.deadline.IsZero() {
		r.deadline = r.job.received.Add(replyPatience)
	}
	if sv.replyCtx.Err() != nil {
		r.giveUp(sv.replyCtx.Err()) // a handler that was left behind
		return
	}
	r.batch[0] = &r.msg
	r.msg.TimeLeft = max(time.Until(r.deadline), time.Nanosecond)
	sv.replies.Add(1)
	if async := sv.s.t.async; async != nil {
		async.SendAsync(sv.replyCtx, r.batch[:], r.reported)
		return
	}
	r.reported(0, r.send())
}

// end is the last that happens to a reply: it was taken, or given up because of err.
func (r *reply) end(err error) {
	if r.taken = err == nil; !r.taken {
		r.giveUp(err)
	}
	r.job.settled()
	r.job.sv.replies.Done()
}

// failureOfLastResort answers a call whose failure cannot be told.
const failureOfLastResort = `{"class":"Exception","module":"builtins","message":"the failure cannot be encoded","tb":[],"args":[],"kwargs":{}}`

// encodeReply returns body and failure. What cannot be encoded becomes a failure that says so:
// the caller must not wait for its deadline because of it.
func (sv *serving) encodeReply(ctx context.Context, result any, err error) (body, failure []byte) {
	if err == nil {
		if body, err = sv.encodeResult(ctx, result); err == nil {
			return body, nil
		}
		err = typeError("the result cannot be encoded as JSON: " + err.Error())
		sv.s.opts.Logger.LogAttrs(ctx, slog.LevelError, "result cannot be encoded", errorAttr(err))
	}
	failure, encodeErr := sv.encodeFailure(err)
	if encodeErr != nil {
		sv.s.opts.Logger.LogAttrs(ctx, slog.LevelError, "failure cannot be encoded", errorAttr(encodeErr))
		failure = []byte(failureOfLastResort)
	}
	return []byte("null"), failure
}

// encodeResult encodes the handler's result. A panic of the application's own encoding is an
// error.
func (sv *serving) encodeResult(ctx context.Context, result any) (body []byte, err error) {
	defer recovered(&err)
	s := sv.s.opts.Serializer
	if s == nil {
		return sv.s.t.codec.encode(result)
	}
	if body, err = s.Marshal(ctx, result); err != nil {
		return nil, err
	}
	return body, pyjson.Valid(body)
}

// encodeFailure encodes the handler's error; without its args and kwargs when they are not
// JSON. A panic of the application's own Error is an error.
func (sv *serving) encodeFailure(err error) (failure []byte, encodeErr error) {
	defer recovered(&encodeErr)
	remote := toRemote(err)
	failure, encodeErr = sv.s.t.codec.failure(remote)
	if encodeErr != nil {
		failure, encodeErr = sv.s.t.codec.failure(&RemoteError{Module: remote.Module, Class: remote.Class, Message: remote.Message})
	}
	return failure, encodeErr
}

// recovered turns a panic into an error; it is deferred.
func recovered(err *error) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("panic: %v", v)
	}
}

// send sends the reply once and waits for the driver's word.
func (r *reply) send() error {
	ctx, cancel := context.WithDeadline(r.job.sv.replyCtx, r.deadline)
	defer cancel()
	return driver.MessageErr(r.job.sv.s.t.conn.Send(ctx, r.batch[:]), 0)
}

// reported is the driver's word on the first try. It does not block.
func (r *reply) reported(_ int, err error) {
	sv := r.job.sv
	switch {
	case err == nil, !r.worthAgain(err):
		r.end(err)
	case sv.resending.Add(1) > maxResending:
		sv.resending.Add(-1)
		r.end(err)
	default:
		sv.s.counters.resent.Add(1)
		go func() {
			err := r.resend(err)
			sv.resending.Add(-1)
			r.end(err)
		}()
	}
}

// worthAgain reports whether a reply that failed with err is sent again. That is safe in
// doubt too: the caller takes the first answer to its call and drops the second. A reply name
// that is not there may be one whose owner connects again, or one whose owner is dead: a
// shutdown does not wait for it.
func (r *reply) worthAgain(err error) bool {
	if hasNoRoute(err) {
		return !isClosed(r.job.sv.draining)
	}
	d := driver.AsError(err)
	return d.InDoubt || d.Retryable
}

func hasNoRoute(err error) bool {
	return driver.ReasonOf(err) == driver.ReasonNoRoute && !inDoubt(err)
}

// resend sends the same reply again, ever less often, until it is taken or nobody waits. It
// returns why it was not taken.
func (r *reply) resend(err error) error {
	pause := firstResend
	for r.pause(pause, hasNoRoute(err)) {
		r.msg.TimeLeft = max(time.Until(r.deadline), time.Nanosecond)
		if err = r.send(); err == nil || !r.worthAgain(err) {
			return err
		}
		pause = min(2*pause, lastResend)
	}
	return err
}

// pause waits for about d; false means that there is no point in going on. A shutdown ends the
// wait for a missing route, for a last try.
func (r *reply) pause(d time.Duration, noRoute bool) bool {
	d += rand.N(d/4 + 1) //nolint:gosec // jitter needs no secrecy
	if time.Until(r.deadline) <= d {
		return false
	}
	var draining <-chan struct{}
	if noRoute {
		draining = r.job.sv.draining
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-draining:
		return true
	case <-r.job.sv.replyCtx.Done():
		return false
	}
}

// giveUp logs, once, that a caller gets no answer.
func (r *reply) giveUp(err error) {
	s := r.job.sv.s
	s.counters.lost.Add(1)
	s.opts.Logger.LogAttrs(r.job.handler, slog.LevelWarn, "reply not sent",
		shown("reply_to", r.msg.ReplyTo), shown("call_id", r.msg.CallID), errorAttr(err))
}
