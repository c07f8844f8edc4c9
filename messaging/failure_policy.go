// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// FailurePolicy says what becomes of a notification whose handler fails. The zero policy logs
// errors and drops the notification, as upstream does, and lets what asks for it with [ErrRequeue]
// come again up to 10 times and then drops it too.
type FailurePolicy struct {
	// RequeueErrors lets a notification come again after any error, and not only after ErrRequeue.
	// What cannot be decoded (ErrEncoding) does not come again.
	RequeueErrors bool
	// MaxRequeues is how many times a notification comes again. Negative is for ever. Default: 10.
	// Each listener counts what it was given, and forgets the counts when it ends, or when they are
	// those of more than 16384 notifications: many listeners of one topic may give it that often each.
	MaxRequeues int
	// Delay is how long a notification is kept before it is given back for the first time; the delay
	// doubles each time, up to MaxDelay. Meanwhile it takes one of the slots of the listener, so that
	// one that fails always asks for little. With OrderBy the others of its key do not wait for it.
	// A shutdown gives it back at once. Defaults: 1 second, 1 minute.
	Delay, MaxDelay time.Duration
	// DeadLetterTopic, when set, is where a notification goes instead of being dropped, in the
	// exchange of the listener's first target: with its priority, and the reason in its headers (see
	// [DeadLetterReason]), where the driver carries headers. It is settled only once it is there; as
	// long as it cannot be sent, the notification comes again.
	//
	// What could not be understood goes there too, as the payload of an error of type
	// [MalformedEventType]: as it is when it is JSON, and as text otherwise.
	DeadLetterTopic string
}

// ErrRequeue asks, as the error of a handler, for the notification to come again, to this listener
// or another. Wrap it to say why. It is upstream's NotificationResult.REQUEUE. With a driver that
// cannot give back (driver.CapRequeue) the notification is given up instead.
var ErrRequeue = errors.New("messaging: requeue the notification")

// FailedNotifications is the error of a batch handler that says which failed: by their place in the
// batch, and of what. The others are done, and so are those whose error is nil. With a place that
// is none of the batch, all have failed.
type FailedNotifications map[int]error //nolint:errname // what failed is what it says

// Error implements error.
func (f FailedNotifications) Error() string {
	return fmt.Sprintf("%d notifications of the batch failed", len(f))
}

// failureOf is what err, of the handler of a batch of size, says of the notification at place.
func failureOf(err error, place, size int) error {
	failed, ok := errors.AsType[FailedNotifications](err)
	if !ok {
		return err
	}
	for i := range failed {
		if i < 0 || i >= size {
			return fmt.Errorf("a batch of %d has no place %d: %w", size, i, err)
		}
	}
	return failed[place]
}

// Defaults of [FailurePolicy].
const (
	defaultMaxRequeues  = 10
	defaultRequeueDelay = time.Second
	defaultMaxDelay     = time.Minute
)

func (p FailurePolicy) withDefaults() FailurePolicy {
	if p.MaxRequeues == 0 {
		p.MaxRequeues = defaultMaxRequeues
	}
	if p.Delay == 0 {
		p.Delay = defaultRequeueDelay
	}
	if p.MaxDelay == 0 {
		p.MaxDelay = max(defaultMaxDelay, p.Delay)
	}
	return p
}

func (p FailurePolicy) check(l *NotificationListener, op operation) error {
	if p.Delay < 0 || p.MaxDelay < 0 {
		return op.errorf(CodeConfig, nil, "a delay of the failure policy is negative; use zero for the default")
	}
	if p.RequeueErrors {
		if err := l.t.requires(driver.CapRequeue, "giving notifications back", op); err != nil {
			return err
		}
	}
	if p.DeadLetterTopic == "" {
		return nil
	}
	for _, t := range l.targets {
		if t.Topic == p.DeadLetterTopic {
			e := op.errorf(CodeConfig, nil, "the dead-letter topic %s is one that is listened to", quoteIfNeeded(p.DeadLetterTopic))
			e.Hint = "dead letters would come back for ever: choose another topic"
			return e
		}
	}
	return Target{Topic: p.DeadLetterTopic}.validate(roleNotifier)
}

// delay is how long the nth attempt is kept when it failed.
func (p *FailurePolicy) delay(attempt int) time.Duration {
	d := p.Delay
	for range attempt - 1 {
		if d >= p.MaxDelay/2 {
			return p.MaxDelay
		}
		d *= 2
	}
	return min(d, p.MaxDelay)
}

// settle ends a notice as its handlers left it.
func (v *notifying) settle(n *notice) {
	c := &v.l.counters
	switch {
	case n.malformed:
		v.giveUp(n, reasonMalformed)
	case n.err == nil && !n.taken:
		c.unwanted.Add(1)
		v.done(n, driver.Accepted)
	case n.err == nil:
		c.handled.Add(1)
		v.done(n, driver.Accepted)
	case v.work.Err() != nil: // it was cut off, and another listener may have it
		v.giveBack(n)
	default:
		c.failed.Add(1)
		v.failed(n)
	}
}

// failed deals with a notice whose handler failed.
func (v *notifying) failed(n *notice) {
	p := &v.l.opts.Failure
	asked := errors.Is(n.err, ErrRequeue)
	switch {
	case !asked && (!p.RequeueErrors || errors.Is(n.err, ErrEncoding)):
		v.giveUp(n, reasonError)
	case !v.requeues:
		v.giveUp(n, reasonNoRequeue)
	case p.MaxRequeues >= 0 && n.attempt > p.MaxRequeues:
		v.giveUp(n, reasonTooOften)
	default:
		level := slog.LevelWarn
		if asked || IsExpected(n.err) {
			level = slog.LevelDebug
		}
		v.log(n, level, "notification requeued", slog.Int("attempt", n.attempt), errorAttr(n.err))
		v.requeueLater(n)
	}
}

// requeueLater gives a notice back after a while, or when the listener ends.
func (v *notifying) requeueLater(n *notice) {
	v.attempts.add(n)
	added := v.delayed.add(n, v.l.opts.Failure.delay(n.attempt), func() {
		v.l.counters.requeued.Add(1)
		v.back(n)
	})
	if !added {
		v.giveBack(n)
	}
}

// giveUp ends a notice that failed for good.
func (v *notifying) giveUp(n *notice, reason string) {
	p := &v.l.opts.Failure
	if p.DeadLetterTopic == "" {
		level := slog.LevelError
		if IsExpected(n.err) {
			level = slog.LevelDebug
		}
		v.log(n, level, "notification dropped: "+reason, slog.Int("attempts", n.attempt), errorAttr(n.err))
		v.l.counters.dropped.Add(1)
		v.done(n, driver.Rejected)
		return
	}
	if err := v.bury(n, reason); err != nil {
		v.log(n, slog.LevelError, "the dead letter was not sent, the notification comes again", slog.String("topic", p.DeadLetterTopic),
			slog.Any("because", loggedError{err}), errorAttr(n.err))
		v.requeueLater(n)
		return
	}
	v.log(n, slog.LevelWarn, "notification sent to the dead-letter topic: "+reason, slog.String("topic", p.DeadLetterTopic),
		slog.Int("attempts", n.attempt), errorAttr(n.err))
	v.l.counters.deadLettered.Add(1)
	v.done(n, driver.Accepted)
}

// done ends a notice for good.
func (v *notifying) done(n *notice, result driver.Result) {
	v.attempts.forget(n)
	v.settling.settle(result, n.delivery.Token)
	v.settling.settle(driver.Accepted, v.seen.end(&n.inProgress, keptAnswer{}, time.Now())...)
	v.free(1)
}

// giveBack gives notices back because the listener ends: all at once, to keep their order.
func (v *notifying) giveBack(all ...*notice) {
	v.l.counters.returned.Add(uint64(len(all)))
	v.back(all...)
}

// back gives notices back to the broker. Repeated deliveries go with them: one of them may be the
// only one that is still good.
func (v *notifying) back(all ...*notice) {
	tokens := make([]uint64, 0, len(all))
	for _, n := range all {
		tokens = append(append(tokens, v.seen.forget(&n.inProgress)...), n.delivery.Token)
	}
	v.settling.settle(driver.Requeued, tokens...)
	v.free(len(all))
}

// free makes room for n others.
func (v *notifying) free(n int) {
	v.l.counters.running.Add(-int64(n))
	v.in.release(n)
}

// log logs what became of a notification: who sent it and what it is, never what it says.
func (v *notifying) log(n *notice, level slog.Level, text string, attrs ...slog.Attr) {
	v.l.opts.Logger.LogAttrs(n.context(v.work), level, text, append(attrs, shown("event_type", n.n.EventType), shown("publisher_id", n.n.PublisherID),
		slog.String("priority", string(n.n.Priority)), shown("message_id", n.n.MessageID))...)
}
