// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"cmp"
	"context"
	"errors"
	"slices"
)

// Notifier sends notifications. It is immutable and may be used by any number of goroutines; With
// derives another that differs.
type Notifier struct {
	t       *Transport
	s       notifierSettings
	err     error // why this notifier cannot send, nil when it can
	pending *pendingNotifications
}

// NewNotifier returns a notifier. It does no I/O and never fails: what is wrong with the options
// is the error of every notification.
func NewNotifier(t *Transport, opts *NotifierOptions) *Notifier {
	var o NotifierOptions
	if opts != nil {
		o = *opts
	}
	if o.MaxPending <= 0 {
		o.MaxPending = defaultMaxPending
	}
	return newNotifier(t, newNotifierSettings(t, o), newPendingNotifications(t, o.MaxPending))
}

func newNotifier(t *Transport, s notifierSettings, pending *pendingNotifications) *Notifier {
	return &Notifier{t: t, s: s, err: s.check(), pending: pending}
}

// With returns a notifier that differs from n by opts, applied in order. It is upstream's prepare.
// It is cheap, and the result may be kept; MaxPending is for both together.
func (n *Notifier) With(opts ...NotifierOption) *Notifier {
	s := n.s
	for _, opt := range opts {
		opt(&s)
	}
	return newNotifier(n.t, s, n.pending)
}

// Enabled reports whether a notification would go anywhere. When all outlets are [NoopOutlet], or
// say so themselves by a method of this name, it does not, and making its payload can be spared.
func (n *Notifier) Enabled() bool {
	return slices.ContainsFunc(n.s.outlets, outletEnabled)
}

// Notify sends a notification to all outlets and returns nil once all have accepted it: at a
// broker it is then stored, or without one (driver.CapDirect) with a listener, or in the
// [Spool]. payload is anything that encodes to JSON.
//
// It fails with ErrEncoding or ErrConfig before anything is sent, and otherwise with what the
// outlets failed with: ErrUnavailable, ErrRefused, ErrTooLarge and the like when it was not taken
// in its time and with its retries, ErrInDoubt when nobody knows, ErrSpoolFull when not even the
// spool takes it. The failure of one outlet or topic does not keep it from the others; the errors
// are joined.
func (n *Notifier) Notify(ctx context.Context, p Priority, eventType string, payload any) error {
	if n.err == nil && !n.Enabled() {
		return nil
	}
	event, err := n.event(ctx, p, eventType, payload)
	if err != nil {
		return err
	}
	var errs []error
	for _, o := range n.s.outletsOf(ctx, event) {
		if err := callOutlet(ctx, o, event); err != nil {
			errs = append(errs, err)
		}
	}
	return joined(errs)
}

// callOutlet gives a notification to an outlet. The panic of one is an error, so that the others
// get theirs.
func callOutlet(ctx context.Context, o Outlet, event *Notification) error {
	return guarded(func() error { return o.Notify(ctx, event) })
}

// joined is the errors as one; a single one stays as it is.
func joined(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// Audit notifies with [PriorityAudit]; see Notify.
func (n *Notifier) Audit(ctx context.Context, eventType string, payload any) error {
	return n.Notify(ctx, PriorityAudit, eventType, payload)
}

// Debug notifies with [PriorityDebug]; see Notify.
func (n *Notifier) Debug(ctx context.Context, eventType string, payload any) error {
	return n.Notify(ctx, PriorityDebug, eventType, payload)
}

// Info notifies with [PriorityInfo]; see Notify.
func (n *Notifier) Info(ctx context.Context, eventType string, payload any) error {
	return n.Notify(ctx, PriorityInfo, eventType, payload)
}

// Warn notifies with [PriorityWarn]; see Notify.
func (n *Notifier) Warn(ctx context.Context, eventType string, payload any) error {
	return n.Notify(ctx, PriorityWarn, eventType, payload)
}

// Error notifies with [PriorityError]; see Notify.
func (n *Notifier) Error(ctx context.Context, eventType string, payload any) error {
	return n.Notify(ctx, PriorityError, eventType, payload)
}

// Critical notifies with [PriorityCritical]; see Notify.
func (n *Notifier) Critical(ctx context.Context, eventType string, payload any) error {
	return n.Notify(ctx, PriorityCritical, eventType, payload)
}

// Sample notifies with [PrioritySample]; see Notify.
func (n *Notifier) Sample(ctx context.Context, eventType string, payload any) error {
	return n.Notify(ctx, PrioritySample, eventType, payload)
}

// newNotifierSettings are the options with their defaults.
func newNotifierSettings(t *Transport, o NotifierOptions) notifierSettings {
	s := notifierSettings{
		publisherID: cmp.Or(o.PublisherID, t.publisherID()), exchange: o.Exchange, topics: topicsOrDefault(o.Topics),
		outlets: slices.Clone(o.Outlets), timeout: o.Timeout, retry: -1, context: o.Context,
		serializer: fastSerializer(o.Serializer), spool: o.Spool, onResult: o.OnResult, t: t,
	}
	if len(s.outlets) == 0 {
		s.outlets = []Outlet{BrokerOutlet(NotificationV2)}
	}
	if s.context == nil {
		s.context = SafeContext()
	}
	if o.Retry != nil {
		s.retry = *o.Retry
	}
	return s
}

func topicsOrDefault(topics []string) []string {
	if len(topics) == 0 {
		return []string{DefaultNotificationTopic}
	}
	return slices.Clone(topics)
}
