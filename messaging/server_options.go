// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"log/slog"
	"time"
)

// Defaults of [RPCServerOptions].
const (
	DefaultConcurrency     = 64
	DefaultShutdownTimeout = 30 * time.Second
)

// RPCServerOptions are the settings of an [RPCServer]. Nil, and every zero field, mean the
// default.
type RPCServerOptions struct {
	// Concurrency is how many requests are handled at once, and how many the broker is asked
	// for: there is no queue behind it. 1 handles one after another. Default: 64.
	Concurrency int
	// ShutdownTimeout bounds the wait for handlers when the context of Serve ends. Shutdown
	// is bounded by its own context instead. Default: 30 seconds.
	ShutdownTimeout time.Duration
	// DedupeSize and DedupeAge bound the window in which a repeated message is recognised and
	// dropped; what is being handled is always recognised. A repeated call is answered again
	// when its answer has at most 16 KiB; such answers take 4 MiB at most.
	// Defaults: 4096 messages, 10 minutes.
	DedupeSize int
	DedupeAge  time.Duration
	// Ack says when a request is acknowledged to the broker. Default: [AckBeforeDispatch].
	Ack AckPolicy
	// OrderBy, when set, names the key of a request: requests of one key are handled one after
	// another in the order they were received, those of different keys, and those with the
	// empty key, side by side. A request that waits for its turn takes one of the Concurrency
	// slots, so that a single busy key slows the others down rather than fill the memory; a
	// monitored caller gets its heartbeats meanwhile, and a request whose time runs out in the
	// wait is not run. It is called on the receiving goroutine, one request at a time, and must
	// not block; it must not keep or change the request. When it panics the request is answered
	// with the panic.
	OrderBy func(r *ServerRequest) string
	// Ping answers the method oslo_rpc_server_ping of the null namespace, version 1.0, with
	// "pong", unless an endpoint has it. It is upstream's rpc_ping_enabled; see [RPCClient.Ping].
	Ping bool
	// Serializer decodes arguments and request contexts, and encodes results. With one of its
	// own a server leaves it to the serializer to refuse arguments that a method does not have.
	// Default: [JSON].
	Serializer Serializer
	// Middleware is around every request; see [ServerMiddleware].
	Middleware []ServerMiddleware
	// Logger replaces the transport's.
	Logger *slog.Logger
}

func (o *RPCServerOptions) withDefaults(t *Transport) RPCServerOptions {
	var c RPCServerOptions
	if o != nil {
		c = *o
	}
	if c.Concurrency <= 0 {
		c.Concurrency = DefaultConcurrency
	}
	if c.ShutdownTimeout <= 0 {
		c.ShutdownTimeout = DefaultShutdownTimeout
	}
	if c.DedupeSize <= 0 {
		c.DedupeSize = defaultDedupeSize
	}
	if c.DedupeAge <= 0 {
		c.DedupeAge = defaultDedupeAge
	}
	if _, ok := c.Serializer.(JSON); ok {
		c.Serializer = nil // which does the same with less
	}
	if c.Logger == nil {
		c.Logger = t.opts.Logger
	}
	return c
}
