// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"encoding/json"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/internal/testbed"
)

const jsonType = "application/json"

// envelope wraps a message as upstream does.
func envelope(inner string) string {
	text, _ := json.Marshal(map[string]string{"oslo.version": "2.0", "oslo.message": inner})
	return string(text)
}

// rawPeer is a peer of the test bed, in the world of a test.
type rawPeer struct {
	t *testing.T
	*testbed.RawPeer
}

func newRawPeer(t *testing.T, w *world) *rawPeer {
	t.Helper()
	return &rawPeer{t, testbed.NewRawPeer(t, bed.Broker(t), w.vhost)}
}

func (p *rawPeer) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// consume declares a queue as upstream's server would and receives from it. Without an exchange
// it is a reply queue.
func (p *rawPeer) consume(queue, exchange, kind string) <-chan amqp.Delivery {
	p.t.Helper()
	_, err := p.QueueDeclare(queue, false, false, false, false, nil)
	p.must(err)
	if exchange != "" {
		p.must(p.ExchangeDeclare(exchange, kind, false, kind == "fanout", false, false, nil))
		p.must(p.QueueBind(queue, queue, exchange, false, nil))
	}
	messages, err := p.Consume(queue, "", true, false, false, false, nil)
	p.must(err)
	return messages
}

func jsonMessage(body string) amqp.Publishing {
	return amqp.Publishing{ContentType: jsonType, ContentEncoding: "utf-8", DeliveryMode: amqp.Persistent, Body: []byte(body)}
}

func next(t *testing.T, messages <-chan amqp.Delivery) amqp.Delivery {
	t.Helper()
	select {
	case d, ok := <-messages:
		if !ok {
			t.Fatal("the channel is closed")
		}
		return d
	case <-soon(t).Done():
		t.Fatal("no message")
	}
	return amqp.Delivery{}
}

// opened takes a message out of its envelope, which must have exactly its two keys.
func opened(t *testing.T, d amqp.Delivery) map[string]any {
	t.Helper()
	var outer map[string]string
	if err := json.Unmarshal(d.Body, &outer); err != nil || len(outer) != 2 || outer["oslo.version"] != "2.0" {
		t.Fatalf("the envelope is %s, %v", d.Body, err)
	}
	var inner map[string]any
	if err := json.Unmarshal([]byte(outer["oslo.message"]), &inner); err != nil {
		t.Fatalf("%s: %v", outer["oslo.message"], err)
	}
	return inner
}

// passive fails unless the queue exists.
func (p *rawPeer) passive(queue string) {
	p.t.Helper()
	_, err := p.QueueDeclarePassive(queue, false, false, false, false, nil)
	p.must(err)
}
