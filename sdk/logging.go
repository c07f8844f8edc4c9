// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"context"
	"io"
	"log/slog"
	"os"
	"sync"

	"google.golang.org/grpc"
)

// newLogger makes the process's logger, whose records the host reads, and gives it to slog and
// to the standard log package as well: what a library logs there is a record, too, and obeys the
// level that the application wants.
func newLogger(w io.Writer, level slog.Leveler) *slog.Logger {
	logger := slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
	slog.SetDefault(logger)
	return logger
}

// stdio are the standard streams that the process was started with. go-plugin puts pipes in
// their place, for a stream of its own that our host does not read: what a library printed to
// them would be lost.
type stdio struct {
	once     sync.Once
	out, err *os.File
}

func newStdio() *stdio { return &stdio{out: os.Stdout, err: os.Stderr} }

// restore brings the streams back, once. go-plugin has replaced them before it serves the first
// call, and the driver itself is first called by one.
func (s *stdio) restore() {
	s.once.Do(func() { os.Stdout, os.Stderr = s.out, s.err })
}

// serverOptions restore the streams at the first call, of whatever kind.
func (s *stdio) serverOptions() []grpc.ServerOption {
	unary := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		s.restore()
		return next(ctx, req)
	}
	stream := func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		s.restore()
		return next(srv, ss)
	}
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(unary), grpc.ChainStreamInterceptor(stream)}
}
