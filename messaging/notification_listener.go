// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/parleymq/parley/plugin/driver"
)

// NotificationListener receives notifications and runs them on endpoints. It serves once: make
// another to serve again.
//
// A notification is acknowledged to the broker when its handlers are done with it, so that each is
// handled at least once: what a listener that dies had taken comes to another one. One that comes
// again to the same listener is recognised by its id, and settled without being handled.
type NotificationListener struct {
	targets   []Target
	opts      NotificationListenerOptions // Concurrency is completed by Serve
	endpoints []*NotificationEndpoint
	counters  notificationCounters

	*lifecycle
}

// NewNotificationListener returns a listener of targets, each with a topic, on endpoints. It does no
// I/O and never fails: what is wrong is the error of Serve. It takes the priorities that some
// endpoint has a handler for, of all targets. All handlers that a notification fits run, in order,
// as upstream's do; one that fails keeps it from the later ones.
func NewNotificationListener(t *Transport, targets []Target, opts *NotificationListenerOptions, endpoints ...*NotificationEndpoint) *NotificationListener {
	return &NotificationListener{
		targets: slices.Clone(targets), endpoints: slices.Clone(endpoints), opts: opts.withDefaults(t),
		lifecycle: newLifecycle(t, "notification listener"),
	}
}

// Ready returns a channel that is closed once the listener receives notifications. It is never
// closed when Serve fails before that.
func (l *NotificationListener) Ready() <-chan struct{} { return l.ready }

// Serve receives notifications and handles them until it is told to stop; see [RPCServer.Serve],
// whose errors it has. What is wrong with options, targets and endpoints is ErrConfig,
// ErrInvalidTarget or ErrUnsupported, before any I/O.
func (l *NotificationListener) Serve(ctx context.Context) error {
	var plan *notificationPlan
	check := func(op operation) (err error) {
		plan, err = l.check(op)
		return err
	}
	return l.serve(ctx, l.operation(), check, func(polling context.Context) error {
		listener, err := l.t.conn.Listen(polling, l.source(plan))
		if err != nil {
			return err
		}
		close(l.ready)
		return newNotifying(ctx, l, plan, listener).run(polling)
	})
}

// Shutdown stops the listener; see [RPCServer.Shutdown]. What was not begun, and what fails once ctx
// has ended, goes back to the broker.
func (l *NotificationListener) Shutdown(ctx context.Context) error { return l.shutdown(ctx) }

func (l *NotificationListener) operation() operation {
	op := operation{verb: "listen"}
	if len(l.targets) == 1 {
		op.target = l.targets[0]
	}
	return op
}

// source is what the driver listens to.
func (l *NotificationListener) source(plan *notificationPlan) driver.Source {
	src := driver.Source{Kind: driver.SourceNotifications, Settle: driver.SettleOnDone, Pool: l.opts.Pool}
	for _, target := range l.targets {
		a := target.address(l.t.opts.DefaultExchange)
		for _, p := range plan.priorities {
			topic := driver.NotificationTopic{Exchange: a.Exchange, Topic: a.Topic, Priority: string(p)}
			if !slices.Contains(src.Notifications, topic) {
				src.Notifications = append(src.Notifications, topic)
			}
		}
	}
	return src
}

// check tells what is wrong, before any I/O, and returns what the listener is to serve with.
func (l *NotificationListener) check(op operation) (*notificationPlan, error) {
	plan, err := l.plan(op)
	if err != nil {
		return nil, err
	}
	if l.opts.Concurrency <= 0 {
		l.opts.Concurrency = DefaultConcurrency
		if len(plan.batched) > 0 {
			l.opts.Concurrency = defaultBatchConcurrency
		}
	}
	for _, check := range []func(operation) error{
		l.checkTargets, func(op operation) error { return l.checkPlan(op, plan) }, l.checkPool, l.checkFailure,
	} {
		if err := check(op); err != nil {
			return nil, err
		}
	}
	return plan, nil
}

func (l *NotificationListener) checkTargets(op operation) error {
	if len(l.targets) == 0 {
		return op.errorf(CodeInvalidTarget, nil, "a notification listener needs a target")
	}
	for _, target := range l.targets {
		if err := target.validate(roleNotificationListener); err != nil {
			return err
		}
	}
	return l.t.requires(driver.CapNotifications, "notifications", op)
}

func (l *NotificationListener) checkPlan(op operation, plan *notificationPlan) error {
	var e *Error
	switch {
	case len(plan.handlers) == 0:
		e = op.errorf(CodeConfig, nil, "no endpoint has a handler")
		e.Hint = "register handlers before the listener serves"
	case len(plan.batched) > 0 && l.opts.OrderBy != nil:
		e = op.errorf(CodeConfig, nil, "OrderBy does not go with handlers of batches")
		e.Hint = "a batch is in the order its notifications came; with Concurrency 1 one batch is handled after another"
	case l.opts.Batch.Size > maxBatchSize:
		e = op.errorf(CodeConfig, nil, "batches of %d notifications are too large", l.opts.Batch.Size)
		e.Hint = fmt.Sprintf("the limit is %d", maxBatchSize)
	default:
		return nil
	}
	return e
}

// checkPool refuses pools that would be queues of other things.
func (l *NotificationListener) checkPool(op operation) error {
	if l.opts.Pool == "" {
		return nil
	}
	if err := l.t.requires(driver.CapPools, "pools of notification listeners", op); err != nil {
		return err
	}
	problem, hint := textProblem(l.opts.Pool)
	if problem == "" && len(l.opts.Pool) > maxTopicAndServer {
		problem, hint = fmt.Sprintf("is longer than %d bytes", maxTopicAndServer), "choose a shorter name"
	}
	for _, topic := range l.topicsAndDeadLetters() {
		if isQueueOf(topic, l.opts.Pool) {
			problem = "is the name of a queue of topic " + quoteIfNeeded(topic)
			hint = "pools are queues of that name on some brokers, and one would take what is meant for the other: name it after the application that listens"
		}
	}
	if problem == "" {
		return nil
	}
	e := op.errorf(CodeConfig, nil, "the pool %s %s", quoteIfNeeded(truncate(l.opts.Pool, 64)), problem)
	e.Hint = hint
	return e
}

// topicsAndDeadLetters are the topics of the targets, and that of dead letters when there is one.
func (l *NotificationListener) topicsAndDeadLetters() []string {
	var topics []string
	for _, t := range l.targets {
		topics = append(topics, t.Topic)
	}
	if l.opts.Failure.DeadLetterTopic != "" {
		topics = append(topics, l.opts.Failure.DeadLetterTopic)
	}
	return topics
}

// isQueueOf reports whether a name is that of a queue of a topic: the topic's own, or that of one
// of its priorities.
func isQueueOf(topic, name string) bool {
	rest, found := strings.CutPrefix(name, topic)
	priority, dotted := strings.CutPrefix(rest, ".")
	return found && (rest == "" || dotted && slices.Contains(Priorities(), Priority(priority)))
}

// checkFailure refuses failure policies that cannot work.
func (l *NotificationListener) checkFailure(op operation) error { return l.opts.Failure.check(l, op) }

// NotificationStats is what a listener has counted since it was made.
type NotificationStats struct {
	// Running is how many notifications are being handled now; those that wait to come again, for
	// their turn or for their batch are among them.
	Running int
	// Received is how many were taken from the broker, everything below included.
	Received uint64
	// Handled is how many were done, Failed how many times handlers ended with an error.
	Handled, Failed uint64
	// Requeued is how many times one was given back to come again, DeadLettered how many went to the
	// dead-letter topic, and Dropped how many were given up without.
	Requeued, DeadLettered, Dropped uint64
	// Unwanted is how many no endpoint took, Malformed how many could not be understood, and
	// Duplicates how many had been received before. All of them are settled.
	Unwanted, Malformed, Duplicates uint64
	// Returned is how many a shutdown gave back to the broker.
	Returned uint64
}

type notificationCounters struct {
	running                                   atomic.Int64
	received, handled, failed                 atomic.Uint64
	requeued, deadLettered, dropped           atomic.Uint64
	unwanted, malformed, duplicates, returned atomic.Uint64
}

// Stats returns what the listener has counted.
func (l *NotificationListener) Stats() NotificationStats {
	c := &l.counters
	return NotificationStats{
		Running: int(c.running.Load()), Received: c.received.Load(), Handled: c.handled.Load(), Failed: c.failed.Load(),
		Requeued: c.requeued.Load(), DeadLettered: c.deadLettered.Load(), Dropped: c.dropped.Load(),
		Unwanted: c.unwanted.Load(), Malformed: c.malformed.Load(), Duplicates: c.duplicates.Load(), Returned: c.returned.Load(),
	}
}
