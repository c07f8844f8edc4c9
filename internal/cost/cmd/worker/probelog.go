// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"syscall"

	"github.com/parleymq/parley/internal/cost"
)

// probeLog takes the records of the host and finds the probe's among them.
type probeLog struct{ counts chan int }

func newProbeLog() *probeLog { return &probeLog{counts: make(chan int, 1)} }

// Enabled implements slog.Handler.
func (*probeLog) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

// Handle implements slog.Handler.
func (p *probeLog) Handle(_ context.Context, r slog.Record) error {
	if r.Message != cost.ProbeMessage {
		return nil
	}
	r.Attrs(func(a slog.Attr) bool {
		n, err := strconv.Atoi(fmt.Sprint(a.Value.Any()))
		if err != nil || a.Key != cost.ProbeAttribute {
			return true
		}
		select {
		case p.counts <- n:
		default: // nobody asked
		}
		return false
	})
	return nil
}

// WithAttrs implements slog.Handler.
func (p *probeLog) WithAttrs([]slog.Attr) slog.Handler { return p }

// WithGroup implements slog.Handler.
func (p *probeLog) WithGroup(string) slog.Handler { return p }

// ask makes the probe give back its garbage and tell its goroutines.
func (p *probeLog) ask(ctx context.Context, pid int) (int, error) {
	if err := syscall.Kill(pid, syscall.SIGUSR1); err != nil {
		return 0, fmt.Errorf("signal the probe: %w", err)
	}
	select {
	case n := <-p.counts:
		return n, nil
	case <-ctx.Done():
		return 0, errors.Join(errors.New("the probe did not tell its goroutines"), ctx.Err())
	}
}
