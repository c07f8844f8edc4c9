// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"

	"github.com/parleymq/parley/plugin/driver"
)

// pendingNotifications bounds what NotifyAndForget has under way. Notifiers derived from each other
// share it.
type pendingNotifications struct {
	room  chan struct{}
	async driver.AsyncSender
}

func newPendingNotifications(t *Transport, limit int) *pendingNotifications {
	return &pendingNotifications{room: make(chan struct{}, limit), async: asyncSender(t)}
}

// NotifyAndForget sends a notification to all outlets and does not wait for its fate, which
// OnResult and the counters are told: an error is returned nowhere else. It waits only for outlets
// other than the broker, and for room when MaxPending are under way.
//
// The order of notifications to a broker is that of the calls of one goroutine, but for one that
// had to be tried again while others followed; with a [Spool] that one waits there, and the others
// behind it. When ctx ends, or the timeout is over, what was not sent by then fails. The
// transport's Close waits for what is under way.
func (n *Notifier) NotifyAndForget(ctx context.Context, p Priority, eventType string, payload any) {
	if n.err == nil && !n.Enabled() {
		return
	}
	event, err := n.event(ctx, p, eventType, payload)
	if err != nil {
		n.forgotten(&Notification{PublisherID: n.s.publisherID, EventType: eventType, Priority: p}, err)
		return
	}
	for _, o := range n.s.outletsOf(ctx, event) {
		if b, ok := o.(brokerOutlet); ok {
			b.forget(ctx, n, event)
			continue
		}
		n.forgotten(event, callOutlet(ctx, o, event))
	}
}

// forgotten tells what became of a notification.
func (n *Notifier) forgotten(event *Notification, err error) {
	if n.s.onResult != nil {
		n.s.onResult(event, err)
	}
}

// forget sends n without waiting for its fate.
func (o brokerOutlet) forget(ctx context.Context, n *Notifier, event *Notification) {
	msgs, err := o.messages(event)
	if err != nil {
		n.forgotten(event, err)
		return
	}
	for _, m := range msgs {
		n.forgetMessage(ctx, event, m)
	}
}

// forgetMessage sends one message of a notification.
func (n *Notifier) forgetMessage(ctx context.Context, event *Notification, m topicMessage) {
	t := n.t
	t.counters.notifications.Add(1)
	bounded, cancel := context.WithTimeout(ctx, n.s.bound())
	if err := n.pending.begin(bounded, t, m.op, n.s.neverWait); err != nil {
		cancel()
		n.forgotten(event, t.notified(err))
		return
	}
	end := func(err error) {
		cancel()
		n.pending.end()
		n.forgotten(event, t.notified(err))
		t.leave()
	}
	if n.s.spool != nil {
		n.s.spool.send(bounded, m, end)
		return
	}
	n.pending.async.SendAsync(bounded, []*driver.Message{m.Message}, func(_ int, err error) {
		n.forgetTried(bounded, m, err, end)
	})
}

// forgetTried is told of the first try. It does not block.
func (n *Notifier) forgetTried(ctx context.Context, m topicMessage, err error, end func(error)) {
	tries := n.s.retries()
	pause, again := tries.after(err)
	if !again {
		end(sendError(ctx, m.op, err))
		return
	}
	go func() { // ends when the notification does, for which Close waits
		if sleep(ctx, pause) {
			n.t.counters.retries.Add(1)
			next := n.t.sendOften(ctx, m.Message, tries)
			if next == nil || !inDoubt(err) { // what one try left in doubt stays so
				err = next
			}
		}
		end(sendError(ctx, m.op, err))
	}()
}

// begin waits for room, unless the notifier never waits, and enters the transport.
func (p *pendingNotifications) begin(ctx context.Context, t *Transport, op operation, neverWait bool) error {
	select {
	case p.room <- struct{}{}:
		return p.enter(t, op)
	default:
	}
	if neverWait {
		return op.errorf(CodeUnavailable, nil, "%d notifications are under way, and this one does not wait for room", cap(p.room))
	}
	select {
	case p.room <- struct{}{}:
		return p.enter(t, op)
	case <-ctx.Done():
		return sendError(ctx, op, driver.Errorf(driver.ReasonOf(ctx.Err()), "the notification waited for others to be sent: %w", ctx.Err()))
	}
}

// enter enters the transport, with room taken.
func (p *pendingNotifications) enter(t *Transport, op operation) error {
	if err := t.enter(op); err != nil {
		<-p.room
		return err
	}
	return nil
}

func (p *pendingNotifications) end() { <-p.room }
