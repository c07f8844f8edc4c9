// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"slices"

	"github.com/parleymq/parley/plugin/driver"
)

// NotificationQueue is what the broker tells of a queue in which notifications wait.
type NotificationQueue struct {
	// Name is the broker's name for it, for people and the broker's own tools.
	Name string
	// Pool is the pool whose listeners share it; empty for those without one.
	Pool string
	// Topics are those of the question whose notifications go there: one, unless the driver has one
	// queue for all that a pool listens to.
	Topics []NotificationTopic
	// Exists is false when nobody has made the queue: what is sent to its topics does not wait for
	// a listener of that pool. The numbers are then zero.
	Exists bool
	// Messages wait for a listener; what a listener has and did not settle yet is not counted.
	Messages uint64
	// Consumers are the listeners of all applications that take from it.
	Consumers int
}

// NotificationTopic is one topic and priority.
type NotificationTopic struct {
	Exchange string
	Topic    string
	Priority Priority
}

// Unheard reports whether notifications gather there that nobody takes.
func (q NotificationQueue) Unheard() bool { return q.Messages > 0 && q.Consumers == 0 }

// NotificationQueues tells what waits for the listeners of targets and priorities, which are all if
// none are given. pool is that of the listeners, empty for those without one. Each queue is told
// once, in the order of the targets. Nothing is made, changed or taken by it, and the numbers are
// those of one moment.
//
// It fails with ErrInvalidTarget, with ErrUnsupported when the driver cannot tell, with
// ErrUnavailable when the broker could not be asked by the end of ctx, and with ErrClosed.
func (t *Transport) NotificationQueues(ctx context.Context, targets []Target, priorities []Priority, pool string) ([]NotificationQueue, error) {
	op := operation{verb: "inspect queues"}
	if len(targets) == 1 {
		op.target = targets[0]
	}
	topics, err := t.notificationTopics(targets, priorities, op)
	if err != nil {
		return nil, err
	}
	if err := t.requires(driver.CapQueues, "the inspection of queues", op); err != nil {
		return nil, err
	}
	inspector, ok := t.conn.(driver.QueueInspector)
	if !ok {
		return nil, op.errorf(CodeUnsupported, nil, "the driver has no way to tell what waits in queues")
	}
	if pool != "" {
		if problem, hint := textProblem(pool); problem != "" {
			e := op.errorf(CodeConfig, nil, "the pool %s %s", quoteIfNeeded(truncate(pool, 64)), problem)
			e.Hint = hint
			return nil, e
		}
		if err := t.requires(driver.CapPools, "pools of notification listeners", op); err != nil {
			return nil, err
		}
	}
	if err := t.enter(op); err != nil {
		return nil, err
	}
	defer t.leave()
	found, err := inspector.Queues(ctx, topics, pool)
	if _, told := errors.AsType[*driver.Error](err); !told && errors.Is(err, context.DeadlineExceeded) {
		e := op.errorf(CodeUnavailable, err, "the broker was not asked in time")
		e.Hint = "check that the broker runs and is reachable: parley doctor tells more"
		return nil, e
	}
	if err != nil {
		return nil, op.wrap(err)
	}
	queues := make([]NotificationQueue, len(found))
	for i, q := range found {
		queues[i] = newNotificationQueue(q)
	}
	return queues, nil
}

// notificationTopics are what listeners of the targets take, each once.
func (t *Transport) notificationTopics(targets []Target, priorities []Priority, op operation) ([]driver.NotificationTopic, error) {
	if len(targets) == 0 {
		return nil, op.errorf(CodeInvalidTarget, nil, "no target is given")
	}
	if len(priorities) == 0 {
		priorities = Priorities()
	}
	for _, p := range priorities {
		if !slices.Contains(Priorities(), p) {
			e := op.errorf(CodeConfig, nil, "there is no priority %s", quoteIfNeeded(truncate(string(p), 64)))
			e.Hint = "use one of " + priorityList()
			return nil, e
		}
	}
	var topics []driver.NotificationTopic
	for _, target := range targets {
		if err := target.validate(roleNotificationListener); err != nil {
			return nil, err
		}
		a := target.address(t.opts.DefaultExchange)
		for _, p := range priorities {
			topic := driver.NotificationTopic{Exchange: a.Exchange, Topic: a.Topic, Priority: string(p)}
			if !slices.Contains(topics, topic) {
				topics = append(topics, topic)
			}
		}
	}
	return topics, nil
}

func newNotificationQueue(q driver.QueueStatus) NotificationQueue {
	out := NotificationQueue{
		Name: q.Name, Pool: q.Pool, Exists: q.Exists, Messages: q.Messages, Consumers: int(q.Consumers),
	}
	for _, n := range q.Topics {
		out.Topics = append(out.Topics, NotificationTopic{Exchange: n.Exchange, Topic: n.Topic, Priority: Priority(n.Priority)})
	}
	return out
}
