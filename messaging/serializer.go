// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"fmt"
)

// Serializer turns an application's values into JSON and back, and its own request context into
// what travels and back. It is upstream's Serializer (oslo_messaging/serializer.py) with two
// differences: the arguments of a request are one value, and contexts are context.Context.
//
// It is used by many goroutines at once. Where it fails in a client the call fails with
// ErrEncoding; in a server the caller is answered with the failure.
//
// To change one half, embed [JSON] and define the other methods.
type Serializer interface {
	// Marshal returns the JSON of v, in memory that it does not use again: a request's arguments,
	// which must be an object, or a handler's result.
	Marshal(ctx context.Context, v any) ([]byte, error)
	// Unmarshal decodes data into the pointer v: a handler's arguments, or a call's result.
	Unmarshal(ctx context.Context, data []byte, v any) error
	// MarshalContext returns what a request sent with ctx carries; nil for nothing.
	MarshalContext(ctx context.Context) (RequestContext, error)
	// UnmarshalContext returns a context derived from ctx for the handler of a request that
	// came with rc, which is empty when it came with none. [RequestContextFrom] works on it
	// either way. It runs before Unmarshal, which gets what it returned.
	UnmarshalContext(ctx context.Context, rc RequestContext) (context.Context, error)
}

// JSON is the default Serializer: typed values are encoding/json's, untyped ones exact, as the
// package's documentation says, and the request context is [RequestContext] itself.
type JSON struct{}

var _ Serializer = JSON{}

// Marshal implements [Serializer].
func (JSON) Marshal(_ context.Context, v any) ([]byte, error) { return new(codec).encode(v) }

// Unmarshal implements [Serializer].
func (JSON) Unmarshal(_ context.Context, data []byte, v any) error { return decodeInto(data, v) }

// MarshalContext implements [Serializer].
func (JSON) MarshalContext(ctx context.Context) (RequestContext, error) {
	rc, _ := RequestContextFrom(ctx)
	return rc, nil
}

// UnmarshalContext implements [Serializer].
func (JSON) UnmarshalContext(ctx context.Context, _ RequestContext) (context.Context, error) {
	return ctx, nil
}

// Plain is the Serializer for applications without types of their own, upstream's
// NoOpSerializer: it takes plain JSON values (nil, bool, string, numbers, []any and
// map[string]any) and refuses everything else, where [JSON] would encode it.
type Plain struct{ JSON }

// Marshal implements [Serializer].
func (p Plain) Marshal(ctx context.Context, v any) ([]byte, error) {
	if v == nil {
		return []byte("null"), nil
	}
	s := &scratch{}
	if !s.isPlain(v) {
		return nil, fmt.Errorf("a %T is not a plain JSON value", v)
	}
	return p.JSON.Marshal(ctx, v)
}

// fastSerializer is nil for the default, which has ways of its own that spare a copy.
func fastSerializer(s Serializer) Serializer {
	switch s.(type) {
	case nil, JSON:
		return nil
	default:
		return s
	}
}
