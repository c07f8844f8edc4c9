// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

func castTo(topic, id string, body []byte) *driver.Message {
	return &driver.Message{Kind: driver.Cast, Target: driver.Target{Exchange: "e", Topic: topic}, UniqueID: id, Body: body}
}

func TestMessageAboveTheLimitIsRefusedBeforeSending(t *testing.T) {
	limits := bridge.Limits{MaxFrameBytes: 1 << 20, MaxMessageBytes: 1 << 20}
	p := newPair(t, memory.New(), limits)
	c := p.open(t, "v")
	ctx := within(t)
	err := c.Send(ctx, []*driver.Message{castTo("t", "1", make([]byte, 1<<20))})
	if driver.ReasonOf(err) != driver.ReasonMessageTooLarge {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{"1048643 bytes", "limit is 1048576", "MaxMessageBytes"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not name %q: %v", part, err)
		}
	}
	if err := c.Send(ctx, []*driver.Message{castTo("t", "2", make([]byte, 1<<19))}); err != nil {
		t.Errorf("a message below the limit: %v", err)
	}
}

func TestSmallerLimitOfTheTwoSidesCounts(t *testing.T) {
	p := newPair(t, memory.New(), bridge.Limits{MaxFrameBytes: 1 << 20})
	peer, err := bridge.Hello(within(t), p.cc, bridge.HelloOptions{Epoch: testEpoch, Limits: bridge.Limits{MaxFrameBytes: 64 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	if got := peer.Limits().MaxFrameBytes; got != 1<<20 {
		t.Errorf("agreed on %d", got)
	}
}

func TestHelloRefusesAnotherMajorAndAnotherEpoch(t *testing.T) {
	p := newPair(t, memory.New(), bridge.Limits{})
	client := pb.NewDriverClient(p.cc)
	for name, r := range map[string]*pb.HelloRequest{
		"another major": {ProtocolMajors: []uint32{2, 3}, Epoch: testEpoch},
		"no epoch":      {ProtocolMajors: []uint32{1}},
		"another epoch": {ProtocolMajors: []uint32{1}, Epoch: testEpoch + 1},
	} {
		_, err := client.Hello(within(t), r)
		if got := driver.ReasonOf(bridge.FromGRPC(err)); got != driver.ReasonProtocol {
			t.Errorf("%s: got %v (%v)", name, got, err)
		}
	}
}

func TestFramesOfAnotherEpochEndTheStream(t *testing.T) {
	p := newPair(t, memory.New(), bridge.Limits{})
	p.open(t, "v")
	client := pb.NewDriverClient(p.cc)
	ctx := within(t)
	send, err := client.Send(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := send.Send(&pb.SendHostFrame{Epoch: testEpoch, Conn: 1}); err != nil {
		t.Fatal(err)
	}
	if err := send.Send(&pb.SendHostFrame{Epoch: testEpoch - 1, First: 1, Messages: []*pb.Message{{Kind: 2, Topic: "t"}}}); err != nil {
		t.Fatal(err)
	}
	_, err = send.Recv()
	if got := driver.ReasonOf(bridge.FromGRPC(err)); got != driver.ReasonProtocol {
		t.Errorf("a send of an old epoch: %v", err)
	}
	listen, err := client.Listen(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := listen.Send(&pb.ListenHostFrame{Epoch: testEpoch - 1, Conn: 1}); err != nil {
		t.Fatal(err)
	}
	_, err = listen.Recv()
	if got := driver.ReasonOf(bridge.FromGRPC(err)); got != driver.ReasonProtocol {
		t.Errorf("a listener of an old epoch: %v", err)
	}
}

func TestErrorsCrossTheBoundaryWithEverythingTheySay(t *testing.T) {
	for _, reason := range driver.Reasons() {
		want := &driver.Error{
			Reason: reason, Message: "what failed", Hint: "what to do", Retryable: true, InDoubt: true,
			RetryAfter: 1500 * time.Millisecond,
		}
		for name, got := range map[string]error{
			"frame": bridge.StatusFromProto(bridge.StatusToProto(want)),
			"call":  bridge.FromGRPC(bridge.ToGRPC(want)),
		} {
			e, ok := errors.AsType[*driver.Error](got)
			if !ok || *e != *want {
				t.Errorf("%s in a %s: got %#v", reason, name, got)
			}
		}
	}
}

// brokenDriver panics, or returns too much.
type brokenDriver struct{ driver.Driver }

func (d brokenDriver) Open(ctx context.Context, cfg driver.Config) (driver.Conn, error) {
	if cfg.VirtualHost == "panic-open" {
		panic("open: boom")
	}
	c, err := d.Driver.Open(ctx, cfg)
	return brokenConn{c}, err
}

type brokenConn struct{ driver.Conn }

func (brokenConn) Send(context.Context, []*driver.Message) error { panic("send: boom") }

func (c brokenConn) Listen(context.Context, driver.Source) (driver.Listener, error) {
	return brokenListener{}, nil
}

type brokenListener struct{}

func (brokenListener) Poll(_ context.Context, max int) ([]*driver.Delivery, error) {
	return make([]*driver.Delivery, max+1), nil
}
func (brokenListener) Done(context.Context, []driver.Outcome) error { return nil }
func (brokenListener) Close(context.Context) error                  { return nil }

func TestPanicOfADriverIsAnErrorOfOneCall(t *testing.T) {
	p := newPair(t, brokenDriver{memory.New()}, bridge.Limits{})
	ctx := within(t)
	_, err := p.peer.Open(ctx, driver.Config{VirtualHost: "panic-open", HasVirtualHost: true})
	if driver.ReasonOf(err) != driver.ReasonDriverBug || !strings.Contains(err.Error(), "open: boom") {
		t.Errorf("open: %v", err)
	}
	c := p.open(t, "v")
	err = c.Send(ctx, []*driver.Message{castTo("t", "1", nil)})
	if e := driver.AsError(err); e.Reason != driver.ReasonDriverBug || !e.InDoubt {
		t.Errorf("send: %v", err)
	}
	l, err := c.Listen(ctx, driver.Source{Kind: driver.SourceServer, Settle: driver.SettleOnPoll, Target: driver.Target{Topic: "t", Server: "s"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Poll(ctx, 4); driver.ReasonOf(err) != driver.ReasonDriverBug || !strings.Contains(err.Error(), "POLL-1") {
		t.Errorf("poll: %v", err)
	}
	if err := l.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestCancelledSendIsWithdrawn(t *testing.T) {
	d := &stuckDriver{Driver: memory.New(), begun: make(chan struct{})}
	p := newPair(t, d, bridge.Limits{})
	c := p.open(t, "v")
	ctx, cancel := context.WithCancel(within(t))
	sent := make(chan error, 1)
	go func() { sent <- c.Send(ctx, []*driver.Message{castTo("t", "1", nil)}) }()
	<-d.begun
	cancel()
	// The driver's own word: it ended with its ctx and had sent nothing.
	if err := <-sent; !errors.Is(err, context.Canceled) || driver.AsError(err).InDoubt {
		t.Errorf("the sender got %v", err)
	}
}

func TestSendWithoutTheDriversWordIsInDoubt(t *testing.T) {
	d := &stuckDriver{Driver: memory.New(), begun: make(chan struct{}), hold: make(chan struct{})}
	p := newPair(t, d, bridge.Limits{})
	c := p.open(t, "v")
	ctx, cancel := context.WithCancel(within(t))
	sent := make(chan error, 1)
	go func() { sent <- c.Send(ctx, []*driver.Message{castTo("t", "1", nil)}) }()
	<-d.begun
	cancel()
	if err := <-sent; !errors.Is(err, context.Canceled) || !driver.AsError(err).InDoubt {
		t.Errorf("the sender got %v", err)
	}
	close(d.hold)
}

// stuckDriver's Send waits for its ctx, and then for hold if there is one.
type stuckDriver struct {
	driver.Driver
	begun, hold chan struct{}
}

func (d *stuckDriver) Open(ctx context.Context, cfg driver.Config) (driver.Conn, error) {
	c, err := d.Driver.Open(ctx, cfg)
	return stuckConn{c, d}, err
}

type stuckConn struct {
	driver.Conn
	d *stuckDriver
}

func (c stuckConn) Send(ctx context.Context, _ []*driver.Message) error {
	close(c.d.begun)
	<-ctx.Done()
	if c.d.hold != nil {
		<-c.d.hold
	}
	return ctx.Err()
}
