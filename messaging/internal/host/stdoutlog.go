// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"log/slog"
)

// stdoutLog logs what a driver prints that is no handshake. It belongs to one goroutine.
type stdoutLog struct {
	logger *slog.Logger
	limit  *rateLimit
	warned bool
}

// before logs noise ahead of the handshake.
func (s *stdoutLog) before(line printedLine) { s.log(slog.LevelDebug, line) }

// after logs what came behind it. The first line is a warning: somebody prints where only
// the handshake belongs, and should print to standard error.
func (s *stdoutLog) after(line printedLine) {
	level := slog.LevelDebug
	if !s.warned {
		s.warned, level = true, slog.LevelWarn
	}
	s.log(level, line)
}

func (s *stdoutLog) log(level slog.Level, line printedLine) {
	ctx := context.Background() // a printed line belongs to no call
	if !s.logger.Enabled(ctx, level) {
		return
	}
	if allowed, _ := s.limit.allow(); !allowed {
		return
	}
	text := printable(line.text)
	if line.cut {
		text += cutMark
	}
	s.logger.Log(ctx, level, "the driver printed to its standard output", "text", text,
		"lines_dropped", s.limit.takeDropped())
}
