// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// requestLog records how requests end badly, as loudly as each deserves. No record of it holds
// arguments, results or request contexts.
type requestLog struct{ logger *slog.Logger }

// middleware logs what is around it answers with an error.
func (l requestLog) middleware(next ServerHandler) ServerHandler {
	return func(ctx context.Context, r *ServerRequest) (any, error) {
		if l.logger.Enabled(ctx, slog.LevelDebug) {
			l.logger.LogAttrs(ctx, slog.LevelDebug, "request received", shown("method", r.Method), slog.Bool("call", r.Call),
				shown("message_id", r.MessageID), slog.Int("args_bytes", len(r.Args)))
		}
		result, err := next(ctx, r)
		switch {
		case err == nil:
		case !r.Found && err == r.d.refusal: // what middleware made of it is another error
			l.refused(ctx, r, err)
		default:
			l.failed(ctx, r, err)
		}
		return result, err
	}
}

// failed records the failure of a handler or of middleware.
func (l requestLog) failed(ctx context.Context, r *ServerRequest, err error) {
	attrs := []slog.Attr{shown("method", r.Method), slog.Bool("call", r.Call), errorAttr(err)}
	level, text := slog.LevelError, "handler failed"
	if p, ok := errors.AsType[*panicError](err); ok {
		l.logger.LogAttrs(ctx, level, "handler panicked", append(attrs, slog.String("stack", string(p.stack)))...)
		return
	}
	switch {
	case IsExpected(err):
		level = slog.LevelDebug
	case r.Call:
		level = slog.LevelWarn // the caller is told
	}
	l.logger.LogAttrs(ctx, level, text, attrs...)
}

// ignoreSuffix ends the names of methods that clients try without knowing whether they exist
// (oslo_messaging/rpc/server.py).
const ignoreSuffix = "_ignore_errors"

// refused records a request that no method was found for. Unknown and private look the same to
// the caller and differ here.
func (l requestLog) refused(ctx context.Context, r *ServerRequest, err error) {
	level := slog.LevelWarn
	if strings.HasSuffix(r.Method, ignoreSuffix) {
		level = slog.LevelDebug
	}
	l.logger.LogAttrs(ctx, level, "request refused",
		shown("method", r.Method), shown("namespace", r.Namespace),
		shown("version", r.Version),
		slog.Bool("private", strings.HasPrefix(r.Method, "_")), errorAttr(err))
}

// malformed records a request that could not be understood.
func (l requestLog) malformed(ctx context.Context, r *ServerRequest, err error) {
	l.logger.LogAttrs(ctx, slog.LevelWarn, "request not understood", shown("method", r.Method),
		slog.Bool("call", r.Call), shown("message_id", r.MessageID), errorAttr(err))
}

// gone records a handler that ended its goroutine.
func (l requestLog) gone(ctx context.Context, r *ServerRequest) {
	l.logger.LogAttrs(ctx, slog.LevelError, "handler ended its goroutine", shown("method", r.Method),
		shown("message_id", r.MessageID))
}

// notBegun records a request that waited for its turn when the server lost patience.
func (l requestLog) notBegun(ctx context.Context, r *ServerRequest) {
	l.logger.LogAttrs(ctx, slog.LevelWarn, "request not begun: the server is shutting down",
		shown("method", r.Method), slog.Bool("call", r.Call), shown("message_id", r.MessageID))
}

// shown is a name that a peer chose, in a log record.
func shown(key, name string) slog.Attr { return slog.String(key, truncate(name, maxShownMethod)) }

// errorAttr is an error in a log record. Its text is often foreign and may be long.
func errorAttr(err error) slog.Attr { return slog.Any("error", loggedError{err}) }

type loggedError struct{ err error }

// LogValue implements slog.LogValuer: the error itself, or its text, cut. Texts of errors are the
// application's code and may panic.
func (e loggedError) LogValue() (v slog.Value) {
	defer func() {
		if recover() != nil {
			v = slog.StringValue(fmt.Sprintf("(%T whose text cannot be had)", e.err))
		}
	}()
	if text := e.err.Error(); len(text) > maxLogged {
		return slog.StringValue(truncate(text, maxLogged))
	}
	return slog.AnyValue(e.err)
}
