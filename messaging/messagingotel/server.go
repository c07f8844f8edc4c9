// SPDX-License-Identifier: Apache-2.0

package messagingotel

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/parleymq/parley/messaging"
)

// ServerMiddleware returns middleware that makes a span of each request handled, below the
// client's when it sent its trace context along. The handler's context carries the span.
func ServerMiddleware(o *Options) messaging.ServerMiddleware {
	tr := newTracing(o)
	return func(next messaging.ServerHandler) messaging.ServerHandler {
		return func(ctx context.Context, r *messaging.ServerRequest) (any, error) {
			return tr.handle(ctx, r, next)
		}
	}
}

func (tr tracing) handle(ctx context.Context, r *messaging.ServerRequest, next messaging.ServerHandler) (any, error) {
	m := served(r)
	kind := trace.SpanKindConsumer
	if r.Call {
		kind = trace.SpanKindServer
	}
	ctx = tr.propagator.Extract(ctx, propagation.MapCarrier(r.Headers))
	ctx, span := tr.tracer.Start(ctx, m.spanName(), trace.WithSpanKind(kind),
		trace.WithAttributes(m.attributes(r.Call)...),
		trace.WithAttributes(semconv.MessagingOperationTypeProcess))
	if r.MessageID != "" {
		span.SetAttributes(semconv.MessagingMessageID(shorten(r.MessageID)))
	}
	err := errUnfinished
	defer func() { end(span, err) }()
	var result any
	result, err = next(ctx, r)
	return result, err
}
