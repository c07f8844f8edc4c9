// SPDX-License-Identifier: Apache-2.0

package middleware

import (
	"context"
	"slices"

	"github.com/parleymq/parley/messaging"
)

// Forbidden is the answer to who may not: errors.Is knows it on both sides of the wire.
func Forbidden() *messaging.RemoteError {
	return &messaging.RemoteError{Module: "example.exception", Class: "Forbidden"}
}

// AdminOnly lets the named methods be called by administrators alone, as the request context
// says who is one.
func AdminOnly(methods ...string) messaging.ServerMiddleware {
	return func(next messaging.ServerHandler) messaging.ServerHandler {
		return func(ctx context.Context, r *messaging.ServerRequest) (any, error) {
			if slices.Contains(methods, r.Method) && !isAdmin(ctx) {
				// Expected: it is no failure of the server.
				return nil, messaging.Expected(Forbidden().Withf("%s is for administrators", r.Method))
			}
			return next(ctx, r)
		}
	}
}

func isAdmin(ctx context.Context) bool {
	rc, _ := messaging.RequestContextFrom(ctx)
	admin, _ := rc["is_admin"].(bool)
	return admin
}
