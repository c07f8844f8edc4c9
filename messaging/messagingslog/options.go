// SPDX-License-Identifier: Apache-2.0

package messagingslog

import "log/slog"

// Options are the settings of a [Handler]. Nil, and every zero field, mean the default.
type Options struct {
	// Level is the lowest level that becomes a notification. Below debug, records are at the
	// priority debug. Default: info.
	Level slog.Leveler
	// Name is what payloads have as name. Default: the import path of the package that logs.
	Name string
	// Form is what the notifications look like. Default: [LogRecord].
	Form Form
	// MaxText is how long a text may be, in bytes, before it is cut: the message and each value.
	// Default: 8 KiB.
	MaxText int
}

const defaultMaxText = 8 << 10

// Form is a form of notifications.
type Form int

// The forms.
const (
	// LogRecord is that of upstream's LoggingNotificationHandler, which the package describes.
	LogRecord Form = iota
	// PublishedError is that of upstream's PublishErrorsHandler (oslo_messaging/notify/log_handler.py,
	// LoggingErrorNotificationHandler): each record, whatever its level, is of the event type
	// "error_notification", the priority error, and the publisher "error.publisher", with {"error":
	// message} as its payload. Attributes are left out.
	PublishedError
)

// What upstream names them.
const (
	eventLogRecord = "logrecord"
	eventError     = "error_notification"
	errorPublisher = "error.publisher"
)
