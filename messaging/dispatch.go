// SPDX-License-Identifier: Apache-2.0

package messaging

import "context"

// dispatch is what a server knows of one request beyond what it tells middleware. It belongs to
// the goroutine that handles the request.
type dispatch struct {
	server  *RPCServer
	exposed *exposed // nil when no endpoint has the method
	refusal error    // why not
	// malformed says that the arguments could not be understood.
	malformed bool
}

// serializer is the server's; nil for the default.
func (r *ServerRequest) serializer() Serializer {
	if r.d == nil || r.d.server == nil {
		return nil
	}
	return r.d.server.opts.Serializer
}

// count counts a handler that has ended. What did not get to it is counted as malformed.
func (d *dispatch) count(err *error) {
	if d.server == nil {
		return
	}
	c := &d.server.counters
	if d.malformed {
		c.malformed.Add(1)
		return
	}
	c.handled.Add(1)
	if *err != nil {
		c.failed.Add(1)
	}
}

// decodeArgs decodes the arguments of a request into the pointer into. names are those that the
// method has, or nil when any will do. What does not fit is the TypeError to answer.
func (r *ServerRequest) decodeArgs(ctx context.Context, names map[string]struct{}, into any) error {
	err := r.tryDecodeArgs(ctx, names, into)
	if err != nil && r.d != nil {
		r.d.malformed = true
	}
	return err
}

func (r *ServerRequest) tryDecodeArgs(ctx context.Context, names map[string]struct{}, into any) error {
	if s := r.serializer(); s != nil {
		if err := unmarshalWith(ctx, s, r.Args, into); err != nil {
			return argumentError(r.Method, err)
		}
		return nil
	}
	if err := checkArguments(r.Method, r.Args, names); err != nil {
		return err
	}
	if err := decodeInto(r.Args, into); err != nil {
		return argumentError(r.Method, err)
	}
	return nil
}

// unmarshalWith decodes with the application's serializer, whose panic is an error.
func unmarshalWith(ctx context.Context, s Serializer, data []byte, into any) (err error) {
	defer recovered(&err)
	return s.Unmarshal(ctx, data, into)
}
