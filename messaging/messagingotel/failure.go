// SPDX-License-Identifier: Apache-2.0

package messagingotel

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/parleymq/parley/messaging"
)

// errUnfinished stands for the outcome of what neither returned nor failed: it panicked, or
// ended its goroutine.
var errUnfinished = errors.New("panic")

// end ends a span. It is not span.End itself that is deferred: that would record a panic with
// its text.
func end(span trace.Span, err error) {
	if err != nil && span.IsRecording() {
		kind := errorType(err)
		span.SetAttributes(kind)
		if !messaging.IsExpected(err) { // which is no more than an answer
			span.SetStatus(codes.Error, kind.Value.AsString())
		}
	}
	span.End()
}

// errorType says what kind of error err is, without its text.
func errorType(err error) attribute.KeyValue {
	if err == errUnfinished {
		return semconv.ErrorTypeKey.String("panic")
	}
	if remote, ok := errors.AsType[*messaging.RemoteError](err); ok {
		return semconv.ErrorTypeKey.String(shorten(remoteType(remote)))
	}
	if code := messaging.CodeOf(err); code != "" {
		return semconv.ErrorTypeKey.String(string(code))
	}
	if errors.Is(err, context.Canceled) {
		return semconv.ErrorTypeKey.String("cancelled")
	}
	if messaging.IsExpected(err) && errors.Unwrap(err) != nil {
		return errorType(errors.Unwrap(err))
	}
	return semconv.ErrorType(err)
}

func remoteType(e *messaging.RemoteError) string {
	switch {
	case e.Class == "":
		return "remote"
	case e.Module == "":
		return e.Class
	default:
		return e.Module + "." + e.Class
	}
}
