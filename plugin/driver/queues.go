// SPDX-License-Identifier: Apache-2.0

package driver

import "context"

// QueueInspector is an optional ability of a Conn: to tell what waits in the queues of
// notifications. A driver that declares CapQueues has it; of any other it is not asked.
type QueueInspector interface {
	// Queues looks at the queues that a SourceNotifications of these topics and this pool takes
	// from.
	//
	//	QUEUE-1  It names each queue once, in the order in which the topics first need it, with
	//	         all the given topics that it holds. Without topics there are no queues.
	//	QUEUE-2  It declares, changes and takes nothing. A queue that does not exist is told as
	//	         such and is no error, of this call or of anything else under way.
	//	QUEUE-3  The numbers are those of one moment. Messages are those that wait for a
	//	         listener, without what was delivered and is not done. Consumers are the
	//	         listeners, of whatever application, that can take from the queue now.
	//	QUEUE-4  While the broker is away it waits, until ctx ends; then it fails as Send does
	//	         (SEND-4). It changes nothing, so that the core may ask again.
	//	QUEUE-5  What was sent is seen once its Send has returned, and a listener once its Poll
	//	         waits, after a moment at most.
	Queues(ctx context.Context, topics []NotificationTopic, pool string) ([]QueueStatus, error)
}

// QueueStatus is what a broker tells of one queue of notifications.
type QueueStatus struct {
	// Name is the broker's name for it, for people and the broker's own tools.
	Name string
	// Pool is the pool whose listeners share it; empty for those without one.
	Pool string
	// Topics are those of the question whose notifications go there.
	Topics []NotificationTopic
	// Exists is false for a queue that nobody has made: what is sent to its topics does not wait
	// there. The numbers are then zero.
	Exists    bool
	Messages  uint64
	Consumers uint32
}
