// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"sync"
	"time"
)

// handlerContext is the context of one handler of requests. It carries what the request brought
// with it.
type handlerContext struct {
	endingContext
	rc      *requestContext
	request ServerRequest
}

// endingContext is the context of one handler, without what it carries. It ends with the caller's
// time where that is known, when the handler returns, and when a shutdown loses patience.
//
// Most handlers are done before they look at Done. The timer and the context that it needs
// are made when somebody asks.
type endingContext struct {
	context.Context           // of all handlers of the server
	deadline        time.Time // zero for none

	mu     sync.Mutex         // guards the rest
	timed  context.Context    // made by Done; from then on it decides
	cancel context.CancelFunc // of timed
	final  error              // set by end, when there was no timed
}

// RequestInfo tells a handler, and server middleware, what it is handling.
type RequestInfo struct {
	Method    string
	Namespace string
	Version   string // as sent; empty when the client sent none
	Call      bool   // false for a cast, whose result nobody waits for
	// Found says that an endpoint has the method. It is always so in a handler.
	Found bool
	// MessageID is the message's unique id; empty when its sender gave none.
	MessageID string
	// Target is the server's own: exchange, topic and server.
	Target Target
	// Redelivered is the broker's hint that it may have delivered the request before.
	Redelivered bool
}

type requestInfoKey struct{}

// RequestInfoFrom returns what ctx's request is, in a handler; false elsewhere.
func RequestInfoFrom(ctx context.Context) (RequestInfo, bool) {
	info, ok := ctx.Value(requestInfoKey{}).(*RequestInfo)
	if !ok {
		return RequestInfo{}, false
	}
	return *info, true
}

// Deadline implements context.Context.
func (c *endingContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

// Done implements context.Context.
func (c *endingContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed == nil {
		c.armLocked()
	}
	return c.timed.Done()
}

func (c *endingContext) armLocked() {
	if c.deadline.IsZero() {
		c.timed, c.cancel = context.WithCancel(c.Context)
	} else {
		c.timed, c.cancel = context.WithDeadline(c.Context, c.deadline)
	}
	if c.final != nil { // the handler has returned and left a goroutine behind
		c.cancel()
	}
}

// Err implements context.Context.
func (c *endingContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.errLocked()
}

func (c *endingContext) errLocked() error {
	switch {
	case c.final != nil:
		return c.final
	case c.timed != nil:
		return c.timed.Err()
	case c.Context.Err() != nil:
		return c.Context.Err()
	case !c.deadline.IsZero() && !time.Now().Before(c.deadline):
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// end ends the context when the handler has returned.
func (c *endingContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed != nil {
		c.cancel()
		return
	}
	if c.final = c.errLocked(); c.final == nil {
		c.final = context.Canceled
	}
}

// Value implements context.Context. A request that brought no request context has none, even
// when the context given to Serve has one.
func (c *handlerContext) Value(key any) any {
	switch key.(type) {
	case requestContextKey:
		if c.rc == nil {
			return nil
		}
		return c.rc
	case requestInfoKey:
		return &c.request.RequestInfo
	}
	return c.endingContext.Value(key)
}

// Value implements context.Context.
func (c *endingContext) Value(key any) any {
	c.mu.Lock()
	inner := c.timed
	c.mu.Unlock()
	if inner == nil {
		inner = c.Context
	}
	return inner.Value(key) // the timed one answers for itself to package context
}
