// SPDX-License-Identifier: Apache-2.0

package messagingotel

import (
	"context"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/parleymq/parley/messaging"
)

// ClientMiddleware returns middleware that makes a span of each call and cast, and sends its
// trace context along in the headers.
func ClientMiddleware(o *Options) messaging.ClientMiddleware {
	tr := newTracing(o)
	return func(next messaging.ClientHandler) messaging.ClientHandler {
		return func(ctx context.Context, r *messaging.ClientRequest) error {
			return tr.send(ctx, r, next)
		}
	}
}

func (tr tracing) send(ctx context.Context, r *messaging.ClientRequest, next messaging.ClientHandler) error {
	m := methodOf(r.Target, r.Method)
	kind := trace.SpanKindProducer
	if r.Call {
		kind = trace.SpanKindClient
	}
	ctx, span := tr.tracer.Start(ctx, m.spanName(), trace.WithSpanKind(kind),
		trace.WithAttributes(m.attributes(r.Call)...),
		trace.WithAttributes(semconv.MessagingOperationTypeSend))
	err := errUnfinished
	defer func() { end(span, err) }()
	tr.propagator.Inject(ctx, carrier{r})
	err = next(ctx, r)
	return err
}

// carrier lets a propagator write a request's headers.
type carrier struct{ r *messaging.ClientRequest }

// Get implements propagation.TextMapCarrier.
func (c carrier) Get(key string) string { return c.r.Headers[key] }

// Set implements propagation.TextMapCarrier.
func (c carrier) Set(key, value string) { c.r.SetHeader(key, value) }

// Keys implements propagation.TextMapCarrier.
func (c carrier) Keys() []string {
	keys := make([]string, 0, len(c.r.Headers))
	for key := range c.r.Headers {
		keys = append(keys, key)
	}
	return keys
}
