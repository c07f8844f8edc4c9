// SPDX-License-Identifier: Apache-2.0

package context

import (
	"context"
	"errors"

	"github.com/parleymq/parley/messaging"
)

// Serializer carries an Identity under the names that Python services use. Arguments and results
// are as messaging.JSON makes them.
type Serializer struct{ messaging.JSON }

// MarshalContext implements messaging.Serializer, for clients.
func (Serializer) MarshalContext(ctx context.Context) (messaging.RequestContext, error) {
	id, ok := IdentityFrom(ctx)
	if !ok {
		return nil, nil // nobody asks: the program does it of its own accord
	}
	return messaging.RequestContext{"request_id": id.RequestID, "user_id": id.User, "project_id": id.Project}, nil
}

// UnmarshalContext implements messaging.Serializer, for servers. What came over the wire is
// checked here, once, and not in every handler; an error is what the caller is answered.
func (Serializer) UnmarshalContext(ctx context.Context, rc messaging.RequestContext) (context.Context, error) {
	if len(rc) == 0 {
		return ctx, nil
	}
	text := func(key string) string { s, _ := rc[key].(string); return s }
	id := Identity{RequestID: text("request_id"), User: text("user_id"), Project: text("project_id")}
	if id.RequestID == "" {
		return nil, errors.New("the request context has no request_id")
	}
	return WithIdentity(ctx, id), nil
}
