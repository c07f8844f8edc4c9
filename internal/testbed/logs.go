// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// logShown is how much of a failed test's log is shown.
const logShown = 16 << 10

// Secret is in every password and token that tests use on purpose. It must be in no log.
const Secret = "S3cr3t"

// Logs keeps everything that is logged, at debug level, by a host and its drivers.
type Logs struct {
	mu   sync.Mutex
	text strings.Builder
}

// NewLogs returns logs for one test, which fails when a driver's race detector spoke, and when
// a planted [Secret] is in them.
func NewLogs(tb testing.TB) *Logs {
	l := &Logs{}
	tb.Cleanup(func() {
		text := l.String()
		if strings.Contains(text, "DATA RACE") {
			tb.Error("a driver has a data race")
		}
		if i := strings.Index(text, Secret); i >= 0 {
			tb.Errorf("a secret is in the log, after %q", text[max(0, i-200):i])
			return // and is not to be shown once more
		}
		if tb.Failed() {
			tb.Logf("log:\n%s", text[max(0, len(text)-logShown):])
		}
	})
	return l
}

// Write implements io.Writer.
func (l *Logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// Logger returns a logger that writes here.
func (l *Logs) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Printf adds a line of the test's own, such as an error it saw.
func (l *Logs) Printf(format string, args ...any) { _, _ = fmt.Fprintf(l, format+"\n", args...) }

// String is everything so far.
func (l *Logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Lines returns the lines that have all of the texts.
func (l *Logs) Lines(texts ...string) []string {
	var found []string
next:
	for line := range strings.Lines(l.String()) {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue next
			}
		}
		found = append(found, strings.TrimSuffix(line, "\n"))
	}
	return found
}
