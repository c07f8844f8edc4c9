// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"log/slog"
	"strings"
	"sync"
)

// Logs keeps log records for a test to look at.
type Logs struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

// Write implements io.Writer.
func (l *Logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *Logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Count is how often a text is in them.
func (l *Logs) Count(text string) int { return strings.Count(l.String(), text) }

// Logger logs into them, at debug level.
func (l *Logs) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
