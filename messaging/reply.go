// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

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

// reply is an answer on its way. Its driver keeps the message until it has reported on it.
type reply struct {
	sv       *serving
	msg      driver.Message
	batch    [1]*driver.Message
	deadline time.Time // when nobody waits for it any more
}

// reply answers a call. It returns once the driver has taken the message; what becomes of it
// is settled in the background.
func (sv *serving) reply(j job, result any, err error) {
	r := &reply{sv: sv, deadline: j.received.Add(replyPatience)}
	if j.d.TimeLeft > 0 {
		r.deadline = j.received.Add(j.d.TimeLeft)
	}
	r.msg = driver.Message{Kind: driver.Reply, ReplyTo: j.d.ReplyTo, CallID: j.d.CallID, UniqueID: newID()}
	r.msg.Body, r.msg.Failure = sv.encodeReply(result, err)
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

// failureOfLastResort answers a call whose failure cannot be told.
const failureOfLastResort = `{"class":"Exception","module":"builtins","message":"the failure cannot be encoded","tb":[],"args":[],"kwargs":{}}`

// encodeReply returns body and failure. What cannot be encoded becomes a failure that says so:
// the caller must not wait for its deadline because of it.
func (sv *serving) encodeReply(result any, err error) (body, failure []byte) {
	if err == nil {
		if body, err = sv.encodeResult(result); err == nil {
			return body, nil
		}
		err = typeError("the result cannot be encoded as JSON: " + err.Error())
		sv.s.opts.Logger.LogAttrs(sv.replyCtx, slog.LevelError, "result cannot be encoded", slog.Any("error", err))
	}
	failure, encodeErr := sv.encodeFailure(err)
	if encodeErr != nil {
		sv.s.opts.Logger.LogAttrs(sv.replyCtx, slog.LevelError, "failure cannot be encoded", slog.Any("error", encodeErr))
		failure = []byte(failureOfLastResort)
	}
	return []byte("null"), failure
}

// encodeResult encodes the handler's result. A panic of the application's own encoding is an
// error.
func (sv *serving) encodeResult(result any) (body []byte, err error) {
	defer recovered(&err)
	return sv.s.t.codec.encode(result)
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
	ctx, cancel := context.WithDeadline(r.sv.replyCtx, r.deadline)
	defer cancel()
	return driver.MessageErr(r.sv.s.t.conn.Send(ctx, r.batch[:]), 0)
}

// reported is the driver's word on the first try. It does not block.
func (r *reply) reported(_ int, err error) {
	switch {
	case err == nil:
		r.sv.replies.Done()
	case !r.worthAgain(err):
		r.giveUp(err)
		r.sv.replies.Done()
	case r.sv.resending.Add(1) > maxResending:
		r.sv.resending.Add(-1)
		r.giveUp(err)
		r.sv.replies.Done()
	default:
		go func() {
			defer r.sv.replies.Done()
			defer r.sv.resending.Add(-1)
			r.resend(err)
		}()
	}
}

// worthAgain reports whether a reply that failed with err is sent again. That is safe in
// doubt too: the caller takes the first answer to its call and drops the second. A reply name
// that is not there may be one whose owner connects again, or one whose owner is dead: a
// shutdown does not wait for it.
func (r *reply) worthAgain(err error) bool {
	if hasNoRoute(err) {
		return !isClosed(r.sv.draining)
	}
	d := driver.AsError(err)
	return d.InDoubt || d.Retryable
}

func hasNoRoute(err error) bool {
	return driver.ReasonOf(err) == driver.ReasonNoRoute && !inDoubt(err)
}

// resend sends the same reply again, ever less often, until it is taken or nobody waits.
func (r *reply) resend(err error) {
	pause := firstResend
	for {
		if !r.pause(pause, hasNoRoute(err)) {
			r.giveUp(err)
			return
		}
		r.msg.TimeLeft = max(time.Until(r.deadline), time.Nanosecond)
		if err = r.send(); err == nil {
			return
		}
		if !r.worthAgain(err) {
			r.giveUp(err)
			return
		}
		pause = min(2*pause, lastResend)
	}
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
		draining = r.sv.draining
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-draining:
		return true
	case <-r.sv.replyCtx.Done():
		return false
	}
}

// giveUp logs, once, that a caller gets no answer.
func (r *reply) giveUp(err error) {
	r.sv.s.opts.Logger.LogAttrs(r.sv.replyCtx, slog.LevelWarn, "reply not sent",
		slog.String("reply_to", r.msg.ReplyTo), slog.String("call_id", r.msg.CallID), slog.Any("error", err))
}
