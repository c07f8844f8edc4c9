// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// losing is a driver whose listeners return what a test puts into them.
type losing struct {
	*memory.Driver
	say chan []*driver.Delivery
}

func newLosing() losing { return losing{memory.NewDynamic(), make(chan []*driver.Delivery, 10)} }

func (d losing) Open(ctx context.Context, cfg driver.Config) (driver.Conn, error) {
	c, err := d.Driver.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return losingConn{pingingConn{c}, d}, nil
}

type losingConn struct {
	pingingConn
	d losing
}

func (c losingConn) Listen(ctx context.Context, src driver.Source) (driver.Listener, error) {
	l, err := c.Conn.Listen(ctx, src)
	if err != nil {
		return nil, err
	}
	return losingListener{l, c.d}, nil
}

type losingListener struct {
	driver.Listener
	d losing
}

func (l losingListener) Poll(ctx context.Context, _ int) ([]*driver.Delivery, error) {
	select {
	case ds := <-l.d.say:
		return ds, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func lostCall(id string, e *driver.Error) *driver.Delivery {
	return &driver.Delivery{Message: driver.Message{Kind: driver.Reply, CallID: id}, Lost: e}
}

func replySource() driver.Source {
	return driver.Source{Kind: driver.SourceReplies, Settle: driver.SettleOnDone, ReplyName: "reply_1"}
}

func listenTo(t *testing.T, c driver.Conn, src driver.Source) driver.Listener {
	t.Helper()
	l, err := c.Listen(within(t), src)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close(within(t)) }) // the test may have broken it
	return l
}

func pollOne(t *testing.T, l driver.Listener) *driver.Delivery {
	t.Helper()
	ds, err := l.Poll(within(t), 1)
	if err != nil || len(ds) != 1 {
		t.Fatalf("poll: %d deliveries, %v", len(ds), err)
	}
	return ds[0]
}

// TestLostRepliesCross: with what is said to be set, and no more of foreign texts than is good.
func TestLostRepliesCross(t *testing.T) {
	d := newLosing()
	l := listenTo(t, newPair(t, d, bridge.Limits{}).open(t, "v"), replySource())
	shared := &driver.Error{
		Reason: driver.ReasonNotConnected, Message: strings.Repeat("x", 1<<20), Hint: "look at \xff it", Retryable: true,
		RetryAfter: time.Second, Err: io.EOF,
	}
	loud := lostCall("call-1", shared)
	loud.Token, loud.Body, loud.UniqueID, loud.Redelivered = 5, []byte(`{}`), "u", true
	d.say <- []*driver.Delivery{loud}
	got := pollOne(t, l)
	if got.Kind != driver.Reply || got.CallID != "call-1" || got.Token != 0 || got.Body != nil || got.UniqueID != "" || got.Redelivered {
		t.Errorf("got %+v", got)
	}
	e := got.Lost
	if e == nil || !e.InDoubt || !e.Retryable || e.RetryAfter != time.Second || e.Reason != driver.ReasonNotConnected {
		t.Fatalf("got %#v", e)
	}
	if len(e.Message) > 2<<10 || e.Hint != "look at \uFFFD it" {
		t.Errorf("the text has %d bytes, the hint is %q", len(e.Message), e.Hint)
	}
	if shared.InDoubt {
		t.Error("the driver's own error was changed")
	}
}

// TestManyLostReplies: more than the credit, with long texts, between frames that are small.
func TestManyLostReplies(t *testing.T) {
	d := newLosing()
	l := listenTo(t, newPair(t, d, bridge.Limits{MaxFrameBytes: 64 << 10}).open(t, "v"), replySource())
	const n, max = 1000, 100
	go func() {
		for i := range n {
			d.say <- []*driver.Delivery{lostCall(strconv.Itoa(i), driver.Errorf(driver.ReasonInternal, "%s", strings.Repeat("y", 5000)))}
		}
	}()
	for i := 0; i < n; {
		ds, err := l.Poll(within(t), max)
		if err != nil {
			t.Fatalf("after %d: %v", i, err)
		}
		for _, got := range ds {
			if got.Lost == nil || got.CallID != strconv.Itoa(i) {
				t.Fatalf("call %d: got %+v", i, got)
			}
			i++
		}
	}
}

// TestLostRepliesThatMeanNothing are dropped at the driver's side, and harm nothing.
func TestLostRepliesThatMeanNothing(t *testing.T) {
	e := driver.Errorf(driver.ReasonInternal, "lost")
	reply := &driver.Delivery{Message: driver.Message{Kind: driver.Reply, CallID: "last"}, Token: 9}
	for name, tt := range map[string]struct {
		src  driver.Source
		lost *driver.Delivery
	}{
		"no call":       {replySource(), lostCall("", e)},
		"no text":       {replySource(), lostCall("\xff", e)},
		"a long name":   {replySource(), lostCall(strings.Repeat("c", 1<<20), e)},
		"of a server":   {serverSource("t"), lostCall("call-1", e)},
		"of the events": {driver.Source{Kind: driver.SourceNotifications, Settle: driver.SettleOnDone}, lostCall("call-1", e)},
	} {
		t.Run(name, func(t *testing.T) {
			d := newLosing()
			l := listenTo(t, newPair(t, d, bridge.Limits{}).open(t, "v"), tt.src)
			d.say <- []*driver.Delivery{tt.lost}
			d.say <- []*driver.Delivery{reply}
			if got := pollOne(t, l); got.CallID != "last" || got.Lost != nil {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// TestOldHostHearsOfNoLostReply: it would take one for an empty result.
func TestOldHostHearsOfNoLostReply(t *testing.T) {
	d := newLosing()
	p := newPairOf(t, d, quietConfig())
	client := pb.NewDriverClient(p.cc)
	ctx := within(t)
	if _, err := client.Hello(ctx, &pb.HelloRequest{ProtocolMajors: []uint32{1}, Epoch: testEpoch}); err != nil {
		t.Fatal(err)
	}
	stream := listenRaw(ctx, t, client)
	d.say <- []*driver.Delivery{
		lostCall("call-1", driver.Errorf(driver.ReasonInternal, "lost")),
		{Message: driver.Message{Kind: driver.Reply, CallID: "call-2"}, Token: 1},
	}
	frame, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if ds := frame.GetDeliveries(); len(ds) != 1 || ds[0].GetMessage().GetCallId() != "call-2" {
		t.Errorf("got %v", ds)
	}
}

// listenRaw listens to replies as a host does, with credit.
func listenRaw(ctx context.Context, t *testing.T, client pb.DriverClient) grpc.BidiStreamingClient[pb.ListenHostFrame, pb.ListenDriverFrame] {
	t.Helper()
	if _, err := client.Open(ctx, &pb.OpenRequest{Conn: 1, Epoch: testEpoch}); err != nil {
		t.Fatal(err)
	}
	stream, err := client.Listen(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, frame := range []*pb.ListenHostFrame{
		{Epoch: testEpoch, Conn: 1, Source: &pb.Source{Kind: 2, Settle: 2, ReplyName: "reply_1"}},
		{Epoch: testEpoch, CreditMessages: 10, CreditBytes: 1 << 20},
	} {
		if err := stream.Send(frame); err != nil {
			t.Fatal(err)
		}
	}
	if frame, err := stream.Recv(); err != nil || !frame.GetListening() {
		t.Fatalf("greeted with %v, %v", frame, err)
	}
	return stream
}

// hostileReplies answers each Listen with one frame.
type hostileReplies struct {
	*bridge.Server
	frame *pb.ListenDriverFrame
}

func (h hostileReplies) Listen(stream pb.Driver_ListenServer) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	if err := stream.Send(&pb.ListenDriverFrame{Epoch: testEpoch, Listening: true}); err != nil {
		return err
	}
	for sent := false; ; {
		frame, err := stream.Recv()
		if err != nil || frame.GetClose() {
			return err
		}
		if sent || frame.GetCreditMessages() == 0 {
			continue
		}
		if err := stream.Send(h.frame); err != nil {
			return err
		}
		sent = true
	}
}

// TestHostileLostReplies end their stream, and nothing else.
func TestHostileLostReplies(t *testing.T) {
	status := bridge.StatusToProto(driver.Errorf(driver.ReasonInternal, "lost"))
	for name, tt := range map[string]struct {
		src      driver.Source
		delivery *pb.Delivery
	}{
		"no call":      {replySource(), &pb.Delivery{Message: &pb.Message{Kind: 3}, Lost: status}},
		"no message":   {replySource(), &pb.Delivery{Lost: status}},
		"of a server":  {serverSource("t"), &pb.Delivery{Message: &pb.Message{Kind: 3, CallId: "c"}, Lost: status}},
		"a half chunk": {replySource(), &pb.Delivery{Message: &pb.Message{Kind: 3, CallId: "c", Chunks: 3}, Lost: status}},
	} {
		t.Run(name, func(t *testing.T) {
			server := bridge.NewServer(memory.NewDynamic(), quietConfig())
			c := openPeer(t, greet(t, hostileReplies{server, &pb.ListenDriverFrame{Epoch: testEpoch, Deliveries: []*pb.Delivery{tt.delivery}}}))
			ds, err := listenTo(t, c, tt.src).Poll(within(t), 1)
			if !errors.Is(err, &driver.Error{Reason: driver.ReasonProtocol}) {
				t.Errorf("got %d deliveries, %v", len(ds), err)
			}
			if err := c.Ping(within(t)); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// TestBareLostReply: whatever a driver says of it, the call is in doubt.
func TestBareLostReply(t *testing.T) {
	server := bridge.NewServer(memory.NewDynamic(), quietConfig())
	c := openPeer(t, greet(t, hostileReplies{server, &pb.ListenDriverFrame{Epoch: testEpoch, Deliveries: []*pb.Delivery{
		{Message: &pb.Message{Kind: 1, CallId: "c", Body: []byte("{}")}, Token: 3, Redelivered: true, Lost: &pb.Status{}},
	}}}))
	got := pollOne(t, listenTo(t, c, replySource()))
	if got.Lost == nil || !got.Lost.InDoubt || got.Lost.Reason != driver.ReasonInternal || got.Kind != driver.Reply || got.Token != 0 || got.Body != nil {
		t.Errorf("got %+v", got)
	}
}

// TestStopWithoutCredit: who never polled is told all the same that the listener has stopped.
func TestStopWithoutCredit(t *testing.T) {
	d := memory.NewDynamic()
	l := listenTo(t, newPair(t, d, bridge.Limits{}).open(t, "v"), replySource())
	if err := l.(driver.Stopper).Stop(within(t)); err != nil {
		t.Errorf("stop: %v", err)
	}
	if ds, err := l.Poll(within(t), 1); driver.ReasonOf(err) != driver.ReasonClosed {
		t.Errorf("poll after it: %d deliveries, %v", len(ds), err)
	}
}

// TestReceiverOfRepliesIsServedWhileItStops: what Stop waits for comes, beyond the credit that there
// was.
func TestReceiverOfRepliesIsServedWhileItStops(t *testing.T) {
	const calls, limit = 50, 4
	d := memory.NewDynamic()
	p := newPair(t, d, bridge.Limits{})
	c, peer := p.open(t, "v"), p.open(t, "v")
	ctx := within(t)
	server := listenTo(t, peer, serverSource("t"))
	replies := listenTo(t, c, replySource())
	batch := make([]*driver.Message, calls)
	for i := range batch {
		batch[i] = castTo("t", strconv.Itoa(i), []byte("{}"))
		batch[i].Kind, batch[i].CallID, batch[i].ReplyTo = driver.Call, fmt.Sprint("call-", i), "reply_1"
	}
	if err := c.Send(ctx, batch); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, calls)
	received := make(chan error, 1)
	receiver := replies.(driver.Receiver)
	go func() {
		received <- receiver.Receive(ctx, limit, func(ds []*driver.Delivery) {
			for _, d := range ds {
				got <- d.CallID
			}
			receiver.Release(len(ds))
		})
	}()
	stopped := make(chan error, 1)
	go func() { stopped <- replies.(driver.Stopper).Stop(ctx) }()
	for range calls {
		call := pollOne(t, server)
		reply := &driver.Message{Kind: driver.Reply, ReplyTo: call.ReplyTo, CallID: call.CallID, Body: []byte("1")}
		if err := peer.Send(ctx, []*driver.Message{reply}); err != nil {
			t.Fatal(err)
		}
	}
	for range calls {
		select {
		case <-got:
		case <-ctx.Done():
			t.Fatal("a reply did not come")
		}
	}
	if err := <-stopped; err != nil {
		t.Errorf("stop: %v", err)
	}
	if err := <-received; driver.ReasonOf(err) != driver.ReasonClosed {
		t.Errorf("receive ended with %v", err)
	}
}
