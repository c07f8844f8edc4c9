// SPDX-License-Identifier: Apache-2.0

package driverlog

import (
	"context"
	"log/slog"
	"time"
)

// Stdout logs what a driver prints that is no handshake. It belongs to one goroutine.
type Stdout struct {
	logger  *slog.Logger
	secrets *Secrets
	limit   *rateLimit
	warned  bool
}

// NewStdout returns a Stdout that logs to logger, without the secrets; nil has none.
func NewStdout(logger *slog.Logger, secrets *Secrets) *Stdout {
	return &Stdout{logger: logger, secrets: secrets, limit: newRateLimit(logRate, time.Now)}
}

// Before logs noise ahead of the handshake.
func (s *Stdout) Before(line Line) { s.log(slog.LevelDebug, line) }

// After logs what came behind it. The first line is a warning: somebody prints where only
// the handshake belongs, and should print to standard error.
func (s *Stdout) After(line Line) {
	level := slog.LevelDebug
	if !s.warned {
		s.warned, level = true, slog.LevelWarn
	}
	s.log(level, line)
}

func (s *Stdout) log(level slog.Level, line Line) {
	ctx := context.Background() // a printed line belongs to no call
	if !s.logger.Enabled(ctx, level) {
		return
	}
	if allowed, _ := s.limit.allow(); !allowed {
		return
	}
	text := Printable(s.secrets.redactLine(line))
	if line.Cut {
		text += cutMark
	}
	s.logger.Log(ctx, level, "the driver printed to its standard output", "text", text,
		"lines_dropped", s.limit.takeDropped())
}
