// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"log/slog"
	"time"
)

// NotificationListenerOptions are the settings of a [NotificationListener]. Nil, and every zero
// field, mean the default.
type NotificationListenerOptions struct {
	// Pool names a pool of listeners. Listeners of one pool share the notifications, and every pool
	// gets all of them, from its first listener on. Without a pool a listener shares with all others
	// that have none. On RabbitMQ it is the name of a queue: it must not be that of a topic.
	Pool string
	// Concurrency is how many notifications, or batches, are handled at once. 1 handles one after
	// another, in the order they come. As many are taken from the broker, and no more; those that wait
	// count, for their turn or to come again. With handlers of batches it is that many batches, and
	// one that fills for each priority. Default: 64, or 4 when there are handlers of batches.
	Concurrency int
	// OrderBy, when set, names the key of a notification: those of one key are handled one after
	// another, in the order this listener takes them from the broker; the empty key is for those
	// without order. One that comes again comes after the others. A panic of OrderBy is a failure of
	// the notification. It is called on the goroutine that receives: it must be quick. It does not go
	// with handlers of batches.
	OrderBy func(n *Notification) string
	// Batch says how large the batches are that handlers of batches get; others have no use for it.
	// Default: those of BatchOptions.
	Batch *BatchOptions
	// Failure says what becomes of notifications whose handler fails.
	Failure FailurePolicy
	// ShutdownTimeout bounds the wait for handlers when the context of Serve ends. Shutdown
	// is bounded by its own context instead. Default: 30 seconds.
	ShutdownTimeout time.Duration
	// DedupeSize and DedupeAge bound the window in which a repeated notification is recognised,
	// dropped and settled. Defaults: 4096, 10 minutes.
	DedupeSize int
	DedupeAge  time.Duration
	// Serializer decodes request contexts, and payloads for typed handlers. Default: [JSON].
	Serializer Serializer
	// Logger replaces the transport's.
	Logger *slog.Logger
}

// BatchOptions are the settings of batches. A batch is of one priority.
type BatchOptions struct {
	// Size is how many notifications make a batch full, at most 10000. Default: 100.
	Size int
	// Timeout is how long the first notification of a batch waits for it to be full; longer while
	// as many batches as Concurrency says are being handled. Default: 1 s.
	Timeout time.Duration
}

// Limits of batches: of Size, and of how many notifications are taken from the broker for them.
const (
	maxBatchSize   = 10_000
	maxBatchIntake = 1<<16 - 1
)

// Defaults of [BatchOptions], and of the Concurrency of a listener with batches.
const (
	defaultBatchSize        = 100
	defaultBatchTimeout     = time.Second
	defaultBatchConcurrency = 4
)

// withDefaults fills in everything but Concurrency, which is settled when the handlers are known.
func (o *NotificationListenerOptions) withDefaults(t *Transport) NotificationListenerOptions {
	var c NotificationListenerOptions
	if o != nil {
		c = *o
	}
	c.Batch = c.Batch.withDefaults()
	c.Failure = c.Failure.withDefaults()
	if c.ShutdownTimeout <= 0 {
		c.ShutdownTimeout = DefaultShutdownTimeout
	}
	if c.DedupeSize <= 0 {
		c.DedupeSize = defaultDedupeSize
	}
	if c.DedupeAge <= 0 {
		c.DedupeAge = defaultDedupeAge
	}
	c.Serializer = fastSerializer(c.Serializer)
	if c.Logger == nil {
		c.Logger = t.opts.Logger
	}
	return c
}

func (o *BatchOptions) withDefaults() *BatchOptions {
	var c BatchOptions
	if o != nil {
		c = *o
	}
	if c.Size <= 0 {
		c.Size = defaultBatchSize
	}
	if c.Timeout <= 0 {
		c.Timeout = defaultBatchTimeout
	}
	return &c
}

// intake is how many notifications a listener has in its hands at most.
func (o *NotificationListenerOptions) intake(p *notificationPlan) int {
	if len(p.batched) == 0 {
		return o.Concurrency
	}
	return min(o.Batch.Size*(min(o.Concurrency, maxBatchIntake)+len(p.batched)), maxBatchIntake)
}
