// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// The hand-written opponent: oslo.messaging's wire with as little work as its author could
// think of. One connection and channel a direction, confirms pipelined, no JSON library.

const (
	rawExchange = "openstack"
	rawTimeout  = 60 * time.Second
	rawPrefetch = 256
)

// rawURL is a Parley URL as amqp091-go reads it.
func rawURL(url string) string { return strings.Replace(url, "rabbit://", "amqp://", 1) }

// rawLink is a connection with one channel.
type rawLink struct {
	conn *amqp.Connection
	ch   *amqp.Channel
}

func dialRaw(url string) (*rawLink, error) {
	conn, err := amqp.Dial(rawURL(url))
	if err != nil {
		return nil, err
	}
	ch, err := conn.Channel()
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &rawLink{conn: conn, ch: ch}, nil
}

// dialPublisher is a link with confirms, whose confirms and returns are taken in.
func dialPublisher(url string) (*rawLink, error) {
	l, err := dialRaw(url)
	if err != nil {
		return nil, err
	}
	if err := l.ch.Confirm(false); err != nil {
		return nil, err
	}
	confirms := l.ch.NotifyPublish(make(chan amqp.Confirmation, 4096))
	returns := l.ch.NotifyReturn(make(chan amqp.Return, 64))
	go func() { // ends when the channel is closed
		for range confirms { // nothing is done with a confirm but taking it
		}
	}()
	go func() { // ends when the channel is closed
		for range returns { // replies nobody waits for
		}
	}()
	return l, l.ch.ExchangeDeclare(rawExchange, "topic", false, false, false, false, nil)
}

// RawServer answers requests on a topic until ctx ends: the args come back as the result.
func RawServer(ctx context.Context, s Setup, ready func(address string)) error {
	in, err := dialRaw(s.URL)
	if err != nil {
		return err
	}
	defer in.conn.Close() //nolint:errcheck // the process ends
	out, err := dialPublisher(s.URL)
	if err != nil {
		return err
	}
	defer out.conn.Close() //nolint:errcheck // the process ends
	if err := out.ch.ExchangeDeclare(rawExchange, "topic", false, false, false, false, nil); err != nil {
		return err
	}
	if _, err := in.ch.QueueDeclare(s.Topic, false, false, false, false, nil); err != nil {
		return err
	}
	if err := in.ch.QueueBind(s.Topic, s.Topic, rawExchange, false, nil); err != nil {
		return err
	}
	if err := in.ch.Qos(rawPrefetch, 0, false); err != nil {
		return err
	}
	deliveries, err := in.ch.Consume(s.Topic, "1", false, false, false, false, nil)
	if err != nil {
		return err
	}
	ready("")
	for {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return errors.New("the broker closed the channel")
			}
			if err := d.Ack(false); err != nil {
				return err
			}
			if err := rawAnswer(ctx, out.ch, d.Body); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// rawAnswer finds what it needs in the escaped text and publishes the reply.
func rawAnswer(ctx context.Context, ch *amqp.Channel, body []byte) error {
	args, ok1 := between(body, `\"args\": `, `, \"version\"`)
	id, ok2 := between(body, `\"_msg_id\": \"`, `\"`)
	reply, ok3 := between(body, `\"_reply_q\": \"`, `\"`)
	if !ok1 || !ok2 || !ok3 {
		return fmt.Errorf("request of another shape: %.200s", body)
	}
	text := make([]byte, 0, len(args)+256)
	text = append(text, `{"oslo.version": "2.0", "oslo.message": "{\"result\": `...)
	text = append(text, args...)
	text = append(text, `, \"failure\": null, \"ending\": true, \"_msg_id\": \"`...)
	text = append(text, id...)
	text = append(text, `\", \"_unique_id\": \"`...)
	text = append(text, rawID()...)
	text = append(text, `\"}"}`...)
	return ch.PublishWithContext(ctx, "", string(reply), true, false, rawMessage(text))
}

func between(b []byte, before, after string) ([]byte, bool) {
	i := bytes.Index(b, []byte(before))
	if i < 0 {
		return nil, false
	}
	b = b[i+len(before):]
	j := bytes.Index(b, []byte(after))
	if j < 0 {
		return nil, false
	}
	return b[:j], true
}

func rawMessage(body []byte) amqp.Publishing {
	return amqp.Publishing{
		ContentType: "application/json", ContentEncoding: "utf-8", Headers: amqp.Table{},
		DeliveryMode: 2, Body: body,
	}
}

func rawID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

// RawClient makes calls by hand.
type RawClient struct {
	setup   Setup
	out, in *rawLink
	reply   string
	args    string // escaped, as it stands in the envelope

	mu      sync.Mutex
	waiting map[string]chan []byte // guarded by mu
}

// NewRawClient connects and takes in replies until Close.
func NewRawClient(s Setup) (*RawClient, error) {
	out, err := dialPublisher(s.URL)
	if err != nil {
		return nil, err
	}
	in, err := dialRaw(s.URL)
	if err != nil {
		return nil, err
	}
	c := &RawClient{setup: s, out: out, in: in, reply: "reply_" + rawID(), waiting: make(map[string]chan []byte)}
	escaped := strconv.Quote(string(Request(s.Size)))
	c.args = escaped[1 : len(escaped)-1]
	if _, err := in.ch.QueueDeclare(c.reply, false, false, false, false, amqp.Table{"x-expires": int32(1800000)}); err != nil {
		return nil, err
	}
	deliveries, err := in.ch.Consume(c.reply, "1", false, false, false, false, nil)
	if err != nil {
		return nil, err
	}
	go c.receive(deliveries)
	return c, nil
}

// Close ends the connections.
func (c *RawClient) Close() error {
	return errors.Join(c.out.conn.Close(), c.in.conn.Close())
}

// receive ends when the connection is closed.
func (c *RawClient) receive(deliveries <-chan amqp.Delivery) {
	for d := range deliveries {
		_ = d.Ack(false) // a broken channel ends the loop
		id, ok := between(d.Body, `\"_msg_id\": \"`, `\"`)
		if !ok {
			continue
		}
		c.mu.Lock()
		w := c.waiting[string(id)]
		delete(c.waiting, string(id))
		c.mu.Unlock()
		if w != nil {
			w <- d.Body
		}
	}
}

// Run makes the calls of a load. It cannot cast.
func (c *RawClient) Run(ctx context.Context, load Load) Result {
	if load.Cast {
		return Result{Errors: 1, Error: "the hand-written client of RabbitMQ makes calls alone"}
	}
	return Run(ctx, load, c.call)
}

// call makes one call and checks that its payload came back.
func (c *RawClient) call(ctx context.Context) error {
	id, w := rawID(), make(chan []byte, 1)
	c.mu.Lock()
	c.waiting[id] = w
	c.mu.Unlock()
	text := make([]byte, 0, len(c.args)+384)
	text = append(text, `{"oslo.version": "2.0", "oslo.message": "{\"method\": \"echo\", \"args\": `...)
	text = append(text, c.args...)
	text = append(text, `, \"version\": \"1.0\", \"_msg_id\": \"`...)
	text = append(text, id...)
	text = append(text, `\", \"_reply_q\": \"`...)
	text = append(text, c.reply...)
	text = append(text, `\", \"_timeout\": null, \"_unique_id\": \"`...)
	text = append(text, rawID()...)
	text = append(text, `\"}"}`...)
	m := rawMessage(text)
	m.Expiration = "60000"
	if err := c.out.ch.PublishWithContext(ctx, rawExchange, c.setup.Topic, false, false, m); err != nil {
		return err
	}
	timer := time.NewTimer(rawTimeout)
	defer timer.Stop()
	select {
	case body := <-w:
		if !bytes.Contains(body, []byte(c.args)) {
			return errors.New("the payload did not come back")
		}
		return nil
	case <-timer.C:
		return errors.New("no reply")
	case <-ctx.Done():
		return ctx.Err()
	}
}
