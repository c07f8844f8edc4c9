// SPDX-License-Identifier: Apache-2.0

package notifications

import (
	"context"
	"time"

	"github.com/parleymq/parley/messaging"
)

// Archive keeps every notification.
type Archive struct {
	// Store stores some of them at once, or none of them.
	Store func(ctx context.Context, batch []*messaging.Notification) error
}

// Listener returns the listener of Archive, which takes batches of one priority each.
func (a *Archive) Listener(t *messaging.Transport) *messaging.NotificationListener {
	ep := messaging.NewNotificationEndpoint(nil)
	for _, p := range messaging.Priorities() {
		ep.HandleBatch(p, a.Store)
	}
	targets := []messaging.Target{{Topic: messaging.DefaultNotificationTopic}}
	return messaging.NewNotificationListener(t, targets, &messaging.NotificationListenerOptions{
		Pool:  "archive",
		Batch: &messaging.BatchOptions{Size: 4, Timeout: 10 * time.Second},
	}, ep)
}
