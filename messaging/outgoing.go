// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// outgoing is a call or cast after its checks, before it is encoded.
type outgoing struct {
	op          operation
	version     string // that it carries
	repeatable  bool
	args, reply any
	headers     map[string]string
}

// do sends a request through the middleware, if there is any.
func (c *RPCClient) do(ctx context.Context, call bool, o outgoing) error {
	if c.chain == nil {
		return c.sendOut(ctx, call, &o)
	}
	target := c.s.target
	target.Version = o.version
	return c.chain(ctx, &ClientRequest{
		Call: call, Method: o.op.method, Target: target, Args: o.args, Reply: o.reply, client: c, repeatable: o.repeatable,
	})
}

// sendRequest is the innermost [ClientHandler].
func sendRequest(ctx context.Context, r *ClientRequest) error {
	o := outgoing{
		op: r.client.operation(r.Call, r.Method), version: r.Target.Version, repeatable: r.repeatable,
		args: r.Args, reply: r.Reply, headers: r.Headers,
	}
	return r.client.sendOut(ctx, r.Call, &o)
}

func (c *RPCClient) operation(call bool, method string) operation {
	if call {
		return operation{"call", method, c.s.target}
	}
	return operation{"cast", method, c.s.target}
}

// sendOut sends a request as often as the settings allow, as long as there is time.
func (c *RPCClient) sendOut(ctx context.Context, call bool, o *outgoing) error {
	if err := c.t.enter(o.op); err != nil {
		return err
	}
	defer c.t.leave()
	if call {
		c.t.counters.calls.Add(1)
		return c.sendCall(ctx, o)
	}
	c.t.counters.casts.Add(1)
	return c.sendCast(ctx, o)
}

// checked is o with its version, or what is wrong with a request before it is encoded. It fails before any I/O.
func (c *RPCClient) checked(m declared, o outgoing) (outgoing, error) {
	if o.op.method == "" {
		return o, o.op.errorf(CodeConfig, nil, "the method has no name")
	}
	o.repeatable = c.s.repeatable || m.repeatable
	var err error
	o.version, err = c.version(o.op, m.since)
	return o, err
}

// retries is the retry policy for a request.
func (c *RPCClient) retries(o *outgoing) retries {
	return retries{limit: c.s.retry, repeatable: o.repeatable}
}

// fill encodes the request into msg. It fails before any I/O.
func (c *RPCClient) fill(ctx context.Context, msg *driver.Message, o *outgoing) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var err error
	if msg.Context, err = c.encodeContext(ctx); err != nil {
		return o.op.errorf(CodeEncoding, err, "the request context cannot be encoded: %v", err)
	}
	msg.Body, err = c.encodeBody(ctx, o)
	if err != nil {
		return o.op.errorf(CodeEncoding, err, "the arguments cannot be encoded: %v", err)
	}
	msg.Target = c.address
	msg.Mandatory = c.s.mandatory
	msg.Headers = o.headers
	msg.FailFast = c.s.retry >= 0
	return nil
}

func (c *RPCClient) encodeContext(ctx context.Context) (text []byte, err error) {
	if c.s.serializer == nil {
		return contextBytes(ctx)
	}
	defer recovered(&err)
	rc, err := c.s.serializer.MarshalContext(ctx)
	if err != nil {
		return nil, err
	}
	return encodeContext(rc)
}

func (c *RPCClient) encodeBody(ctx context.Context, o *outgoing) (body []byte, err error) {
	args := o.args
	if s := c.s.serializer; s != nil && args != nil {
		defer recovered(&err)
		text, err := s.Marshal(ctx, args)
		if err != nil {
			return nil, err
		}
		args = json.RawMessage(text)
	}
	return c.t.codec.request(o.op.method, args, c.s.target.Namespace, o.version)
}

// decode decodes a result into reply, which may be nil.
func (c *RPCClient) decode(ctx context.Context, data []byte, reply any) error {
	if c.s.serializer == nil || reply == nil {
		return decodeInto(data, reply)
	}
	return unmarshalWith(ctx, c.s.serializer, data, reply)
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

// endsWith reports whether an error may come of the end of the sender's ctx alone: the driver was
// waiting, for its broker or, without one, for somebody who listens (driver.CapDirect).
func endsWith(d *driver.Error) bool {
	return d.Retryable || d.Reason == driver.ReasonCancelled || d.Reason == driver.ReasonNoRoute
}

// sendError turns the error of sending into the application's, whose ctx is.
func sendError(ctx context.Context, op operation, err error) error {
	if err == nil {
		return nil
	}
	d := driver.AsError(err)
	switch {
	case d.InDoubt:
		return op.wrap(err)
	case errors.Is(ctx.Err(), context.Canceled) && endsWith(d):
		return ctx.Err()
	case d.Reason == driver.ReasonExpired, d.Reason == driver.ReasonCancelled:
		return op.errorf(CodeExpired, err, "it was not sent in its time")
	default:
		return op.wrap(err)
	}
}
