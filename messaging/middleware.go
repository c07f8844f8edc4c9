// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"encoding/json"
	"slices"
)

// ClientRequest is one call or cast on its way out, as client middleware sees it. Middleware
// may replace Args and Reply and add Headers before it calls the next handler; the rest is for
// reading. After a call that succeeded, what Reply points to holds the result.
type ClientRequest struct {
	// Call is false for a cast, which returns once the broker has taken it.
	Call bool
	// Method is the method's name on the wire.
	Method string
	// Target is where the request goes, with the version it carries.
	Target Target
	// Args is what the application passed.
	Args any
	// Reply is where the result of a call goes; nil when it is ignored.
	Reply any
	// Headers travel beside the request, for trace context and the like: names and values are
	// text, 64 of them and 16 KiB in all at most, or the request is refused. They never reach a
	// peer whose driver has no place for them, and a Python server does not see them. Nil until
	// somebody sets one.
	Headers map[string]string

	client     *RPCClient
	repeatable bool
}

// SetHeader sets a header.
func (r *ClientRequest) SetHeader(name, value string) {
	if r.Headers == nil {
		r.Headers = make(map[string]string, 2)
	}
	r.Headers[name] = value
}

// ClientHandler sends a request: the library itself, or middleware around it. Calling the next
// handler twice sends two requests, each with ids of its own.
type ClientHandler func(ctx context.Context, r *ClientRequest) error

// ClientMiddleware wraps the sending of calls and casts, once target and version are found to be
// good: those mistakes are the program's and fail before it. It runs on the caller's goroutine. The
// first of a list is the outermost; those of [Options] are outside those of [RPCClientOptions].
type ClientMiddleware func(next ClientHandler) ClientHandler

// ServerRequest is one request received, as server middleware sees it. It is middleware's to
// read; replacing Args changes what the handler gets.
type ServerRequest struct {
	RequestInfo
	// Args is the JSON object of the arguments, in the dialect of Python.
	Args json.RawMessage
	// Headers came beside the request; see [ClientRequest.Headers]. They are the peer's word and
	// must not be changed.
	Headers map[string]string

	// d is what else the server knows of the request; nil in one that middleware made up.
	d *dispatch
}

// ServerHandler answers a request: the endpoint's method, or middleware around it.
type ServerHandler func(ctx context.Context, r *ServerRequest) (any, error)

// ServerMiddleware wraps the handling of requests, also of those that no endpoint has a method
// for (RequestInfo.Found tells); what cannot be understood at all, its request context included,
// is answered before it. It runs on the handler's goroutine with the handler's context, which it
// may replace by one derived from it. The first of a list is the outermost; those of [Options]
// are outside those of [RPCServerOptions].
//
// What it returns is answered, and logged when it is an error. A panic of the handler is an error
// by then, whose text begins with "panic: "; a panic of middleware is answered and logged too.
// The next handler gets the request itself or a copy of it; calling it twice, one time after the
// other, runs the method twice. The chain is made once for each server.
type ServerMiddleware func(next ServerHandler) ServerHandler

// chain wraps h so that the first of the middleware is the outermost.
func chain[H any, M ~func(H) H](h H, all []M) H {
	for _, m := range slices.Backward(all) {
		h = m(h)
	}
	return h
}
