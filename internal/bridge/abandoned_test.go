// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// countingDriver counts what is open in it.
type countingDriver struct {
	driver.Driver
	conns, listeners atomic.Int64
	hold             chan struct{} // Close waits for it, if there is one
}

func (d *countingDriver) Open(ctx context.Context, cfg driver.Config) (driver.Conn, error) {
	c, err := d.Driver.Open(ctx, cfg)
	if err == nil {
		d.conns.Add(1)
	}
	return &countedConn{c, d}, err
}

type countedConn struct {
	driver.Conn
	d *countingDriver
}

func (c *countedConn) Listen(ctx context.Context, src driver.Source) (driver.Listener, error) {
	l, err := c.Conn.Listen(ctx, src)
	if err == nil {
		c.d.listeners.Add(1)
	}
	return &countedListener{l, c.d}, err
}

func (c *countedConn) Close(ctx context.Context) error {
	if c.d.hold != nil {
		<-c.d.hold
	}
	defer c.d.conns.Add(-1)
	return c.Conn.Close(ctx)
}

type countedListener struct {
	driver.Listener
	d *countingDriver
}

func (l *countedListener) Close(ctx context.Context) error {
	defer l.d.listeners.Add(-1)
	return l.Listener.Close(ctx)
}

func (d *countingDriver) empty() bool { return d.conns.Load() == 0 && d.listeners.Load() == 0 }

func serverSource(topic string) driver.Source {
	return driver.Source{
		Kind: driver.SourceServer, Settle: driver.SettleOnDone,
		Target: driver.Target{Exchange: "e", Topic: topic, Server: "s"},
	}
}

// TestBrokenSendStreamClosesTheConnection: the host opens it again under another number, and the
// old one must not go on consuming.
func TestBrokenSendStreamClosesTheConnection(t *testing.T) {
	d := &countingDriver{Driver: memory.New()}
	p := newPair(t, d, bridge.Limits{})
	ctx := within(t)
	other := p.open(t, "other")
	client := pb.NewDriverClient(p.cc)
	for name, end := range map[string]func(pb.Driver_SendClient, context.CancelFunc){
		"reset":             func(_ pb.Driver_SendClient, cancel context.CancelFunc) { cancel() },
		"half closed":       func(s pb.Driver_SendClient, _ context.CancelFunc) { _ = s.CloseSend() },
		"protocol error":    func(s pb.Driver_SendClient, _ context.CancelFunc) { _ = s.Send(&pb.SendHostFrame{Epoch: 1}) },
		"two, both go away": nil,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := client.Open(ctx, &pb.OpenRequest{Conn: 77, Epoch: testEpoch, VirtualHost: new("v")}); err != nil {
				t.Fatal(err)
			}
			send, cancel := openSend(t, client, 77)
			listenCtx, endListen := context.WithCancel(ctx)
			defer endListen()
			listen, err := client.Listen(listenCtx)
			if err != nil {
				t.Fatal(err)
			}
			if err := listen.Send(&pb.ListenHostFrame{Epoch: testEpoch, Conn: 77, Source: &pb.Source{Kind: 1, Settle: 1, Topic: "t", Server: "s"}}); err != nil {
				t.Fatal(err)
			}
			if frame, err := listen.Recv(); err != nil || !frame.GetListening() {
				t.Fatal(frame, err)
			}
			if end == nil {
				second, cancelSecond := openSend(t, client, 77)
				cancelSecond()
				_, _ = second.Recv()
				cancel()
			} else {
				end(send, cancel)
			}
			// The listener was told, and nothing of the connection is left.
			if _, err := listen.Recv(); driver.ReasonOf(bridge.FromGRPC(err)) != driver.ReasonClosed {
				t.Errorf("the listener ended with %v", err)
			}
			eventually(t, "the connection is closed", func() bool { return d.conns.Load() == 1 && d.listeners.Load() == 0 })
			if _, err := client.Ping(ctx, &pb.PingRequest{Conn: 77, Epoch: testEpoch}); driver.ReasonOf(bridge.FromGRPC(err)) != driver.ReasonClosed {
				t.Errorf("ping: %v", err)
			}
			if err := other.Send(ctx, []*driver.Message{castTo("t", "1", nil)}); err != nil {
				t.Errorf("another connection was harmed: %v", err)
			}
		})
	}
}

// openSend opens a Send stream of a connection and waits until the driver knows of it.
func openSend(t *testing.T, client pb.DriverClient, conn uint64) (pb.Driver_SendClient, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(within(t))
	t.Cleanup(cancel)
	send, err := client.Send(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := send.Send(&pb.SendHostFrame{Epoch: testEpoch, Conn: conn, First: 1, Messages: []*pb.Message{{Kind: 2, Exchange: "e", Topic: "none"}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := send.Recv(); err != nil {
		t.Fatal(err)
	}
	return send, cancel
}

// TestAbandonClosesInTheDriver is the same by the host's own means, and CloseAll waits for it.
func TestAbandonClosesInTheDriver(t *testing.T) {
	d := &countingDriver{Driver: memory.New(), hold: make(chan struct{})}
	p := newPair(t, d, bridge.Limits{})
	ctx := within(t)
	c := p.open(t, "v")
	if _, err := c.Listen(ctx, serverSource("t")); err != nil {
		t.Fatal(err)
	}
	c.Abandon()
	eventually(t, "its listener is closed", func() bool { return d.listeners.Load() == 0 })
	closed := make(chan error, 1)
	go func() { closed <- p.server.CloseAll(ctx) }()
	select {
	case err := <-closed:
		t.Errorf("CloseAll did not wait for a connection that is being closed: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(d.hold)
	if err := <-closed; err != nil || !d.empty() {
		t.Errorf("CloseAll: %v, %d connections left", err, d.conns.Load())
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	ctx := within(t)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not in time: %s", what)
		}
	}
}
