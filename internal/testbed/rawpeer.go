// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/internal/peertest"
)

// rawTimeout bounds each step of a raw peer.
const rawTimeout = 20 * time.Second

// RawPeer is a peer that speaks AMQP itself, so that it can say what no library would.
type RawPeer struct {
	tb testing.TB
	*amqp.Channel
}

// NewRawPeer connects to a vhost until the end of the test. The broker confirms what it
// publishes.
func NewRawPeer(tb testing.TB, broker *peertest.RabbitMQ, vhost string) *RawPeer {
	tb.Helper()
	conn, err := amqp.DialConfig("amqp://guest:guest@"+broker.Addr(), amqp.Config{
		Vhost: vhost, Dial: amqp.DefaultDial(rawTimeout),
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		tb.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		tb.Fatal(err)
	}
	return &RawPeer{tb, ch}
}

// PublishRaw sends a message and waits until the broker has taken it.
func (p *RawPeer) PublishRaw(exchange, key string, m amqp.Publishing) {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(p.tb.Context(), rawTimeout)
	defer cancel()
	c, err := p.PublishWithDeferredConfirm(exchange, key, true, false, m)
	if err != nil {
		p.tb.Fatal(err)
	}
	if ok, err := c.WaitContext(ctx); !ok || err != nil {
		p.tb.Fatalf("the broker does not take it: %t, %v", ok, err)
	}
}
