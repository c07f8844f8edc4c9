// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"log/slog"
	"slices"
)

// LogHandlerOptions are the settings of [NewLogHandler]. Nil means the defaults.
type LogHandlerOptions struct {
	// Keys are the keys of the request context that records get, as attributes of the same
	// names; those that name a secret are left out. An empty list that is not nil is none.
	// Default: request_id, global_request_id, user, user_id, project and project_id.
	Keys []string
}

func defaultLogKeys() []string {
	return []string{"request_id", "global_request_id", "user", "user_id", "project", "project_id"}
}

// NewLogHandler returns a slog.Handler that passes records on to next with what the context they
// are logged with says: the request context's keys, in a server's handler also method, target
// ("topic/server") and message_id, and in a listener's handler of a notification also event_type,
// publisher_id and message_id. They stand outside all groups. A record that brings an
// attribute of the same name keeps its own.
//
// It makes the dispatching context visible to logging, which upstream once did with a store per
// thread (oslo_messaging/localcontext.py of 1.x). All records of a server about a request are
// logged with the request's context:
//
//	logger := slog.New(messaging.NewLogHandler(slog.NewJSONHandler(os.Stderr, nil), nil))
func NewLogHandler(next slog.Handler, opts *LogHandlerOptions) slog.Handler {
	keys := defaultLogKeys()
	if opts != nil && opts.Keys != nil {
		keys = slices.Clone(opts.Keys)
	}
	keys = slices.DeleteFunc(keys, isSecretKey)
	return &logHandler{next: next, outer: next, keys: keys}
}

// logHandler implements slog.Handler. It is immutable.
type logHandler struct {
	next slog.Handler // with everything that With and WithGroup have added
	keys []string

	// outer is next without the first group and all that came after it, which inner repeats.
	outer slog.Handler
	inner []func(slog.Handler) slog.Handler
}

// Enabled implements slog.Handler.
func (h *logHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	return h.with(len(h.inner) > 0, func(to slog.Handler) slog.Handler { return to.WithAttrs(attrs) })
}

// WithGroup implements slog.Handler.
func (h *logHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return h.with(true, func(to slog.Handler) slog.Handler { return to.WithGroup(name) })
}

// with returns h with one step more, inside a group or outside all of them.
func (h *logHandler) with(inside bool, step func(slog.Handler) slog.Handler) *logHandler {
	c := *h
	c.next = step(h.next)
	if !inside {
		c.outer = c.next
		return &c
	}
	c.inner = append(slices.Clip(h.inner), step)
	return &c
}

// Handle implements slog.Handler.
func (h *logHandler) Handle(ctx context.Context, record slog.Record) error {
	attrs := h.attrsOf(ctx)
	switch {
	case len(attrs) == 0:
		return h.next.Handle(ctx, record)
	case len(h.inner) == 0:
		record = record.Clone()
		record.AddAttrs(withoutThose(attrs, record)...)
		return h.next.Handle(ctx, record)
	default:
		to := h.outer.WithAttrs(attrs)
		for _, step := range h.inner {
			to = step(to)
		}
		return to.Handle(ctx, record)
	}
}

// withoutThose leaves out attributes whose names a record has.
func withoutThose(attrs []slog.Attr, record slog.Record) []slog.Attr {
	record.Attrs(func(has slog.Attr) bool {
		attrs = slices.DeleteFunc(attrs, func(a slog.Attr) bool { return a.Key == has.Key })
		return true
	})
	return attrs
}

// attrsOf returns what a context says, in memory of its own.
func (h *logHandler) attrsOf(ctx context.Context) []slog.Attr {
	var attrs []slog.Attr
	if rc, ok := ctx.Value(requestContextKey{}).(*requestContext); ok {
		for _, key := range h.keys {
			if v, ok := rc.values[key]; ok && v != nil && v != "" {
				attrs = append(attrs, slog.Attr{Key: key, Value: loggedValue(v)})
			}
		}
	}
	if info, ok := ctx.Value(requestInfoKey{}).(*RequestInfo); ok {
		target := info.Target.Topic + "/" + info.Target.Server
		if target == "/" {
			target = ""
		}
		return appendShown(attrs, "method", info.Method, "target", target, "message_id", info.MessageID)
	}
	if n, ok := NotificationFrom(ctx); ok {
		return appendShown(attrs, "event_type", n.EventType, "publisher_id", n.PublisherID, "message_id", n.MessageID)
	}
	return attrs
}

// appendShown appends the names that are not empty, given as keys and values.
func appendShown(attrs []slog.Attr, names ...string) []slog.Attr {
	for pair := range slices.Chunk(names, 2) {
		if key, name := pair[0], pair[len(pair)-1]; name != "" {
			attrs = append(attrs, shown(key, name))
		}
	}
	return attrs
}

// loggedValue is a value of a request context, which is foreign, in a log record.
func loggedValue(v any) slog.Value {
	switch v := v.(type) {
	case string:
		return slog.StringValue(truncate(v, maxLogged))
	case bool, int, int64, float64:
		return slog.AnyValue(v)
	default:
		return Redacted(v).LogValue()
	}
}
