// SPDX-License-Identifier: Apache-2.0

package notifications

import (
	"context"

	"github.com/parleymq/parley/messaging"
)

// Compute runs instances and notifies of it.
type Compute struct {
	events   Events
	notifier *messaging.Notifier
}

// NewCompute returns a Compute that notifies through t.
func NewCompute(t *messaging.Transport) *Compute {
	notifier := messaging.NewNotifier(t, &messaging.NotifierOptions{PublisherID: "compute.host1"})
	return &Compute{events: NewEvents(), notifier: notifier}
}

// Create creates an instance. An error says that it runs and that the broker was not told, or may
// not have been; who cannot bear that keeps a spool.
func (c *Compute) Create(ctx context.Context, i Instance) error {
	// ... it is created ...
	return c.events.Created.Notify(ctx, c.notifier, i)
}

// Delete deletes an instance, and does not wait for the broker.
func (c *Compute) Delete(ctx context.Context, i Instance) {
	// ... it is deleted ...
	c.events.Deleted.NotifyAndForget(ctx, c.notifier, i)
}
