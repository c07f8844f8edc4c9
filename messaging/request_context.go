// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"maps"
	"sync"

	"github.com/parleymq/parley/internal/pyjson"
)

// RequestContext is what travels beside the arguments of a request: upstream's context
// dictionary, such as request_id, user_id and project_id. Values are JSON values: nil, bool,
// string, numbers, []any and map[string]any. Received integers are int64, or *big.Int when
// they do not fit.
//
// Python servers overwrite the keys msg_id, reply_q and client_timeout
// (oslo_messaging/_drivers/amqpdriver.py, oslo_messaging/rpc/server.py); do not use them.
type RequestContext map[string]any

type requestContextKey struct{}

// requestContext is a request context with its text, which is made once however many
// requests carry it.
type requestContext struct {
	values RequestContext
	encode func() ([]byte, error)
}

// WithRequestContext returns a context whose calls and casts carry rc. The map is copied; the
// maps and lists inside it are not and must not be changed any more. A server's handlers find
// it by [RequestContextFrom], and requests they send with their context carry it on.
func WithRequestContext(ctx context.Context, rc RequestContext) context.Context {
	values := maps.Clone(rc)
	return context.WithValue(ctx, requestContextKey{}, &requestContext{
		values: values,
		encode: sync.OnceValues(func() ([]byte, error) { return encodeContext(values) }),
	})
}

// encodeContext returns the JSON object of rc, or nothing for an empty one.
func encodeContext(rc RequestContext) ([]byte, error) {
	if len(rc) == 0 {
		return nil, nil
	}
	return new(codec).encode(map[string]any(rc))
}

// RequestContextFrom returns a copy of the request context in ctx, and whether there is one.
func RequestContextFrom(ctx context.Context) (RequestContext, bool) {
	rc, ok := ctx.Value(requestContextKey{}).(*requestContext)
	if !ok {
		return nil, false
	}
	return maps.Clone(rc.values), true
}

// contextBytes returns what a request sent with ctx carries.
func contextBytes(ctx context.Context) ([]byte, error) {
	rc, ok := ctx.Value(requestContextKey{}).(*requestContext)
	if !ok {
		return nil, nil
	}
	return rc.encode()
}

// receivedContext reads the context of a message; nil when it has none.
func receivedContext(raw []byte) (*requestContext, error) {
	if len(raw) == 0 || string(raw) == "{}" {
		return nil, nil
	}
	v, err := pyjson.Decode(raw)
	if err != nil {
		return nil, err
	}
	values, ok := v.(map[string]any)
	if !ok {
		return nil, errNotObject
	}
	return &requestContext{values: values, encode: func() ([]byte, error) { return raw, nil }}, nil
}

// errNilContext is what a serializer that returns neither context nor error is taken for.
var errNilContext = errors.New("the serializer returned no context")

// unmarshalContextWith lets the application's serializer derive a context from that of a
// handler. Its panic is an error.
func unmarshalContextWith(c context.Context, s Serializer) (ctx context.Context, err error) {
	defer recovered(&err)
	rc, _ := RequestContextFrom(c)
	if ctx, err = s.UnmarshalContext(c, rc); err == nil && ctx == nil {
		err = errNilContext
	}
	return ctx, err
}
