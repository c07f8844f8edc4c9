// SPDX-License-Identifier: Apache-2.0

// Package messagingslog turns log records into notifications, as upstream's
// LoggingNotificationHandler does (oslo_messaging/notify/log_handler.py):
//
//	n := messaging.NewNotifier(t, nil)
//	h := messagingslog.NewHandler(n, &messagingslog.Options{Level: slog.LevelError})
//	slog.SetDefault(slog.New(slog.NewMultiHandler(slog.NewJSONHandler(os.Stderr, nil), h)))
//
// A record is a notification of the event type "logrecord", at the priority of its level: debug,
// info, warn, error, and critical from four above error. The payload has upstream's keys:
//
//	name         Options.Name, or the package that logs
//	levelno      the level as Python counts: 10 is debug, 20 info, 30 warning, 40 error, 50 critical
//	levelname    DEBUG, INFO, WARNING, ERROR or CRITICAL
//	msg          the message
//	pathname     the file, as the compiler knows it
//	lineno       the line
//	funcName     the function
//	processName  the program's name
//	process      the process's number
//	thread       null: goroutines have no number
//	exc_info     [type, text, null] of the record's first attribute that is an error, or null
//	extra        the attributes, groups as objects, or null; errors, times and durations are text
//	created      when, in seconds since 1970, as in Python's records; upstream leaves it out
//
// Values whose keys name secrets are "***", as by [messaging.Redacted]. A secret in the message
// itself is not recognised.
//
// Notifications are sent by [messaging.Notifier.NotifyAndForget] and never waited for: a record that
// finds no room is lost, and [Handler.Lost] counts it. Logging goes on as if nothing were, so this
// handler should stand beside another. The notifier should be one of its own: With derives those
// that share their room.
//
// # Recursion
//
// What Parley itself logs never becomes a notification, whatever goroutine it is on: it knows its
// records by where they were made, and lines of driver processes too. Nor does what is logged with
// the context that the handler sends with, as by a serializer or by an outlet of the application. An
// outlet of the application that logs without it, and a listener that logs each log record that it
// gets, can go round in circles; no handler can know.
package messagingslog
