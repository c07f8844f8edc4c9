// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"slices"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// cancelGrace is how long handlers whose contexts were cancelled, and their replies, get
// before the server ends without them.
const cancelGrace = 5 * time.Second

// RPCServer receives the requests of a target and runs them on endpoints. It serves once: make
// another to serve again.
//
// A request is acknowledged to the broker before it is handled, unless [AckAfterHandler] is
// set: it is run at most once, and when the server dies with it, its caller learns that by its
// deadline. What was received is answered, also during a shutdown. A handler's context ends when
// the caller's time is over, where the wire tells it, and when the handler returns; that a caller
// gave up, it is not told. A request whose time is over before its handler begins is not run.
type RPCServer struct {
	target     Target
	self       Target // target with its exchange
	opts       RPCServerOptions
	dispatcher dispatcher
	log        requestLog
	chain      ServerHandler // all middleware around the method
	counters   serverCounters

	*lifecycle
}

// NewRPCServer returns a server of target, which needs a topic and a server name, on
// endpoints. It does no I/O and never fails: what is wrong is the error of Serve. When several
// endpoints accept a request, the first in order that has the method gets it.
func NewRPCServer(t *Transport, target Target, opts *RPCServerOptions, endpoints ...*Endpoint) *RPCServer {
	s := &RPCServer{
		target: target, self: target, opts: opts.withDefaults(t),
		lifecycle: newLifecycle(t, "server"),
	}
	s.self.Exchange = target.address(t.opts.DefaultExchange).Exchange
	s.dispatcher.endpoints = slices.Clone(endpoints)
	if s.opts.Ping {
		s.dispatcher.endpoints = append(s.dispatcher.endpoints, pingEndpoint())
	}
	s.log = requestLog{s.opts.Logger}
	s.chain = s.makeChain()
	return s
}

// makeChain puts the middleware around the method. The log of failures is the outermost, so
// that it sees what is answered.
func (s *RPCServer) makeChain() ServerHandler {
	all := []ServerMiddleware{s.log.middleware}
	own := slices.Concat(s.t.opts.ServerMiddleware, s.opts.Middleware)
	if len(own) > 0 {
		all = append(all, recoverPanics) // of the middleware; the method's are recovered in runMethod
	}
	return chain(ServerHandler(runMethod), append(all, own...))
}

// Ready returns a channel that is closed once the server receives requests: what is sent from
// then on arrives. It is never closed when Serve fails before that.
func (s *RPCServer) Ready() <-chan struct{} { return s.ready }

// Serve receives requests and handles them until it is told to stop: by Shutdown, by the end
// of ctx, or because the transport is closed. It then takes no more requests, waits for the
// handlers, sends their replies and stops listening before it returns. It always returns an
// error: ErrServerClosed after Shutdown and after the end of ctx (which it then wraps),
// ErrClosed when the transport is closed, and whatever kept it from listening otherwise. The
// values of ctx are those of the handlers' contexts; its end cancels them only after
// ShutdownTimeout.
func (s *RPCServer) Serve(ctx context.Context) error {
	op := operation{verb: "serve", target: s.target}
	return s.serve(ctx, op, s.check, func(polling context.Context) error {
		src := driver.Source{Kind: driver.SourceServer, Target: s.t.source(s.target)}
		s.opts.Ack.apply(&src, s.t.Info())
		l, err := s.t.conn.Listen(polling, src)
		if err != nil {
			return err
		}
		s.t.warnUnscoped(ctx, s.target)
		close(s.ready)
		return newServing(ctx, s, l, src).run(polling)
	})
}

func (s *RPCServer) check(op operation) error {
	if err := s.target.validate(roleServer); err != nil {
		return err
	}
	if err := s.t.requires(driver.CapRPC, "remote procedure calls", op); err != nil {
		return err
	}
	if s.opts.Ack == AckAfterHandler {
		if err := s.t.requires(driver.CapRequeue, "acknowledging a request after its handler", op); err != nil {
			return err
		}
	}
	return s.t.checkScope(s.target, op)
}

// Shutdown stops the server: it takes no more requests, and returns nil once all handlers have
// returned, their replies are sent and nothing is received any more. When ctx ends first,
// Shutdown cancels the contexts of the handlers and returns ctx's error; Serve then returns
// within 10 seconds, with handlers left behind only if they ignore their context. A handler
// must not wait for Shutdown. It may be called any number of times, from any goroutine, also
// before Serve, which then returns at once.
func (s *RPCServer) Shutdown(ctx context.Context) error {
	return s.shutdown(ctx)
}
