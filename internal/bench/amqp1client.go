// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	amqp "github.com/Azure/go-amqp"
)

// AMQP1Client makes calls and casts by hand.
type AMQP1Client struct {
	conn         *amqp.Conn
	in           *amqp.Receiver
	calls, casts *amqp1Sender // settled and unsettled never share a link at Broker-J
	reliable     bool         // casts wait to be accepted
	reply        string
	to           string
	args         string
	cancel       context.CancelFunc
	outcomes     chan amqp.SendReceipt // of calls, in their order

	mu      sync.Mutex
	waiting map[string]chan string // guarded by mu
	failed  error                  // guarded by mu
}

// NewAMQP1Client connects and takes in replies until Close.
func NewAMQP1Client(ctx context.Context, s Setup) (_ *AMQP1Client, err error) {
	c := &AMQP1Client{
		reliable: strings.Contains(s.URL, ReliableCasts), to: amqp1Address(s.Topic), args: string(Request(s.Size)),
		outcomes: make(chan amqp.SendReceipt, 4096), waiting: make(map[string]chan string),
	}
	if c.conn, err = dialAMQP1(ctx, s.URL); err != nil {
		return nil, err
	}
	session, err := c.conn.NewSession(ctx, nil)
	if err != nil {
		return nil, err
	}
	c.in, err = session.NewReceiver(ctx, "", &amqp.ReceiverOptions{
		Credit: amqp1ReplyCredit, DynamicAddress: true, SettlementMode: amqp.ReceiverSettleModeFirst.Ptr(), TargetAddress: "rpc-response",
	})
	if err != nil {
		return nil, err
	}
	c.reply = c.in.Address()
	if c.calls, err = newAMQP1Sender(ctx, c.conn, c.to); err != nil {
		return nil, err
	}
	if c.casts, err = newAMQP1Sender(ctx, c.conn, c.to); err != nil {
		return nil, err
	}
	ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go c.receive(ctx)
	go c.settle(ctx)
	return c, nil
}

// Close ends the connection.
func (c *AMQP1Client) Close() error {
	c.cancel()
	return c.conn.Close()
}

// receive ends with ctx or the connection.
func (c *AMQP1Client) receive(ctx context.Context) {
	for {
		m, err := c.in.Receive(ctx, nil)
		if err == nil {
			err = c.in.AcceptMessage(ctx, m) // does nothing for one that is settled
		}
		if err != nil {
			c.fail(err)
			return
		}
		text, err := amqp1Text(m)
		id, ok := m.Properties.CorrelationID.(string)
		if err != nil || !ok {
			continue
		}
		c.mu.Lock()
		w := c.waiting[id]
		delete(c.waiting, id)
		c.mu.Unlock()
		if w != nil {
			w <- text
		}
	}
}

// settle reads the outcomes of calls, and ends with ctx or the connection.
func (c *AMQP1Client) settle(ctx context.Context) {
	for {
		select {
		case r := <-c.outcomes:
			if err := amqp1Accepted(ctx, r); err != nil {
				c.fail(err)
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// fail notes why calls have no answer.
func (c *AMQP1Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = err
	}
}

// Run makes the calls or casts of a load.
func (c *AMQP1Client) Run(ctx context.Context, load Load) Result {
	if load.Cast {
		return RunCasts(ctx, load, c.cast, c.count)
	}
	return Run(ctx, load, c.echo)
}

// echo makes one call and checks that its payload came back.
func (c *AMQP1Client) echo(ctx context.Context) error {
	got, err := c.call(ctx, "echo", c.args)
	if err == nil && !strings.Contains(got, c.args) {
		return errors.New("the payload did not come back")
	}
	return err
}

func (c *AMQP1Client) count(ctx context.Context) (int, error) {
	got, err := c.call(ctx, "count", "{}")
	if err != nil {
		return 0, err
	}
	text, ok := textBetween(got, `{"response": `, `}`)
	if !ok {
		return 0, fmt.Errorf("answer of another shape: %.200s", got)
	}
	return strconv.Atoi(text)
}

func (c *AMQP1Client) cast(ctx context.Context) error {
	m := c.message("note", c.args)
	if !c.reliable {
		return c.casts.sendSettled(ctx, m)
	}
	r, err := c.calls.sendUnsettled(ctx, m)
	if err != nil {
		return err
	}
	return amqp1Accepted(ctx, r)
}

func (c *AMQP1Client) message(method, args string) *amqp.Message {
	return &amqp.Message{
		Header:     &amqp.MessageHeader{Priority: 4},
		Properties: &amqp.MessageProperties{To: &c.to},
		Value:      `{"request": {"method": "` + method + `", "args": ` + args + `, "version": "1.0"}, "context": {}}`,
	}
}

func (c *AMQP1Client) call(ctx context.Context, method, args string) (string, error) {
	id, w := rawID(), make(chan string, 1)
	c.mu.Lock()
	c.waiting[id] = w
	c.mu.Unlock()
	m := c.message(method, args)
	m.Header.TTL = rawTimeout
	m.Properties.MessageID, m.Properties.ReplyTo = id, &c.reply
	r, err := c.calls.sendUnsettled(ctx, m)
	if err != nil {
		return "", err
	}
	select {
	case c.outcomes <- r:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	timer := time.NewTimer(rawTimeout)
	defer timer.Stop()
	select {
	case text := <-w:
		return text, nil
	case <-timer.C:
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting, id)
		return "", errors.Join(errors.New("no reply"), c.failed)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
