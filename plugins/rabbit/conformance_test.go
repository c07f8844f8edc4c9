// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
	"github.com/parleymq/parley/sdk/drivertest"
)

// TestConformance runs the suite that every driver runs, once on a node of its own whose broker is
// stopped and started by it. Queues are durable there, so that a stopped broker keeps them.
func TestConformance(t *testing.T) {
	t.Run("confirm acks false", func(t *testing.T) {
		broker := peertest.RunRabbitMQ(t, &peertest.RabbitMQOptions{Plain: true})
		testConformance(t, &bench{t: t, broker: broker, vhost: "/", logs: &testkit.Logs{}}, "false")
	})
	t.Run("confirm acks true", func(t *testing.T) {
		testConformance(t, newBench(t, peertest.RunSharedRabbitMQ(t)), "true")
	})
}

func testConformance(t *testing.T, b *bench, confirm string) {
	cfg := b.config(map[string]string{"amqp_durable_queues": "true", optConfirmAcks: confirm})
	h := drivertest.Harness{
		Info:    newDriver().Describe,
		Timeout: 2 * patience,
		Open: func(ctx context.Context, t drivertest.TB, _ string) driver.Conn {
			c, err := newDriver().Open(ctx, cfg)
			if err != nil {
				t.Fatalf("open: %v", err)
			}
			return c
		},
		SendMalformed: func(ctx context.Context, t drivertest.TB, _ string, to driver.Target) {
			publishMalformed(ctx, t, b.broker.URL(b.vhost), to)
		},
	}
	// Acknowledgements have no part in what happens meanwhile, so once is enough. That the node itself
	// is killed is in TestFaults.
	if confirm == "false" {
		h.StopBroker = func(ctx context.Context, t drivertest.TB, _ string) {
			if err := b.broker.CrashApp(ctx); err != nil {
				t.Fatalf("stop the broker: %v", errors.Join(err, b.broker.StartApp(ctx))) // for the cases behind this one
			}
		}
		h.StartBroker = func(ctx context.Context, t drivertest.TB, _ string) {
			if err := b.broker.StartApp(ctx); err != nil {
				t.Fatalf("start the broker: %v", err)
			}
		}
	}
	drivertest.Run(t, h)
}

// publishMalformed puts what no envelope is into a topic's queue.
func publishMalformed(ctx context.Context, t drivertest.TB, url string, to driver.Target) {
	conn, err := amqp.Dial("amqp" + url[len("rabbit"):])
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	defer conn.Close() //nolint:errcheck // the publish was confirmed
	ch, err := conn.Channel()
	if err == nil {
		err = ch.Confirm(false)
	}
	if err != nil {
		t.Fatalf("channel: %v", err)
	}
	confirm, err := ch.PublishWithDeferredConfirmWithContext(ctx, to.Exchange, to.Topic, false, false, amqp.Publishing{
		ContentType: "application/json", ContentEncoding: "utf-8", Body: []byte(`{"oslo.version": "9.0", "oslo.message": "{}"}`),
	})
	if err == nil {
		_, err = confirm.WaitContext(ctx)
	}
	if err != nil {
		t.Fatalf("publish: %v", err)
	}
}
