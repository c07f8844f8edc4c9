// SPDX-License-Identifier: Apache-2.0

package messaging

import "sync/atomic"

// TransportStats is what a transport has counted since it was made.
type TransportStats struct {
	// Waiting is how many calls wait for their answer now.
	Waiting int
	// Calls and Casts are how many requests were begun.
	Calls, Casts uint64
	// Notifications is how many were begun to be sent to the broker, one for each topic, and
	// NotificationsFailed how many of them neither the broker nor a [Spool] took.
	Notifications, NotificationsFailed uint64
	// NotificationsSpooled is how many of them went to a [Spool]; see [Spool.Stats] for what became
	// of them.
	NotificationsSpooled uint64
	// Retries is how many times a request was tried again; see [RPCClientOptions.Retry] and
	// [RPCClientOptions.Repeatable].
	Retries uint64
	// InDoubt is how many requests ended with nobody knowing whether the broker took them.
	InDoubt uint64
	// LateReplies is how many answers came to calls that had given up, and second copies.
	LateReplies uint64
	// DriverRestarts is how many times the driver's process was replaced.
	DriverRestarts uint64
}

// transportCounters are the counters behind TransportStats.
type transportCounters struct {
	calls, casts, retries, inDoubt, lateReplies atomic.Uint64
	notifications, notificationsFailed          atomic.Uint64
	notificationsSpooled                        atomic.Uint64
}

// Stats returns what the transport has counted.
func (t *Transport) Stats() TransportStats {
	s := TransportStats{
		Waiting: t.replies.waitingNow(),
		Calls:   t.counters.calls.Load(), Casts: t.counters.casts.Load(),
		Notifications: t.counters.notifications.Load(), NotificationsFailed: t.counters.notificationsFailed.Load(),
		NotificationsSpooled: t.counters.notificationsSpooled.Load(),
		Retries:              t.counters.retries.Load(), InDoubt: t.counters.inDoubt.Load(),
		LateReplies: t.counters.lateReplies.Load(),
	}
	if r, ok := t.conn.(interface{ Restarts() uint64 }); ok {
		s.DriverRestarts = r.Restarts()
	}
	return s
}

// ServerStats is what a server has counted since it was made.
type ServerStats struct {
	// Running is how many requests are being handled now, those that wait for others of their
	// key included. It is at most Concurrency.
	Running int
	// Received is how many requests were taken from the broker, everything below included.
	Received uint64
	// Handled is how many handlers have returned, Failed how many of them with an error.
	Handled, Failed uint64
	// Refused is how many requests no endpoint had the method, version or namespace for.
	Refused uint64
	// Malformed is how many could not be understood, arguments and request context included;
	// their handlers did not run.
	Malformed uint64
	// Duplicates is how many were dropped because they had been received before, and Expired
	// how many because their caller's time was over. What is no request at all is only Received.
	Duplicates, Expired uint64
	// Returned is how many a shutdown gave back to the broker: not begun, or cut off.
	Returned uint64
	// RepliesResent is how many replies were sent again, because the broker did not take them or
	// the request came again; RepliesLost is how many were given up.
	RepliesResent, RepliesLost uint64
}

// serverCounters are the counters behind ServerStats.
type serverCounters struct {
	running                                       atomic.Int64
	received, handled, failed, refused, malformed atomic.Uint64
	duplicates, expired, returned, resent, lost   atomic.Uint64
}

// Stats returns what the server has counted.
func (s *RPCServer) Stats() ServerStats {
	c := &s.counters
	return ServerStats{
		Running: int(c.running.Load()), Received: c.received.Load(),
		Handled: c.handled.Load(), Failed: c.failed.Load(),
		Refused: c.refused.Load(), Malformed: c.malformed.Load(),
		Duplicates: c.duplicates.Load(), Expired: c.expired.Load(), Returned: c.returned.Load(),
		RepliesResent: c.resent.Load(), RepliesLost: c.lost.Load(),
	}
}
