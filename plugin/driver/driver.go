// SPDX-License-Identifier: Apache-2.0

package driver

import "context"

// Driver opens connections to one kind of broker. It is oslo.messaging's BaseDriver
// (oslo_messaging/_drivers/base.py) cut at the place where a process boundary is cheap.
type Driver interface {
	// Describe tells the driver's name, version, options and capabilities.
	//
	//	DESC-1  It does no I/O and always returns the same.
	//	DESC-2  Name is what a URL's scheme says, and what the file is called after
	//	        "parley-driver-".
	//	DESC-3  Every option that Open understands is listed. The core validates a URL's
	//	        query against the list and refuses unknown names, so Open sees only
	//	        options that exist, with values of the declared type.
	Describe() Info

	// Open returns a connection for cfg.
	//
	//	OPEN-1  It checks what can be checked without the network and returns an [Error]
	//	        with ReasonConfig for what does not fit together.
	//	OPEN-2  It does not wait for the broker. It starts connecting and returns; a broker
	//	        that is away shows as [State] and in the errors of Send and Listen.
	//	OPEN-3  ctx bounds the call of Open only, not the life of the Conn.
	//	OPEN-4  The password in cfg appears in no error, log record or state.
	Open(ctx context.Context, cfg Config) (Conn, error)
}

// Conn is one logical connection to a broker: one transport of an application. Behind it
// may be any number of sockets.
type Conn interface {
	// Send hands a batch of messages to the broker.
	//
	//	SEND-1  It returns nil once the broker has taken all of them: confirmed, accepted,
	//	        stored, whatever the broker's strongest cheap promise is.
	//	SEND-2  When only some failed it returns a *[BatchError] that names each of them; any
	//	        other error stands for the whole batch. An empty batch is nil.
	//	SEND-3  It may be called from many goroutines at once. Messages of one batch are sent
	//	        in order; two calls in flight have no order between them. The SDK calls it
	//	        from one goroutine, with everything that was queued meanwhile as one batch.
	//	SEND-4  While the broker is away it waits, until ctx ends; then it fails with
	//	        ReasonNotConnected, or with the reason why connecting fails, or
	//	        ReasonBrokerBlocked: the cause says more than that time ran out, and Err holds
	//	        ctx's error. A cause that waiting does not heal (wrong password, missing
	//	        virtual host) fails at once. With CapDirect the receiver is what may be away
	//	        (DIRECT-1).
	//	SEND-5  A message that may or may not have reached the broker fails with
	//	        [Error.InDoubt] set. A driver MUST NOT send it a second time by itself.
	//	SEND-6  A Mandatory message that nobody can receive fails with ReasonNoRoute. Without
	//	        Mandatory it may vanish in silence. A queue that outlived its listeners counts
	//	        as somebody: the broker will keep the message. With CapDirect it does not vanish:
	//	        it waits, and fails in the end (DIRECT-1).
	//	SEND-7  A message whose TimeLeft has run out before it was sent fails with
	//	        ReasonExpired and is not sent. The broker drops a message that nobody took in
	//	        its TimeLeft, with the capability CapExpiry.
	//	SEND-8  A message larger than the broker takes fails with ReasonMessageTooLarge, and
	//	        nothing else is harmed.
	//	SEND-9  Namespace, version and method are inside Body, which is opaque. The driver
	//	        adds the framing of its wire around it, usually by sdk/envelope. What arrives
	//	        is the same JSON, every digit kept; the order of keys and the white space are
	//	        free.
	//	SEND-10 A FailFast message does not wait for a broker that is away: when the last try
	//	        to connect failed, or the connection was lost, or the broker blocks it, the
	//	        message fails at once, not in doubt, with the reason that SEND-4 gives in the
	//	        end. While the very first try of a Conn is under way it waits for the outcome.
	//	        It may overtake messages that wait. With CapDirect it does not wait for a receiver
	//	        either (DIRECT-3).
	//	SEND-11 Deadline arrives as it was, to the millisecond, or not at all.
	Send(ctx context.Context, batch []*Message) error

	// Listen declares what src needs at the broker and starts receiving from it.
	//
	//	LISTEN-1  It returns once messages sent from then on will be received.
	//	LISTEN-2  Listening again to the same Source, after a restart or at the same time, is
	//	          normal: queues are shared or taken over, nothing fails because it exists.
	//	LISTEN-3  Objects of the broker that others share are declared exactly as upstream's
	//	          driver for that broker does, or adopted when they exist.
	//	LISTEN-4  A SourceServer hears its topic (shared with other servers of the topic), its
	//	          own topic and server, and the topic's fanout (a copy of its own). Whether a
	//	          fanout without Scoped stays in its exchange depends on the wire; see
	//	          CapUnscopedFanout.
	//	LISTEN-5  A SourceReplies keeps its name over restarts of the driver and, while the
	//	          broker lives, what was sent to it meanwhile.
	//	LISTEN-6  After a loss of the broker the driver declares and consumes again by itself;
	//	          the Listener stays usable.
	//	LISTEN-7  A SourceNotifications without Pool shares each topic and priority with all
	//	          listeners without a pool; what was sent before anyone listened may be
	//	          waiting for them. A Pool gets a copy of what is sent from its first Listen on.
	//	LISTEN-8  A SourceServer whose Target is Scoped hears the Scoped fanouts of its own
	//	          exchange and topic and no others; one that is not hears none that are Scoped.
	//	          Everything else of a server is the same for both.
	Listen(ctx context.Context, src Source) (Listener, error)

	// Close ends the connection.
	//
	//	CLOSE-1  The core closes the Listeners first. Sends in flight get ctx to finish; what
	//	         did not finish fails with ReasonClosed.
	//	CLOSE-2  After it returned, no goroutine, socket or private broker object of the Conn
	//	         is left, except what must outlive a restart (LISTEN-5) and ends by its TTL.
	//	CLOSE-3  It returns when ctx ends at the latest.
	Close(ctx context.Context) error
}

// Listener is a stream of deliveries from one Source.
type Listener interface {
	// Poll waits for messages and returns at least one and at most max of them.
	//
	//	POLL-1  It never returns more than max, which is at least 1: that is the back-pressure.
	//	        What the broker is asked for ahead (prefetch) is bounded by the largest max seen,
	//	        for each queue that the Listener takes from.
	//	POLL-2  It returns what is there at once and never waits to fill a batch.
	//	POLL-3  It ends with ctx's error when ctx ends. A message is never lost by that: what
	//	        was not returned comes with the next Poll, or goes back to the broker.
	//	POLL-4  It is called from one goroutine at a time.
	//	POLL-5  With SettleOnPoll a message is acknowledged to the broker before Poll returns
	//	        it; a message whose acknowledgement fails is not returned.
	//	POLL-6  A message that cannot be decoded is rejected, logged once with the reason, and
	//	        never returned or redelivered for ever.
	//	POLL-7  A lost broker is not an error of Poll: it waits. Poll fails only when the
	//	        Listener can never work again, and with ReasonClosed when Stop or Close is
	//	        called while it waits.
	//	POLL-8  With CapExpiry the TimeLeft of a Call that was sent with one is at most what it
	//	        was sent with, less what it waited in the driver. It is negative when it ran out
	//	        there, never zero.
	//	POLL-9  With SettleOnPoll what is acknowledged and not returned yet is never more than
	//	        the caller may still poll for: it wants so many messages in all, asks each time
	//	        for at most those that are missing, and then not again. What were acknowledged
	//	        beyond that would reach nobody.
	Poll(ctx context.Context, max int) ([]*Delivery, error)

	// Done settles deliveries of this Listener. It is not called with SettleOnPoll. With
	// CapAckOnReceipt it does not wait (RECEIPT-1).
	//
	//	DONE-1  It may be called from any goroutine, also while Poll waits, in any order.
	//	DONE-2  Settling twice, or settling a delivery of a broken connection, is no error and
	//	        harms nothing: the broker gave or will give that message again.
	//	DONE-3  Requeued needs the capability Requeue; without it the driver rejects.
	Done(ctx context.Context, outcomes []Outcome) error

	// Close stops receiving.
	//
	//	CLOSE-4  What was taken from the broker and not returned by Poll, and what is not yet
	//	         done, goes back to the broker; what is in a queue of the listener's own, such
	//	         as its copy of a fanout, goes with it. With Source.AtMostOnce see RECEIPT-2.
	Close(ctx context.Context) error
}

// AsyncSender is an optional ability of a Conn: sending without a goroutine that waits for
// each batch. The SDK uses it when it is there and wraps Send otherwise.
type AsyncSender interface {
	// SendAsync does what Send does and reports the fate of each message by done.
	//
	//	ASYNC-1  done is called exactly once for each message, from any goroutine, also
	//	         before SendAsync returned. It does not block and does not call the Conn.
	//	ASYNC-2  SendAsync may block while the driver has no room; that is back-pressure.
	//	ASYNC-3  Called from one goroutine, the order of calls is the order of messages. Above
	//	         the process boundary a message that crosses it in chunks may be overtaken by
	//	         later calls, never by its own batch.
	//	ASYNC-4  When ctx ends, what has not left yet fails as SEND-4 says, or with
	//	         ReasonCancelled or ReasonExpired when nothing kept it back; for what has left,
	//	         the true result is reported when it is known, or InDoubt.
	SendAsync(ctx context.Context, batch []*Message, done func(index int, err error))
}

// Pinger is an optional ability of a Conn: prove that the broker answers.
type Pinger interface {
	// Ping returns nil once the broker has answered, or why it did not by the end of ctx.
	Ping(ctx context.Context) error
}

// Stopper is an optional ability of a Listener: to stop taking messages before it is closed,
// so that a server can drain. Without it the core cancels its Poll and closes.
type Stopper interface {
	// Stop takes no more messages from the broker.
	//
	//	STOP-1  After it returned, Poll returns what was taken with SettleOnPoll and not
	//	        returned yet, and then fails with ReasonClosed. With SettleOnDone what was not
	//	        returned may instead go back to the broker at once. Nothing is kept until Close.
	//	STOP-2  Done works until Close.
	//	STOP-3  It may be called while Poll waits, and more than once.
	Stop(ctx context.Context) error
}

// Receiver is an optional ability of a Listener: deliveries without a goroutine between the one
// that receives them and their use. The host's listeners have it; a driver need not.
type Receiver interface {
	// Receive is Poll in a loop: it calls f with what arrives until ctx ends or the Listener
	// can never work again, and returns why.
	//
	//	RECV-1  f is called by one goroutine at a time, with at least one delivery, and not
	//	        after Receive returned. It does not block: everything behind it waits.
	//	RECV-2  At most max deliveries are under way or in the hands of f's owner, who gives
	//	        them back one by one or many at a time with Release, from any goroutine.
	//	RECV-3  Poll is not called while Receive runs.
	Receive(ctx context.Context, max int, f func([]*Delivery)) error

	// Release gives back n of the deliveries that f was called with.
	Release(n int)
}
