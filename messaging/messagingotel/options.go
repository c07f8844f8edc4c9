// SPDX-License-Identifier: Apache-2.0

package messagingotel

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/parleymq/parley/internal/version"
)

// Options are the settings of the middleware. Nil, and every zero field, mean the default.
type Options struct {
	// TracerProvider makes the spans. Default: the global one, otel.GetTracerProvider().
	TracerProvider trace.TracerProvider
	// Propagator writes the trace context into headers and reads it. Default: the global one,
	// otel.GetTextMapPropagator(), which carries nothing until the program sets it.
	Propagator propagation.TextMapPropagator
}

// scopeName names the instrumentation in what it makes.
const scopeName = "github.com/parleymq/parley/messaging/messagingotel"

// tracing is what both middlewares need.
type tracing struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
}

func newTracing(o *Options) tracing {
	var c Options
	if o != nil {
		c = *o
	}
	if c.TracerProvider == nil {
		c.TracerProvider = otel.GetTracerProvider()
	}
	if c.Propagator == nil {
		c.Propagator = otel.GetTextMapPropagator()
	}
	return tracing{
		tracer: c.TracerProvider.Tracer(scopeName,
			trace.WithInstrumentationVersion(version.Number), trace.WithSchemaURL(semconv.SchemaURL)),
		propagator: c.Propagator,
	}
}
