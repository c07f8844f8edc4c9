// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// errNacked is for a message that the broker did not take.
var errNacked = errors.New("the broker refused the message")

// RawNotifier notifies by hand: one channel, confirms pipelined.
type RawNotifier struct {
	link *rawLink
	text notificationText
	room chan rawUnconfirmed
}

// rawUnconfirmed is a message that the broker has not confirmed yet.
type rawUnconfirmed struct {
	confirm *amqp.DeferredConfirmation
	done    func(error)
}

// NewRawNotifier connects, and declares the queue.
func NewRawNotifier(s Setup) (*RawNotifier, error) {
	l, err := dialRaw(s.URL)
	if err != nil {
		return nil, err
	}
	if err := l.ch.Confirm(false); err != nil {
		return nil, err
	}
	n := &RawNotifier{link: l, text: newNotificationText(s.Size), room: make(chan rawUnconfirmed, pipelined)}
	go n.await()
	return n, declareNotifications(l.ch, s.Durable)
}

// await takes the confirms in their order, until Close.
func (n *RawNotifier) await() {
	for u := range n.room {
		u.done(confirmed(u.confirm))
	}
}

func confirmed(c *amqp.DeferredConfirmation) error {
	if !c.Wait() {
		return errNacked
	}
	return nil
}

// Close ends the connection.
func (n *RawNotifier) Close() error {
	close(n.room)
	return n.link.conn.Close()
}

// Run notifies as load says.
func (n *RawNotifier) Run(ctx context.Context, load Load) Result {
	if load.InFlight == 0 {
		return RunPipelined(ctx, load, n.begin)
	}
	return Run(ctx, load, func(context.Context) error {
		confirm, err := n.publish()
		if err != nil {
			return err
		}
		return confirmed(confirm)
	})
}

func (n *RawNotifier) publish() (*amqp.DeferredConfirmation, error) {
	body := n.text.append(make([]byte, 0, len(n.text.payload)+512))
	return n.link.ch.PublishWithDeferredConfirm(rawExchange, NotificationQueue, false, false, rawMessage(body))
}

func (n *RawNotifier) begin(_ context.Context, done func(error)) {
	confirm, err := n.publish()
	if err != nil {
		done(err)
		return
	}
	n.room <- rawUnconfirmed{confirm, done}
}

// RawListener listens by hand: it acknowledges each notification when it was handled.
type RawListener struct{ setup Setup }

// Run handles load.Count notifications.
func (l RawListener) Run(ctx context.Context, load Load) Result {
	begin := time.Now()
	link, err := dialRaw(l.setup.URL)
	if err != nil {
		return Result{Errors: 1, Error: err.Error()}
	}
	defer link.conn.Close() //nolint:errcheck // what was not acknowledged is given to the next one
	deliveries, err := l.consume(link.ch)
	if err != nil {
		return Result{Errors: 1, Error: err.Error()}
	}
	h, ended := newHandled(load.Count), make(chan error, 1)
	go func() { // ends with the connection
		for d := range deliveries {
			if err := handleRaw(d); err != nil {
				ended <- err
				return
			}
			h.add(1)
		}
	}()
	return h.result(ctx, begin, ended)
}

// NewRawListener returns a listener that does nothing yet.
func NewRawListener(s Setup) RawListener { return RawListener{s} }

func (l RawListener) consume(ch *amqp.Channel) (<-chan amqp.Delivery, error) {
	if err := declareNotifications(ch, l.setup.Durable); err != nil {
		return nil, err
	}
	if err := ch.Qos(rawPrefetch, 0, false); err != nil {
		return nil, err
	}
	return ch.Consume(NotificationQueue, "1", false, false, false, false, nil)
}

// handleRaw finds the payload in the escaped text.
func handleRaw(d amqp.Delivery) error {
	if !bytes.Contains(d.Body, []byte(`\"payload\": {`)) {
		return fmt.Errorf("notification of another shape: %.200s", d.Body)
	}
	return d.Ack(false)
}
