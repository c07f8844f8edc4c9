// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/sdk/drivertest"
)

// TestConformance runs the suite that every driver runs, on a node of its own whose broker is
// stopped and started by it. Queues are durable there, so that a stopped broker keeps them.
func TestConformance(t *testing.T) {
	broker := peertest.RunRabbitMQ(t, nil)
	for _, confirm := range []string{"false", "true"} {
		options := map[string]string{"amqp_durable_queues": "true", optConfirmAcks: confirm}
		t.Run("confirm acks "+confirm, func(t *testing.T) { testConformance(t, broker, options) })
	}
}

func testConformance(t *testing.T, broker *peertest.RabbitMQ, options map[string]string) {
	b := newBench(t, broker)
	cfg := b.config(options)
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
			publishMalformed(ctx, t, broker.URL(b.vhost), to)
		},
	}
	// A node takes long to start. Acknowledgements have no part in what happens meanwhile.
	if options[optConfirmAcks] == "false" {
		h.StopBroker = func(_ context.Context, t drivertest.TB, _ string) {
			if err := broker.Kill(); err != nil {
				t.Fatalf("stop the broker: %v", err)
			}
		}
		h.StartBroker = func(ctx context.Context, t drivertest.TB, _ string) {
			if err := broker.Restart(ctx); err != nil {
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
