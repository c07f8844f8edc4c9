// SPDX-License-Identifier: Apache-2.0

package messaging

import "context"

// Method is a remote method with the types of its arguments and its result: one value that
// client and server share.
//
//	var Start = messaging.Method[StartArgs, StartReply]{Name: "start_instance", Since: "2.3"}
//
// A encodes to a JSON object whose keys are the names of the arguments; struct{} is a method
// without arguments. R is anything that encodes to JSON; struct{} is a method without a
// result, which is null on the wire. Encoding is encoding/json's.
type Method[A, R any] struct {
	// Name is the method's name on the wire.
	Name string
	// Since is the version of the interface the method appeared in; empty is the target's.
	// A request carries the newer of the target's version and this one.
	Since string
	// Repeatable says that the method may run more than once for one request, as
	// [RPCClientOptions.Repeatable] says it of all methods of a client.
	Repeatable bool
}

// declared is what a client knows of a method.
type declared struct {
	name, since string
	repeatable  bool
}

// Call calls the method by c. See [RPCClient.Call].
func (m Method[A, R]) Call(ctx context.Context, c *RPCClient, args A) (R, error) {
	var reply R
	err := c.call(ctx, declared{m.Name, m.Since, m.Repeatable}, args, &reply)
	return reply, err
}

// Cast casts the method by c. See [RPCClient.Cast].
func (m Method[A, R]) Cast(ctx context.Context, c *RPCClient, args A) error {
	return c.cast(ctx, declared{m.Name, m.Since, m.Repeatable}, args)
}

// Handle registers fn for the method. A request with an argument that A has no field for is
// answered with a TypeError, as a Python server answers it, unless the server has a [Serializer]
// of its own; an argument that is missing leaves its field zero. Handle panics where TryHandle
// fails: it is a mistake in the program.
func (m Method[A, R]) Handle(ep *Endpoint, fn func(ctx context.Context, args A) (R, error), opts ...HandlerOption) {
	must(m.TryHandle(ep, fn, opts...))
}

// TryHandle is Handle with an error: ErrConfig when the name is empty, is not UTF-8, begins
// with an underscore or is taken, or when Since is not within the endpoint's version.
func (m Method[A, R]) TryHandle(ep *Endpoint, fn func(ctx context.Context, args A) (R, error), opts ...HandlerOption) error {
	return registerTyped(ep, m.Name, m.Since, fn, opts)
}
