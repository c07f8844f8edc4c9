// SPDX-License-Identifier: Apache-2.0

package middleware

import (
	"context"
	"log/slog"
	"time"

	"github.com/parleymq/parley/messaging"
)

// LogSlow logs calls and casts that took longer than limit.
func LogSlow(logger *slog.Logger, limit time.Duration) messaging.ClientMiddleware {
	return func(next messaging.ClientHandler) messaging.ClientHandler {
		return func(ctx context.Context, r *messaging.ClientRequest) error {
			start := time.Now()
			err := next(ctx, r)
			if took := time.Since(start); took > limit {
				logger.WarnContext(ctx, "slow request", "method", r.Method, "took", took, "error", err)
			}
			return err
		}
	}
}
