// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
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
	// them, rather than wait in vain or vanish. Not every driver can.
	Mandatory bool
	// Monitor, when positive, asks servers for heartbeats while they run a call; a call
	// fails with ErrNoReply when neither heartbeat nor answer came for that long. It makes a
	// long Timeout safe. Python servers count in whole seconds and refuse less than 2.
	Monitor time.Duration
}

// RPCClient sends calls and casts to one target. It is immutable and may be used by any
// number of goroutines; With derives another that differs.
type RPCClient struct {
	t *Transport
	s clientSettings

	// What follows from t and s, made once for all calls.
	address driver.Target
	callErr error // why this client cannot call, nil when it can
	castErr error // why this client cannot cast, nil when it can
}

// clientSettings are what a CallOption changes.
type clientSettings struct {
	target     Target
	timeout    time.Duration
	versionCap string
	mandatory  bool
	monitor    time.Duration
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
	})
}

func newClient(t *Transport, s clientSettings) *RPCClient {
	return &RPCClient{
		t: t, s: s,
		address: s.target.address(t.opts.DefaultExchange),
		callErr: s.check(t, roleCall, operation{verb: "call", target: s.target}),
		castErr: s.check(t, roleCast, operation{verb: "cast", target: s.target}),
	}
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
	}
	if err == nil && s.mandatory {
		err = t.requires(driver.CapMandatory, "mandatory delivery", op)
	}
	return err
}

// CallOption changes one setting in a client derived by [RPCClient.With].
type CallOption func(*clientSettings)

// Exchange sets the target's exchange; empty is the transport's default.
func Exchange(name string) CallOption { return func(s *clientSettings) { s.target.Exchange = name } }

// Topic sets the target's topic.
func Topic(name string) CallOption { return func(s *clientSettings) { s.target.Topic = name } }

// Namespace sets the target's namespace.
func Namespace(name string) CallOption {
	return func(s *clientSettings) { s.target.Namespace = name }
}

// NoNamespace clears the target's namespace: the null namespace.
func NoNamespace() CallOption { return Namespace("") }

// Version sets the target's version; empty sends none, which servers take as 1.0.
func Version(v string) CallOption { return func(s *clientSettings) { s.target.Version = v } }

// Server addresses one server of the topic, or any of them when name is empty. It undoes
// Fanout.
func Server(name string) CallOption {
	return func(s *clientSettings) { s.target.Server, s.target.Fanout = name, false }
}

// Fanout addresses every server of the topic. It undoes Server.
func Fanout() CallOption {
	return func(s *clientSettings) { s.target.Server, s.target.Fanout = "", true }
}

// Timeout sets [RPCClientOptions.Timeout]; zero is the default.
func Timeout(d time.Duration) CallOption { return func(s *clientSettings) { s.timeout = d } }

// VersionCap sets [RPCClientOptions.VersionCap]; empty is no cap.
func VersionCap(v string) CallOption { return func(s *clientSettings) { s.versionCap = v } }

// Mandatory sets [RPCClientOptions.Mandatory].
func Mandatory() CallOption { return func(s *clientSettings) { s.mandatory = true } }

// Monitor sets [RPCClientOptions.Monitor]; zero is without.
func Monitor(d time.Duration) CallOption { return func(s *clientSettings) { s.monitor = d } }

// With returns a client that differs from c by opts, applied in order. It is upstream's
// prepare. It is cheap, and the result may be kept.
func (c *RPCClient) With(opts ...CallOption) *RPCClient {
	s := c.s
	for _, opt := range opts {
		opt(&s)
	}
	return newClient(c.t, s)
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
//   - ErrUnavailable, ErrUndeliverable, ErrTooLarge, ErrRefused and the like when the request
//     could not be sent: the method did not run,
//   - ErrInvalidTarget, ErrVersionCap, ErrEncoding or ErrConfig before anything is sent,
//   - ErrEncoding when the result does not fit reply: the method did run,
//   - context.Canceled when ctx was cancelled; the server does not learn of it.
//
// Nothing is ever sent twice: whether a call may be repeated is the application's to know.
func (c *RPCClient) Call(ctx context.Context, method string, args, reply any) error {
	return c.call(ctx, method, "", args, reply)
}

// Cast runs method on a server of the target, or on all with [Fanout], and does not wait for
// it: it returns nil once the broker has taken the request. Whether anyone receives it is
// known only with [Mandatory]. A request that may or may not have reached the broker fails
// with ErrInDoubt; the other errors are those of Call.
func (c *RPCClient) Cast(ctx context.Context, method string, args any) error {
	return c.cast(ctx, method, "", args)
}

func (c *RPCClient) cast(ctx context.Context, method, since string, args any) error {
	op := operation{"cast", method, c.s.target}
	if c.castErr != nil {
		return c.castErr
	}
	msg := &driver.Message{Kind: driver.Cast, UniqueID: newID()}
	if err := c.fill(ctx, msg, op, since, args); err != nil {
		return err
	}
	if err := c.t.enter(op); err != nil {
		return err
	}
	defer c.t.leave()
	bounded, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	err := driver.MessageErr(c.t.conn.Send(bounded, []*driver.Message{msg}), 0)
	return c.sendError(ctx, op, CodeExpired, err)
}

// fill encodes the request into msg. It fails before any I/O.
func (c *RPCClient) fill(ctx context.Context, msg *driver.Message, op operation, since string, args any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	version, err := c.version(op, since)
	if err != nil {
		return err
	}
	if op.method == "" {
		return op.errorf(CodeConfig, nil, "the method has no name")
	}
	if msg.Context, err = contextBytes(ctx); err != nil {
		return op.errorf(CodeEncoding, err, "the request context cannot be encoded: %v", err)
	}
	msg.Body, err = c.t.codec.request(op.method, args, c.s.target.Namespace, version)
	if err != nil {
		return op.errorf(CodeEncoding, err, "the arguments cannot be encoded: %v", err)
	}
	msg.Target = c.address
	msg.Mandatory = c.s.mandatory
	return nil
}

// version returns the version to send, within the cap.
func (c *RPCClient) version(op operation, since string) (string, error) {
	v, err := newest(c.s.target.Version, since)
	if err != nil {
		return "", op.errorf(CodeInvalidTarget, err, "no version suits both target and method: %v", err)
	}
	if Compatible(c.s.versionCap, v) {
		return v, nil
	}
	shown := v
	if v == "" {
		shown = "none"
	}
	e := op.errorf(CodeVersionCap, nil, "the request's version is %s, the cap is %s", shown, c.s.versionCap)
	e.Hint = "ask CanSend first and fall back to an older method, or raise the cap once every server is upgraded"
	return "", e
}

// timeout bounds a request by the client's settings alone: context.WithTimeout keeps a nearer
// deadline of its parent.
func (c *RPCClient) timeout() time.Duration {
	if c.s.timeout > 0 {
		return c.s.timeout
	}
	return c.t.opts.ReplyTimeout
}

// sendError turns the error of sending into the application's. ctx is the application's; late
// is the code for a request that was not sent in its time.
func (c *RPCClient) sendError(ctx context.Context, op operation, late Code, err error) error {
	if err == nil {
		return nil
	}
	d := driver.AsError(err)
	switch {
	case d.InDoubt:
		return op.wrap(err)
	case errors.Is(ctx.Err(), context.Canceled) && (d.Retryable || d.Reason == driver.ReasonCancelled):
		return ctx.Err()
	case d.Reason == driver.ReasonExpired, d.Reason == driver.ReasonCancelled:
		return op.errorf(late, err, "the request was not sent in its time")
	default:
		return op.wrap(err)
	}
}
