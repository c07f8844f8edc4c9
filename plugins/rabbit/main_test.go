// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"maps"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of a test for something that must happen.
const patience = 20 * time.Second

// bench is a broker's virtual host and the connections that a test makes to it.
type bench struct {
	t      testing.TB
	broker *peertest.RabbitMQ
	vhost  string
	logs   *testkit.Logs
	tls    *peertest.TLSFiles // how clients speak TLS, nil for plain
	// options are those of each Conn, unless it says otherwise.
	options map[string]string
}

func newBench(t testing.TB, broker *peertest.RabbitMQ) *bench {
	t.Helper()
	return &bench{t: t, broker: broker, vhost: broker.NewVhost(t), logs: &testkit.Logs{}}
}

func (b *bench) config(options map[string]string) driver.Config {
	b.t.Helper()
	all := map[string]string{}
	maps.Copy(all, b.options)
	maps.Copy(all, options)
	options = all
	if b.tls == nil {
		return testkit.Config(b.t, newDriver(), b.broker.Addr(), b.vhost, b.logs, options)
	}
	return testkit.Config(b.t, newDriver(), b.tlsAddr(), b.vhost, b.logs, tlsOptions(b.tls, options))
}

// open opens a Conn that is closed with the test.
func (b *bench) open(options map[string]string) *conn {
	b.t.Helper()
	return open(b.t, b.config(options))
}

func open(t testing.TB, cfg driver.Config) *conn {
	t.Helper()
	return testkit.Open(t, newDriver(), cfg, 10*time.Second).(*conn)
}

func (b *bench) listen(c *conn, src driver.Source) *listener {
	b.t.Helper()
	l, err := c.Listen(soon(b.t), src)
	if err != nil {
		b.t.Fatalf("Listen: %v", err)
	}
	return l.(*listener)
}

// server is the Source of server s1 of topic v.
func server(settle driver.Settle) driver.Source { return testkit.Server("s1", settle) }

func failFast(n int) *driver.Message {
	m := testkit.Cast(n)
	m.FailFast = true
	return m
}

func call(replyTo string) *driver.Message {
	m := testkit.Call(replyTo)
	m.Deadline = time.Now() // which a Python server must not mind
	return m
}

func soon(t testing.TB) context.Context { return testkit.Within(t, patience) }

func (b *bench) send(c *conn, messages ...*driver.Message) {
	b.t.Helper()
	if err := c.Send(soon(b.t), messages); err != nil {
		b.t.Fatalf("Send: %v", err)
	}
}

// eventually waits for a condition of the broker or the driver.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	testkit.Eventually(t, patience, what, ok)
}

// raw is a channel of the AMQP library itself, to see and do what a peer would.
func (b *bench) raw() *amqp.Channel {
	b.t.Helper()
	conn, err := amqp.DialConfig("amqp://guest:guest@"+b.broker.Addr(), amqp.Config{Vhost: b.vhost})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		b.t.Fatal(err)
	}
	return ch
}

// ready is how many messages wait in a queue; -1 when there is no such queue.
func (b *bench) ready(ch **amqp.Channel, queue string) int {
	if *ch == nil || (*ch).IsClosed() {
		*ch = b.raw()
	}
	q, err := (*ch).QueueDeclarePassive(queue, false, false, false, false, nil)
	if err != nil {
		return -1
	}
	return q.Messages
}
