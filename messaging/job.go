// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// job is a request from its admission until its reply is with the broker and it is settled. All
// that a request needs is in this one piece of memory.
type job struct {
	inProgress
	sv       *serving
	received time.Time
	// deadline is when nobody wants it any more; zero when that is not known.
	deadline time.Time
	isCall   bool // somebody waits for the answer

	// The request as read makes it. problem is why it cannot be understood.
	isRead  bool
	problem error
	context handlerContext
	state   dispatch
	// handler is the context that middleware and handler get: context, or one that the
	// application's serializer derived from it.
	handler context.Context

	beats *heartbeats // nil for none
	reply reply
	// again says that reply is that of an earlier job: the request was received before.
	again bool

	key string // of its order; empty for none
}

func (sv *serving) newJob(d *driver.Delivery, now, deadline time.Time) *job {
	j := &job{sv: sv, inProgress: inProgress{delivery: d}, received: now, deadline: deadline, isCall: d.Kind == driver.Call && d.ReplyTo != ""}
	c := &j.context
	c.Context = sv.work
	if j.isCall { // nobody waits for a cast: once begun it has all the time it needs
		c.deadline = deadline
	}
	c.request.Headers = d.Headers
	c.request.Call, c.request.MessageID, c.request.Redelivered = j.isCall, d.UniqueID, d.Redelivered
	c.request.Target = sv.s.self
	c.request.d = &j.state
	j.state.server = sv.s
	j.handler = c
	j.reply.job = j
	return j
}

// request is what middleware sees.
func (j *job) request() *ServerRequest { return &j.context.request }

// read takes the message apart and finds its method. It is called once or more, by whoever has
// the job.
func (j *job) read() {
	if j.isRead {
		return
	}
	j.isRead = true
	req := j.request()
	r, err := parseRequest(j.delivery.Body)
	req.Method, req.Namespace, req.Version, req.Args = r.method, r.namespace, r.version, r.args
	if err != nil {
		j.problem = notUnderstood("the request", err)
		return
	}
	if j.context.rc, err = receivedContext(j.delivery.Context); err != nil {
		j.problem = notUnderstood("the request context", err)
		return
	}
	j.state.exposed, j.state.refusal = j.sv.s.dispatcher.find(r.method, r.namespace, r.version)
	req.Found = j.state.exposed != nil
}

// convertContext lets the application's serializer make the handler's context.
func (j *job) convertContext(s Serializer) {
	ctx, err := unmarshalContextWith(&j.context, s)
	if err != nil {
		j.problem = notUnderstood("the request context", err)
		return
	}
	j.handler = ctx
}

// notUnderstood is the failure that a caller gets for what cannot be understood.
func notUnderstood(what string, err error) error {
	return &RemoteError{Module: builtinsModule, Class: "ValueError", Message: what + " cannot be understood: " + err.Error()}
}

// isOver reports whether nobody wants the request any more.
func (j *job) isOver(now time.Time) bool { return !j.deadline.IsZero() && !now.Before(j.deadline) }
