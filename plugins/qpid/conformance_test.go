// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"maps"
	"sync"
	"testing"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
	"github.com/parleymq/parley/sdk/drivertest"
)

// messageLimit is how large a message the broker of the conformance suite takes, in bytes.
const messageLimit = 4 << 20

// TestConformance runs the suite that every driver runs, on a Broker-J that is away whenever the
// suite wants it: for who uses it, and with all it has stored. What happens when it is killed is
// looked at by TestBrokerKilledWhileSending and its like. What is sent without waiting for the
// broker can be lost with the connection, so that it is away in the run where casts wait.
func TestConformance(t *testing.T) {
	broker := peertest.RunBrokerJ(t, &peertest.BrokerJOptions{
		Properties: map[string]string{"qpid.max_message_size": "4194304"},
	})
	t.Run("both", func(t *testing.T) {
		t.Run("default", func(t *testing.T) {
			t.Parallel()
			drivertest.Run(t, conformance(broker.Addr(), nil))
		})
		t.Run("reliable casts", func(t *testing.T) {
			t.Parallel()
			between := peertest.RunTCPProxy(t, broker.Addr())
			h := conformance(between.Addr(), map[string]string{optReliableCasts: "true"})
			h.MessageLimit = messageLimit
			users := &connsOf{open: h.Open}
			h.Open = users.Open
			h.StopBroker = func(_ context.Context, t drivertest.TB, namespace string) {
				t.Cleanup(func() { between.Refuse(false) })
				between.Refuse(true)
				between.Cut()
				users.awaitLoss(t, namespace)
			}
			h.StartBroker = func(context.Context, drivertest.TB, string) { between.Refuse(false) }
			drivertest.Run(t, h)
		})
	})
}

// connsOf knows the Conns of the case that runs.
type connsOf struct {
	open func(context.Context, drivertest.TB, string) driver.Conn

	mu        sync.Mutex
	namespace string  // guarded by mu
	conns     []*conn // guarded by mu
}

// Open is the harness's.
func (o *connsOf) Open(ctx context.Context, t drivertest.TB, namespace string) driver.Conn {
	c := o.open(ctx, t, namespace)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.namespace != namespace {
		o.namespace, o.conns = namespace, nil
	}
	o.conns = append(o.conns, c.(*conn))
	return c
}

// awaitLoss waits until all Conns know that their connection is lost: what is sent before that may
// be in doubt.
func (o *connsOf) awaitLoss(t drivertest.TB, namespace string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.namespace != namespace {
		return
	}
	for _, c := range o.conns {
		eventually(t.(testing.TB), "the connection is lost", func() bool {
			s, trouble, _ := c.link.Trouble()
			return s == nil || trouble != nil
		})
	}
}

func conformance(broker string, options map[string]string) drivertest.Harness {
	// The suite holds more unsettled messages at a time than upstream's options allow a link.
	all := map[string]string{optRPCCredit: "1000", optNotifyCredit: "1000", optReplyCredit: "1000"}
	maps.Copy(all, options)
	return drivertest.Harness{
		Info:    newDriver().Describe,
		Timeout: 2 * patience,
		Open: func(ctx context.Context, t drivertest.TB, namespace string) driver.Conn {
			c, err := newDriver().Open(ctx, testkit.Config(t.(testing.TB), newDriver(), broker, namespace, &testkit.Logs{}, all))
			if err != nil {
				t.Fatalf("open: %v", err)
			}
			return c
		},
		SendMalformed: func(ctx context.Context, t drivertest.TB, namespace string, to driver.Target) {
			sendMalformed(ctx, t, broker, "unicast."+namespace+"."+to.Exchange+"."+to.Topic)
		},
	}
}

// sendMalformed sends what no envelope is to an address.
func sendMalformed(ctx context.Context, t drivertest.TB, broker, address string) {
	conn, err := amqp.Dial(ctx, "amqp://"+broker, nil)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	defer func() { _ = conn.Close() }() // the send was confirmed
	session, err := conn.NewSession(ctx, nil)
	if err != nil {
		t.Fatalf("session: %v", err)
	}
	sender, err := session.NewSender(ctx, address, nil)
	if err == nil {
		err = sender.Send(ctx, &amqp.Message{Value: `{"request": {"oslo.version": "9.0", "oslo.message": "{}"}}`}, nil)
	}
	if err != nil {
		t.Fatalf("send to %s: %v", address, err)
	}
}
