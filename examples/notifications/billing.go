// SPDX-License-Identifier: Apache-2.0

package notifications

import (
	"context"
	"fmt"
	"time"

	"github.com/parleymq/parley/messaging"
)

// DeadLetters is the topic of what Billing could not make a bill of. Somebody should look at it.
const DeadLetters = "billing_dead_letters"

// Billing makes bills for instances.
type Billing struct {
	// Bill writes a bill. It must bear to be asked twice for the same: a notification is
	// delivered at least once.
	Bill func(ctx context.Context, i Instance) error
}

// Listener returns the listener of Billing. All processes of the service are in one pool: each
// notification comes to one of them, and other services get their own copy.
func (b *Billing) Listener(t *messaging.Transport) *messaging.NotificationListener {
	ep := messaging.NewNotificationEndpoint(&messaging.NotificationEndpointOptions{
		Filter: &messaging.NotificationFilter{PublisherID: `compute\.`},
	})
	NewEvents().Created.Handle(ep, b.created)
	targets := []messaging.Target{{Topic: messaging.DefaultNotificationTopic}}
	return messaging.NewNotificationListener(t, targets, &messaging.NotificationListenerOptions{
		Pool: "billing",
		Failure: messaging.FailurePolicy{
			RequeueErrors: true, MaxRequeues: 3, Delay: 10 * time.Millisecond, DeadLetterTopic: DeadLetters,
		},
	}, ep)
}

// created returns nil when the notification is done with. After an error it comes again, and in the
// end goes to the dead letters.
func (b *Billing) created(ctx context.Context, n *messaging.Notification, i Instance) error {
	if err := b.Bill(ctx, i); err != nil {
		return fmt.Errorf("bill %s of %s: %w", i.ID, n.PublisherID, err)
	}
	return nil
}
