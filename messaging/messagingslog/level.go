// SPDX-License-Identifier: Apache-2.0

package messagingslog

import (
	"log/slog"

	"github.com/parleymq/parley/messaging"
)

// LevelCritical is the level from which records are critical.
const LevelCritical = slog.LevelError + 4

// priorityOf is the priority of a level and the name of that level in Python.
func priorityOf(level slog.Level) (messaging.Priority, string) {
	switch {
	case level < slog.LevelInfo:
		return messaging.PriorityDebug, "DEBUG"
	case level < slog.LevelWarn:
		return messaging.PriorityInfo, "INFO"
	case level < slog.LevelError:
		return messaging.PriorityWarn, "WARNING"
	case level < LevelCritical:
		return messaging.PriorityError, "ERROR"
	default:
		return messaging.PriorityCritical, "CRITICAL"
	}
}

// levelNumber is a level as Python's logging counts: ten where slog has four, and info is 20.
func levelNumber(level slog.Level) int { return 20 + int(level)*10/4 }
