// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// Outlet is one of the ways notifications leave a notifier; upstream calls it a notify driver,
// which here is another thing. A notifier gives each notification to all of its outlets.
//
// Notify returns nil once the notification is where the outlet brings it. It must not change n or
// keep it, and may be called by many goroutines at once.
type Outlet interface {
	Notify(ctx context.Context, n *Notification) error
}

// OutletFunc is a function as an [Outlet].
type OutletFunc func(ctx context.Context, n *Notification) error

// Notify implements [Outlet].
func (f OutletFunc) Notify(ctx context.Context, n *Notification) error { return f(ctx, n) }

// NamedOutlet returns the outlet that upstream's configuration calls name:
//
//	messaging    to the broker in format 1.0
//	messagingv2  to the broker in format 2.0
//	log          [LogOutlet], to logger; nil is the default
//	noop         [NoopOutlet]
//
// Upstream's "routing" is in package messagingrouting, and "test" is messagingtest.Recorder.
func NamedOutlet(name string, logger *slog.Logger) (Outlet, error) {
	switch name {
	case "messaging":
		return BrokerOutlet(NotificationV1), nil
	case "messagingv2":
		return BrokerOutlet(NotificationV2), nil
	case "log":
		return LogOutlet(logger), nil
	case "noop":
		return NoopOutlet(), nil
	default:
		return nil, &Error{Code: CodeConfig, Op: "outlet", Message: fmt.Sprintf("there is no outlet %q", truncate(name, 64)),
			Hint: "use messaging, messagingv2, log or noop; routing is made by package messagingrouting"}
	}
}

// NoopOutlet is an outlet that drops notifications. A notifier that has no others is not Enabled,
// and does nothing at all.
func NoopOutlet() Outlet { return noopOutlet{} }

type noopOutlet struct{}

func (noopOutlet) Notify(context.Context, *Notification) error { return nil }

// LogOutlet is an outlet that logs notifications at their priority, one record each, with the
// secrets of payload and context masked as by [Redacted]. Audit and sample are logged at the level
// of info; upstream's drops them. The group "notification" tells the records from others. Nil is
// [slog.Default] at the time of the notification.
func LogOutlet(logger *slog.Logger) Outlet { return logOutlet{logger} }

type logOutlet struct{ logger *slog.Logger }

func (o logOutlet) Notify(ctx context.Context, n *Notification) error {
	logger := o.logger
	if logger == nil {
		logger = slog.Default()
	}
	logger.LogAttrs(ctx, n.Priority.level(), "notification "+truncate(n.EventType, maxShownMethod), slog.Group("notification",
		slog.String("message_id", n.MessageID), slog.String("publisher_id", n.PublisherID), slog.String("event_type", n.EventType),
		slog.String("priority", strings.ToUpper(string(n.Priority))), slog.String("timestamp", formatTimestamp(n.Timestamp)),
		slog.Any("payload", Redacted(n.Payload)), slog.Any("context", Redacted(n.Context))))
	return nil
}

// level is the level of log records that a priority stands for.
func (p Priority) level() slog.Level {
	switch p {
	case PriorityDebug:
		return slog.LevelDebug
	case PriorityWarn:
		return slog.LevelWarn
	case PriorityError:
		return slog.LevelError
	case PriorityCritical:
		return slog.LevelError + 4
	default:
		return slog.LevelInfo
	}
}
