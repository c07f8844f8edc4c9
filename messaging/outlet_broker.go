// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"cmp"
	"context"
	"sync"

	"github.com/parleymq/parley/plugin/driver"
)

// BrokerOutlet is the outlet that sends to the notifier's transport, in format unless the
// notification says another; zero is 2.0. Each topic of the notifier is a message of its own, and
// all are sent at the same time.
func BrokerOutlet(format NotificationFormat) Outlet {
	return brokerOutlet{cmp.Or(format, NotificationV2)}
}

type brokerOutlet struct{ format NotificationFormat }

// topicMessage is a notification as it leaves for one topic.
type topicMessage struct {
	*driver.Message
	op operation
}

// Notify implements [Outlet].
func (o brokerOutlet) Notify(ctx context.Context, n *Notification) error {
	s := n.settings
	if s == nil {
		e := operation{verb: "notify", method: n.EventType}.errorf(CodeConfig, nil, "the notification is not from a notifier")
		e.Hint = "an outlet must pass on the notification it was given, or a copy of it"
		return e
	}
	if err := s.t.enter(s.operation(n, "")); err != nil {
		return err
	}
	defer s.t.leave()
	msgs, err := o.messages(n)
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, s.bound())
	defer cancel()
	if len(msgs) == 1 {
		return s.send(bounded, msgs[0])
	}
	errs := make([]error, len(msgs))
	var sends sync.WaitGroup
	for i, m := range msgs {
		sends.Go(func() { errs[i] = s.send(bounded, m) })
	}
	sends.Wait()
	return joined(failures(errs))
}

// failures are the errors that are not nil.
func failures(errs []error) []error {
	var failed []error
	for _, err := range errs {
		if err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

// bodyRoom is more than a body has beside its payload, unless its names are long.
const bodyRoom = 384

// messages are n as it leaves for each topic.
func (o brokerOutlet) messages(n *Notification) ([]topicMessage, error) {
	s := n.settings
	op := s.operation(n, "")
	if err := s.t.requires(driver.CapNotifications, "notifications", op); err != nil {
		return nil, err
	}
	rc, err := encodeContext(n.Context)
	if err != nil {
		return nil, op.errorf(CodeEncoding, err, "the request context cannot be encoded: %v", err)
	}
	if err := driver.CheckHeaders(n.Headers); err != nil {
		return nil, op.errorf(CodeEncoding, err, "the headers cannot be sent: %v", err)
	}
	if err := n.checkPayload(); err != nil {
		return nil, op.errorf(CodeEncoding, err, "the payload is not JSON: %v", err)
	}
	body := n.appendBody(make([]byte, 0, len(n.Payload)+bodyRoom))
	msgs := make([]topicMessage, len(s.topics))
	for i, topic := range s.topics {
		msgs[i] = topicMessage{op: s.operation(n, topic), Message: &driver.Message{
			Kind: driver.Notification, Target: s.target(topic), Priority: string(n.Priority), Format: cmp.Or(n.Format, o.format),
			UniqueID: newID(), Context: rc, Body: body, Headers: n.Headers, FailFast: s.retry >= 0 || s.spool != nil,
		}}
	}
	return msgs, nil
}

// send sends one message, as often as the settings say, and counts what became of it.
func (s *notifierSettings) send(ctx context.Context, m topicMessage) error {
	s.t.counters.notifications.Add(1)
	if s.spool != nil {
		result := make(chan error, 1)
		s.spool.send(ctx, m, func(err error) { result <- err })
		return s.t.notified(<-result)
	}
	return s.t.notified(sendError(ctx, m.op, s.t.sendOften(ctx, m.Message, s.retries())))
}

// notified counts what became of a notification.
func (t *Transport) notified(err error) error {
	if err != nil {
		t.counters.notificationsFailed.Add(1)
	}
	if CodeOf(err) == CodeInDoubt {
		t.counters.inDoubt.Add(1)
	}
	return err
}
