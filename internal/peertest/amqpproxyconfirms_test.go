// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"context"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// confirmBench is a channel with confirms through a proxy, and a consumer of what it publishes.
type confirmBench struct {
	t          *testing.T
	ctx        context.Context
	proxy      *AMQPProxy
	ch         *amqp.Channel
	deliveries <-chan amqp.Delivery
}

func newConfirmBench(t *testing.T, rmq *RabbitMQ) *confirmBench {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	b := &confirmBench{t: t, ctx: ctx, proxy: RunAMQPProxy(t, rmq.Addr())}
	conn, err := amqp.Dial(strings.Replace(rmq.URLAt(b.proxy.Addr(), rmq.NewVhost(t)), "rabbit://", "amqp://", 1))
	b.must(err)
	t.Cleanup(func() { _ = conn.Close() }) // a test may have cut it
	b.ch, err = conn.Channel()
	b.must(err)
	b.must(b.ch.Confirm(false))
	_, err = b.ch.QueueDeclare("q", false, true, false, false, nil)
	b.must(err)
	// On the same channel: what the proxy puts between two frames must fit there.
	b.deliveries, err = b.ch.Consume("q", "", true, false, false, false, nil)
	b.must(err)
	return b
}

func (b *confirmBench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// publish publishes and waits until the messages were delivered.
func (b *confirmBench) publish(n int) []*amqp.DeferredConfirmation {
	b.t.Helper()
	confirms := make([]*amqp.DeferredConfirmation, n)
	for i := range confirms {
		var err error
		confirms[i], err = b.ch.PublishWithDeferredConfirmWithContext(b.ctx, "", "q", false, false, amqp.Publishing{Body: make([]byte, 300)})
		b.must(err)
	}
	for range n {
		select {
		case _, ok := <-b.deliveries:
			if !ok {
				b.t.Fatal("the channel was closed")
			}
		case <-b.ctx.Done():
			b.t.Fatal("a message was not delivered")
		}
	}
	return confirms
}

// come waits for confirms and reports whether the broker took the messages.
func (b *confirmBench) come(confirms []*amqp.DeferredConfirmation) bool {
	b.t.Helper()
	all := true
	for _, c := range confirms {
		acked, err := c.WaitContext(b.ctx)
		b.must(err)
		all = all && acked
	}
	return all
}

func TestAMQPProxyConfirms(t *testing.T) {
	rmq := RunSharedRabbitMQ(t)
	t.Run("held", func(t *testing.T) {
		b := newConfirmBench(t, rmq)
		b.proxy.HoldConfirms()
		confirms := b.publish(50)
		for _, c := range confirms {
			if c.Acked() {
				t.Fatal("a confirm came")
			}
		}
		b.proxy.ReleaseConfirms()
		if !b.come(confirms) || !b.come(b.publish(50)) {
			t.Error("a message was not confirmed")
		}
	})
	t.Run("delayed", func(t *testing.T) {
		b := newConfirmBench(t, rmq)
		const delay = 100 * time.Millisecond
		b.proxy.DelayConfirms(delay)
		began := time.Now()
		if !b.come(b.publish(50)) {
			t.Error("a message was not confirmed")
		}
		if took := time.Since(began); took < delay {
			t.Errorf("confirms came after %v", took)
		}
	})
	t.Run("cut", func(t *testing.T) {
		b := newConfirmBench(t, rmq)
		b.proxy.HoldConfirms()
		confirms := b.publish(5)
		b.proxy.CutAll()
		if b.come(confirms) {
			t.Error("messages were confirmed by a connection that was cut")
		}
	})
	t.Run("channel closed", func(t *testing.T) {
		b := newConfirmBench(t, rmq)
		b.proxy.HoldConfirms()
		confirms := b.publish(5)
		b.must(b.ch.Close())
		b.proxy.ReleaseConfirms()
		if b.come(confirms) {
			t.Error("messages were confirmed after the end of their channel")
		}
	})
}
