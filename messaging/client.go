// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// RPCClientOptions are the settings of an [RPCClient]. Nil, and every zero field, mean the
// default.
type RPCClientOptions struct {
	// Timeout bounds every call and cast, from its start to its end; a nearer deadline of the
	// context wins. Default: [Options.ReplyTimeout].
	Timeout time.Duration
	// VersionCap is the newest version the servers are known to have: requests of a newer
	// version, or of none, fail with ErrVersionCap. Default: no cap.
	VersionCap string
	// Mandatory makes calls and casts fail with ErrUndeliverable when no server can receive
	// them, rather than wait in vain or vanish. Not every driver can. Without a broker
	// (driver.CapDirect) nothing vanishes: others wait for a server, and then fail the same way.
	Mandatory bool
	// Monitor, when positive, asks servers for heartbeats while they run a call; a call
	// fails with ErrNoReply when neither heartbeat nor answer came for that long. It makes a
	// long Timeout safe. Python servers count in whole seconds and refuse less than 2.
	Monitor time.Duration
	// Retry is how many times a request that certainly was not sent is tried again while the
	// driver or the broker is not to be had: nil or negative is as long as there is time, zero
	// is never. The waits are 1, 3, 5 … 31 seconds, as upstream's; the deadline ends them all.
	// It is upstream's retry, and means the same for calls and casts. With a number, a request that
	// no server listens for fails at once where there is no broker that would keep it.
	Retry *int
	// Repeatable says that the methods may run more than once for one request: a request in
	// doubt is then sent again, with the same ids, as long as there is time and Retry allows.
	// Without it nothing is ever sent twice.
	Repeatable bool
	// Serializer encodes arguments and decodes results. Default: [JSON].
	Serializer Serializer
	// Errors decides which Go types failures are returned as. Default: *[RemoteError] for all.
	Errors *RemoteErrors
	// Middleware is around every call and cast; see [ClientMiddleware].
	Middleware []ClientMiddleware
}

// RPCClient sends calls and casts to one target. It is immutable and may be used by any
// number of goroutines; With derives another that differs.
type RPCClient struct {
	t *Transport
	s clientSettings

	// What follows from t and s, made once for all calls.
	address driver.Target
	callErr error         // why this client cannot call, nil when it can
	castErr error         // why this client cannot cast, nil when it can
	chain   ClientHandler // the middleware around sendRequest; nil when there is none
}

// clientSettings are what a CallOption changes.
type clientSettings struct {
	target     Target
	timeout    time.Duration
	versionCap string
	mandatory  bool
	monitor    time.Duration
	retry      int // negative is as long as there is time
	repeatable bool
	serializer Serializer // nil for JSON, by the fast paths
	errors     *RemoteErrors
	middleware []ClientMiddleware
}

// NewRPCClient returns a client of target. It does no I/O and never fails: what is wrong with
// the target is the error of every Call or Cast that it is wrong for.
func NewRPCClient(t *Transport, target Target, opts *RPCClientOptions) *RPCClient {
	var o RPCClientOptions
	if opts != nil {
		o = *opts
	}
	return newClient(t, clientSettings{
		target: target, timeout: o.Timeout, versionCap: o.VersionCap,
		mandatory: o.Mandatory, monitor: o.Monitor,
		retry: o.retry(), repeatable: o.Repeatable,
		serializer: fastSerializer(o.Serializer), errors: cmp.Or(o.Errors, t.opts.RemoteErrors),
		middleware: slices.Concat(t.opts.ClientMiddleware, o.Middleware),
	})
}

func (o *RPCClientOptions) retry() int {
	if o.Retry == nil {
		return -1
	}
	return *o.Retry
}

func newClient(t *Transport, s clientSettings) *RPCClient {
	c := &RPCClient{
		t: t, s: s,
		address: t.address(s.target),
		callErr: s.check(t, roleCall, operation{verb: "call", target: s.target}),
		castErr: s.check(t, roleCast, operation{verb: "cast", target: s.target}),
	}
	if len(s.middleware) > 0 {
		c.chain = chain(ClientHandler(sendRequest), s.middleware)
	}
	return c
}

// check tells what is wrong with the settings for a role.
func (s *clientSettings) check(t *Transport, r role, op operation) error {
	if err := s.target.validate(r); err != nil {
		return err
	}
	if s.versionCap != "" {
		if _, err := parseVersion(s.versionCap); err != nil {
			return op.errorf(CodeConfig, err, "the version cap %q is not a version: %v", s.versionCap, err)
		}
	}
	if s.timeout < 0 || s.monitor < 0 {
		return op.errorf(CodeConfig, nil, "a timeout is negative; use zero for the default")
	}
	err := t.requires(driver.CapRPC, "remote procedure calls", op)
	if err == nil && s.target.Fanout {
		err = t.requires(driver.CapFanout, "fanout", op)
		if err == nil {
			err = t.checkScope(s.target, op)
		}
	}
	if err == nil && s.mandatory {
		err = t.requires(driver.CapMandatory, "mandatory delivery", op)
	}
	return err
}

// Target returns the client's target.
func (c *RPCClient) Target() Target { return c.s.target }

// CanSend reports whether the version cap lets a request of version v through. Empty means
// the target's version.
func (c *RPCClient) CanSend(v string) bool {
	if v == "" {
		v = c.s.target.Version
	}
	return Compatible(c.s.versionCap, v)
}

// Call runs method on a server of the target and waits for its answer.
//
// args is what encodes to a JSON object: a struct, a map with string keys, a json.RawMessage;
// nil is no arguments. reply is a pointer to what the result is decoded into, or nil to ignore
// it. Into *any, *map[string]any and *[]any integers are decoded exactly, as int64 or *big.Int.
//
// The call ends at the nearest of ctx's deadline, the client's timeout and the transport's
// default, which cover everything from connecting to decoding. It fails with
//
//   - a *[RemoteError] for what the server answers,
//   - ErrNoReply when time ran out: the method may or may not have run,
//   - ErrExpired when time ran out before the request was sent: the method did not run,
//   - ErrUnavailable, ErrUndeliverable, ErrTooLarge, ErrRefused and the like when the request
//     could not be sent: the method did not run,
//   - ErrInvalidTarget, ErrVersionCap, ErrEncoding or ErrConfig before anything is sent,
//   - ErrEncoding when the result does not fit reply: the method did run,
//   - ErrInDoubt when time ran out and not even the broker has said whether it took the request,
//     and at once when its reply cannot come any more: the driver or its broker lost the address
//     that it was to be sent to,
//   - context.Canceled when ctx was cancelled; the server does not learn of it.
//
// Nothing is sent twice unless the client is [Repeatable]: whether a method may be repeated is
// the application's to know.
func (c *RPCClient) Call(ctx context.Context, method string, args, reply any) error {
	return c.call(ctx, declared{name: method}, args, reply)
}

// pingMethod is the method of upstream's ping endpoint (oslo_messaging/rpc/server.py).
const pingMethod = "oslo_rpc_server_ping"

// Ping returns nil once a server of the target has answered: it proves the way there and back,
// a free handler included. Servers answer it when they are asked to, by [RPCServerOptions.Ping]
// or upstream's rpc_ping_enabled; others fail it with ErrNoSuchMethod or ErrUnsupportedVersion,
// which proves as much. It fails as Call does.
func (c *RPCClient) Ping(ctx context.Context) error {
	return c.With(NoNamespace(), Version(""), VersionCap("")).Call(ctx, pingMethod, nil, nil)
}
