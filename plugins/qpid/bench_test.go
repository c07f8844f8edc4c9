// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"testing"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/plugin/driver"
)

// BenchmarkSend is calls to one topic, with so many unsettled at a time, by the driver and by hand.
// A receiver of the library takes them away.
func BenchmarkSend(b *testing.B) {
	broker := peertest.RunSharedBrokerJ(b)
	for _, n := range []int{1, 16, 128} {
		topic := fmt.Sprint("bench", n)
		to := "unicast.openstack." + topic
		drain(b, rawReceiver(b, broker.Addr(), to, &amqp.ReceiverOptions{Credit: 1000}))
		b.Run(fmt.Sprintf("hand/%d", n), func(b *testing.B) { sendByHand(b, broker.Addr(), to, topic, n) })
		b.Run(fmt.Sprintf("driver/%d", n), func(b *testing.B) { sendByDriver(b, broker.Addr(), topic, n) })
	}
}

// drain accepts what comes, until the benchmark ends.
func drain(b *testing.B, r *amqp.Receiver) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan struct{})
	b.Cleanup(func() {
		cancel()
		<-ended
	})
	go func() {
		defer close(ended)
		for {
			m, err := r.Receive(ctx, nil)
			if err != nil || r.AcceptMessage(ctx, m) != nil {
				return
			}
		}
	}()
}

func sendByHand(b *testing.B, addr, to, topic string, n int) {
	s := rawSession(b, addr)
	snd, err := s.NewSender(b.Context(), to, nil)
	if err != nil {
		b.Fatal(err)
	}
	body := string(callTo(topic, "id").Body)
	room := make(chan struct{}, n)
	b.ReportAllocs()
	for range b.N {
		room <- struct{}{}
		reply := "elsewhere"
		receipt, err := snd.SendWithReceipt(b.Context(), &amqp.Message{
			Header: &amqp.MessageHeader{Priority: 4}, Value: body, Properties: &amqp.MessageProperties{MessageID: "id", To: &to, ReplyTo: &reply},
		}, nil)
		if err != nil {
			b.Fatal(err)
		}
		go func() {
			if _, err := receipt.Wait(b.Context()); err != nil {
				b.Error(err)
			}
			<-room
		}()
	}
	for range n {
		room <- struct{}{}
	}
}

func sendByDriver(b *testing.B, addr, topic string, n int) {
	c, _ := openSender(b, addr, nil)
	if err := send(b, c, callTo(topic, "first")); err != nil {
		b.Fatal(err)
	}
	room := make(chan struct{}, n)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		room <- struct{}{}
		c.SendAsync(b.Context(), []*driver.Message{callTo(topic, "id")}, func(_ int, err error) {
			if err != nil {
				b.Error(err)
			}
			<-room
		})
	}
	for range n {
		room <- struct{}{}
	}
	b.StopTimer()
}
