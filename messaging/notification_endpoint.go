// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// NotificationHandler handles one notification. Nil means that it is done. [ErrRequeue], also
// wrapped, asks for it to come again; any other error, and a panic, is dealt with as the listener's
// [FailurePolicy] says. The context carries the request context of the notification, and the
// notification itself ([NotificationFrom]); it ends when the handler returns, or when a shutdown
// loses patience. What fails after that goes back to the broker.
//
// All handlers of a notification get the same one: it must not be changed.
type NotificationHandler func(ctx context.Context, n *Notification) error

// NotificationBatchHandler handles many notifications of one priority at once, in the order they
// came. Nil means that all are done; [FailedNotifications] names those that are not; any other error
// is that of all. The context carries no request context: each notification has its own.
type NotificationBatchHandler func(ctx context.Context, batch []*Notification) error

// NotificationEndpointOptions are the settings of a [NotificationEndpoint].
type NotificationEndpointOptions struct {
	// Filter is what the endpoint takes of what its handlers could. Default: everything.
	Filter *NotificationFilter
}

// NotificationEndpoint is a set of handlers, any number for each priority; all that a notification
// fits run, in the order they were registered. It may belong to any number of listeners. Register
// everything before a listener serves: it serves with what it found then.
type NotificationEndpoint struct {
	filter *filter

	mu       sync.Mutex // guards the rest
	handlers []*notificationHandler
	err      error // the first mistake
}

// notificationHandler is one of an endpoint; one of its functions is set. It does not change any
// more.
type notificationHandler struct {
	filter    *filter // of its endpoint
	priority  Priority
	eventType string // empty for all
	one       NotificationHandler
	batch     NotificationBatchHandler
}

// NewNotificationEndpoint returns an endpoint without handlers. What is wrong with the options, or
// with what is registered, is the error of the listener's Serve.
func NewNotificationEndpoint(opts *NotificationEndpointOptions) *NotificationEndpoint {
	e := &NotificationEndpoint{}
	if opts != nil {
		e.filter, e.err = opts.Filter.compile()
	}
	return e
}

// Handle registers fn for all notifications of a priority that the endpoint's filter takes.
func (e *NotificationEndpoint) Handle(p Priority, fn NotificationHandler) { e.handle(p, "", fn) }

// HandleBatch registers fn for batches of a priority, as [NotificationListenerOptions.Batch] makes
// them.
func (e *NotificationEndpoint) HandleBatch(p Priority, fn NotificationBatchHandler) {
	e.register(&notificationHandler{priority: p, batch: fn}, fn == nil)
}

// handle registers fn for a priority and, if not empty, an event type.
func (e *NotificationEndpoint) handle(p Priority, eventType string, fn NotificationHandler) {
	e.register(&notificationHandler{priority: p, eventType: eventType, one: fn}, fn == nil)
}

func (e *NotificationEndpoint) register(h *notificationHandler, isNil bool) {
	var err error
	if isNil {
		err = &Error{Code: CodeConfig, Op: "register", Message: fmt.Sprintf("the handler of priority %q is nil", truncate(string(h.priority), 64))}
	} else if !slices.Contains(Priorities(), h.priority) {
		err = &Error{Code: CodeConfig, Op: "register", Message: fmt.Sprintf("there is no priority %q", truncate(string(h.priority), 64)),
			Hint: "use one of " + priorityList()}
	}
	h.filter = e.filter
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.err = err
	}
	e.handlers = append(e.handlers, h)
}

// registered returns the handlers so far, or the first mistake.
func (e *NotificationEndpoint) registered() ([]*notificationHandler, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.handlers), e.err
}

// takes reports whether n is for h.
func (h *notificationHandler) takes(n *Notification) bool {
	return h.priority == n.Priority && (h.eventType == "" || h.eventType == n.EventType) && h.filter.takes(n)
}
