// SPDX-License-Identifier: Apache-2.0

package messagingslog

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/parleymq/parley/messaging"
)

// Handler is a slog.Handler that notifies. It may be used by any number of goroutines.
type Handler struct {
	*sender
	steps []step // what WithAttrs and WithGroup have added
}

var _ slog.Handler = (*Handler)(nil)

// sender is what handlers derived from each other share.
type sender struct {
	notifier *messaging.Notifier
	opts     Options
	lost     atomic.Uint64
}

// step is a group that was opened, or attributes.
type step struct {
	group string // empty for attributes
	attrs []slog.Attr
}

// sendingKey marks the context of a notification on its way.
type sendingKey struct{}

// NewHandler returns a handler that notifies by n, of which it derives a notifier of its own: what
// becomes of log records is not told to [messaging.NotifierOptions.OnResult], which might log.
func NewHandler(n *messaging.Notifier, opts *Options) *Handler {
	s := &sender{}
	if opts != nil {
		s.opts = *opts
	}
	if s.opts.Level == nil {
		s.opts.Level = slog.LevelInfo
	}
	if s.opts.MaxText <= 0 {
		s.opts.MaxText = defaultMaxText
	}
	with := []messaging.NotifierOption{messaging.NeverWait(), messaging.NotifyResult(s.result)}
	if s.opts.Form == PublishedError {
		with = append(with, messaging.PublisherID(errorPublisher))
	}
	s.notifier = n.With(with...)
	return &Handler{sender: s}
}

// Lost counts the notifications, one for each topic, that were not accepted.
func (h *Handler) Lost() uint64 { return h.lost.Load() }

// result is told what became of a notification.
func (s *sender) result(_ *messaging.Notification, err error) {
	if err != nil {
		s.lost.Add(1)
	}
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= h.opts.Level.Level() && !isSending(ctx) && h.notifier.Enabled()
}

func isSending(ctx context.Context) bool { return ctx != nil && ctx.Value(sendingKey{}) != nil }

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	return h.with(step{attrs: slices.Clone(attrs)})
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return h.with(step{group: name})
}

func (h *Handler) with(s step) *Handler {
	return &Handler{sender: h.sender, steps: append(slices.Clip(h.steps), s)}
}

// send sends a payload without its secrets.
func (s *sender) send(ctx context.Context, p messaging.Priority, eventType string, payload map[string]any) {
	masked, err := messaging.Masked(payload)
	if err != nil {
		s.lost.Add(1) // payloads are made of what can be encoded
		return
	}
	ctx = context.WithValue(context.WithoutCancel(ctx), sendingKey{}, true)
	s.notifier.NotifyAndForget(ctx, p, eventType, masked)
}

// Handle implements slog.Handler. It always returns nil. The notification carries what the
// notifier lets through of the request context in ctx, and does not end with ctx: a request's last
// words are often why it ended.
func (h *Handler) Handle(ctx context.Context, record slog.Record) error {
	if ctx == nil {
		ctx = context.Background()
	}
	from := originOf(record)
	if isSending(ctx) || from.parleys() {
		return nil
	}
	priority, eventType, payload := messaging.PriorityError, eventError, map[string]any{"error": cut(record.Message, h.opts.MaxText)}
	if h.opts.Form == LogRecord {
		priority, payload = h.payload(record, from)
		eventType = eventLogRecord
	}
	h.send(ctx, priority, eventType, payload)
	return nil
}
