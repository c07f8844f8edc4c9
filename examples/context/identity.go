// SPDX-License-Identifier: Apache-2.0

package context

import "context"

// Identity is who asks, as this application sees it.
type Identity struct {
	RequestID string
	User      string
	Project   string
}

type identityKey struct{}

// WithIdentity returns a context that carries id, within this process and in what is sent.
func WithIdentity(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// IdentityFrom returns what WithIdentity put there, here or in the process that asks.
func IdentityFrom(ctx context.Context) (Identity, bool) {
	id, ok := ctx.Value(identityKey{}).(Identity)
	return id, ok
}
