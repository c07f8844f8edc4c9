// SPDX-License-Identifier: Apache-2.0

package messaging

import "context"

// Event is a type of notification with the type of its payload: one value that notifier and
// listener share.
//
//	var Created = messaging.Event[Instance]{Type: "compute.instance.create.end", Priority: messaging.PriorityInfo}
//
// P is anything that encodes to JSON. Encoding is encoding/json's.
type Event[P any] struct {
	// Type is the event type on the wire.
	Type string
	// Priority is what it is notified with, and listened for. Empty is info.
	Priority Priority
}

// priority is the priority with its default.
func (e Event[P]) priority() Priority {
	if e.Priority == "" {
		return PriorityInfo
	}
	return e.Priority
}

// Notify sends the event by n. See [Notifier.Notify].
func (e Event[P]) Notify(ctx context.Context, n *Notifier, payload P) error {
	return n.Notify(ctx, e.priority(), e.Type, payload)
}

// NotifyAndForget sends the event by n. See [Notifier.NotifyAndForget].
func (e Event[P]) NotifyAndForget(ctx context.Context, n *Notifier, payload P) {
	n.NotifyAndForget(ctx, e.priority(), e.Type, payload)
}

// Handle registers fn for notifications of exactly this type and priority. A payload that does not
// fit P is a failure of the handler, which no repetition heals: [ErrEncoding].
func (e Event[P]) Handle(ep *NotificationEndpoint, fn func(ctx context.Context, n *Notification, payload P) error) {
	if fn == nil {
		ep.handle(e.priority(), e.Type, nil)
		return
	}
	ep.handle(e.priority(), e.Type, func(ctx context.Context, n *Notification) error {
		var payload P
		if err := n.decode(ctx, &payload); err != nil {
			return err
		}
		return fn(ctx, n, payload)
	})
}
