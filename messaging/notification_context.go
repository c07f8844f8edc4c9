// SPDX-License-Identifier: Apache-2.0

package messaging

import "context"

type notificationKey struct{}

// NotificationFrom returns the notification that ctx's handler is for; false elsewhere, and in
// handlers of batches. It must not be changed.
func NotificationFrom(ctx context.Context) (*Notification, bool) {
	n, ok := ctx.Value(notificationKey{}).(*Notification)
	return n, ok && n != nil
}

// notificationContext is the context of one handler of notifications. It carries what the
// notification brought with it.
type notificationContext struct {
	endingContext
	rc *requestContext // nil for none
	n  *Notification   // nil for a batch
}

// Value implements context.Context. A notification that brought no request context has none, even
// when the context given to Serve has one.
func (c *notificationContext) Value(key any) any {
	switch key.(type) {
	case requestContextKey:
		if c.rc == nil {
			return nil
		}
		return c.rc
	case notificationKey:
		return c.n
	case requestInfoKey:
		return nil
	}
	return c.endingContext.Value(key)
}
