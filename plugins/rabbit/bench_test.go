// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
	"github.com/parleymq/parley/sdk/envelope"
)

const inFlight = 256

// BenchmarkBroker measures against a real broker. "library" does the same work with the AMQP
// library alone, written as well as it allows: pipelined confirms, one channel a direction.
func BenchmarkBroker(b *testing.B) {
	broker := peertest.RunSharedRabbitMQ(b)
	b.Run("publish", func(b *testing.B) { benchmarkPublish(newBench(b, broker), b, 1) })
	b.Run("publish batches of 16", func(b *testing.B) { benchmarkPublish(newBench(b, broker), b, 16) })
	b.Run("publish library", func(b *testing.B) { benchmarkPublishLibrary(newBench(b, broker), b) })
	b.Run("publish and consume", func(b *testing.B) { benchmarkThrough(newBench(b, broker), b) })
	b.Run("publish and consume library", func(b *testing.B) { benchmarkThroughLibrary(newBench(b, broker), b) })
	for _, prove := range []string{"false", "true"} {
		b.Run("round trip, confirm acks "+prove, func(b *testing.B) {
			benchmarkRoundTrip(newBench(b, broker), b, map[string]string{optConfirmAcks: prove})
		})
	}
}

// benchmarkPublish sends to a queue that nobody reads, with a window of unconfirmed messages.
func benchmarkPublish(bn *bench, b *testing.B, size int) {
	c := bn.open(nil)
	ch := bn.raw()
	// A queue that keeps one message: what is measured is not the broker's memory.
	testkit.Must(b, ch.ExchangeDeclare("openstack", "topic", false, false, false, false, nil))
	_, err := ch.QueueDeclare("sink", false, false, false, false, amqp.Table{"x-max-length": int32(1)})
	testkit.Must(b, err)
	testkit.Must(b, ch.QueueBind("sink", "v", "openstack", false, nil))
	bn.send(c, testkit.Cast(0))
	window := make(chan struct{}, inFlight)
	batch := make([]*driver.Message, size)
	for i := range batch {
		batch[i] = testkit.Cast(i)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += size {
		for range size {
			window <- struct{}{}
		}
		c.SendAsync(context.Background(), batch, func(_ int, err error) {
			if err != nil {
				b.Error(err)
			}
			<-window
		})
	}
	for range inFlight {
		window <- struct{}{}
	}
}

func benchmarkPublishLibrary(bn *bench, b *testing.B) {
	ch := bn.raw()
	testkit.Must(b, ch.ExchangeDeclare("openstack", "topic", false, false, false, false, nil))
	_, err := ch.QueueDeclare("sink", false, false, false, false, amqp.Table{"x-max-length": int32(1)})
	testkit.Must(b, err)
	testkit.Must(b, ch.QueueBind("sink", "v", "openstack", false, nil))
	b.ReportAllocs()
	b.ResetTimer()
	publishLibrary(bn, ch, b.N)
}

// publishLibrary publishes n messages and waits for their confirms.
func publishLibrary(bn *bench, ch *amqp.Channel, n int) {
	testkit.Must(bn.t, ch.Confirm(false))
	window := make(chan *amqp.DeferredConfirmation, inFlight)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for dc := range window {
			dc.Wait()
		}
	}()
	m := testkit.Cast(0)
	var body []byte
	for range n {
		var err error
		body, err = envelope.Append(body[:0], m)
		testkit.Must(bn.t, err)
		dc, err := ch.PublishWithDeferredConfirm("openstack", "v", false, false, amqp.Publishing{
			ContentType: contentType, ContentEncoding: contentEncoding, DeliveryMode: amqp.Persistent, Body: body,
		})
		testkit.Must(bn.t, err)
		window <- dc
	}
	close(window)
	<-done
}

// benchmarkThrough sends and receives each message, with a bounded number under way.
func benchmarkThrough(bn *bench, b *testing.B) {
	c := bn.open(nil)
	l := bn.listen(c, server(driver.SettleOnPoll))
	bn.send(c, testkit.Cast(0))
	testkit.Poll(soon(b), b, l, 1, inFlight)
	m := []*driver.Message{testkit.Cast(1)}
	window := make(chan struct{}, inFlight)
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; n < b.N; {
			ds, err := l.Poll(context.Background(), inFlight)
			if err != nil {
				b.Error(err)
				return
			}
			n += len(ds)
			for range ds {
				<-window
			}
		}
	})
	for range b.N {
		window <- struct{}{}
		c.SendAsync(context.Background(), m, func(_ int, err error) {
			if err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
}

func benchmarkThroughLibrary(bn *bench, b *testing.B) {
	ch, in := bn.raw(), bn.raw()
	testkit.Must(b, ch.ExchangeDeclare("openstack", "topic", false, false, false, false, nil))
	_, err := ch.QueueDeclare("v", false, false, false, false, nil)
	testkit.Must(b, err)
	testkit.Must(b, ch.QueueBind("v", "v", "openstack", false, nil))
	testkit.Must(b, in.Qos(inFlight, 0, false))
	deliveries, err := in.Consume("v", "", false, false, false, false, nil)
	testkit.Must(b, err)
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 1; n <= b.N; n++ {
			d := <-deliveries
			if _, err := envelope.Decode(d.ContentType, d.ContentEncoding, "", d.Body, envelope.Limits{}); err != nil {
				b.Error(err)
			}
			if n%32 == 0 || n == b.N {
				testkit.Must(b, d.Ack(true))
			}
		}
	})
	publishLibrary(bn, ch, b.N)
	wg.Wait()
}

// benchmarkRoundTrip is one message at a time: send, confirm, poll.
func benchmarkRoundTrip(bn *bench, b *testing.B, options map[string]string) {
	c := bn.open(options)
	l := bn.listen(c, server(driver.SettleOnPoll))
	m := []*driver.Message{testkit.Cast(1)}
	bn.send(c, m...)
	testkit.Poll(soon(b), b, l, 1, inFlight)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if err := c.Send(b.Context(), m); err != nil {
			b.Fatal(err)
		}
		if _, err := l.Poll(b.Context(), 1); err != nil {
			b.Fatal(err)
		}
	}
}
