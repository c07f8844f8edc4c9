// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"encoding/json"
)

// pingEndpoint answers pings as upstream does (oslo_messaging/rpc/server.py), whatever arguments they bring. It comes after the application's
// endpoints, one of which may have the method itself.
func pingEndpoint() *Endpoint {
	ep := NewEndpoint(nil)
	ep.HandleRaw(pingMethod, func(context.Context, json.RawMessage) (any, error) { return "pong", nil })
	return ep
}
