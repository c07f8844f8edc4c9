// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"io"
	"math"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// attackMemory is what an attack may cost beside what is live: nothing that it announces.
const attackMemory = 32 << 20

// attack is frames that a hostile peer sends on one stream after its first frame.
type attack[F any] struct {
	name   string
	frames []F
	reason driver.Reason
	says   string
}

const stranger = testEpoch - 1 // the epoch of another life

func part(number, total uint64, size int) *pb.Chunk {
	return &pb.Chunk{Number: number, Total: total, Body: make([]byte, size)}
}

// chunkAttacks are the same in both directions; wrap puts chunks, and perhaps a message, into a
// frame.
func chunkAttacks[F any](wrap func([]*pb.Chunk, *pb.Message) F) []attack[F] {
	one := func(cs ...*pb.Chunk) []F { return []F{wrap(cs, nil)} }
	var seventeen []*pb.Chunk
	for n := range uint64(17) {
		seventeen = append(seventeen, part(n+1, 10, 1))
	}
	stalled := one(part(1, 10, 1), part(2, 1<<20, 1))
	for range 1001 {
		stalled = append(stalled, wrap([]*pb.Chunk{part(2, 0, 1)}, nil))
	}
	const protocol = driver.ReasonProtocol
	return []attack[F]{
		{"1 GiB announced", one(part(1, 1<<30, 1)), driver.ReasonMessageTooLarge, "1073741824 bytes was announced and the limit is 67108864"},
		{"2^64-1 bytes announced", one(part(1, math.MaxUint64, 1)), driver.ReasonMessageTooLarge, "the limit is 67108864"},
		{"two that are too much together", one(part(1, 40<<20, 1), part(2, 40<<20, 1)), protocol, "83886080 bytes together"},
		{"too many at once", one(seventeen...), protocol, "more than 16 messages"},
		{"more than announced", one(part(1, 10, 11)), protocol, "a chunk of 11 bytes of message 1, of which 10 of 10"},
		{"more than is missing", one(part(1, 10, 6), part(1, 0, 6)), protocol, "4 of 10 bytes are missing"},
		{"begun without a total", one(part(1, 0, 1)), protocol, "without its total"},
		{"begun twice", one(part(1, 10, 1), part(1, 10, 1)), protocol, "begun twice"},
		{"numbers left out", one(part(5, 10, 1)), protocol, "message 5, which is not open"},
		{"number 0", one(part(0, 10, 1)), protocol, "message 0, which is not open"},
		{"an empty chunk", one(part(1, 10, 0)), protocol, "an empty chunk"},
		{"a chunk after the abort", one(part(1, 10, 1), &pb.Chunk{Number: 1, Abort: true}, part(1, 0, 1)), protocol, "message 1, which is not open"},
		{"an abort of nothing", one(&pb.Chunk{Number: 9, Abort: true}), protocol, "message 9, which is not open"},
		{"a message before its chunks are complete", []F{wrap([]*pb.Chunk{part(1, 10, 4)}, &pb.Message{Kind: 2, Chunks: 1})}, protocol, "6 of 10 bytes are missing"},
		{"a message of chunks that never came", []F{wrap(nil, &pb.Message{Kind: 2, Chunks: 7})}, protocol, "message 7, which is not open"},
		{"a message with chunks and a body", []F{wrap([]*pb.Chunk{part(1, 4, 4)}, &pb.Message{Kind: 2, Chunks: 1, Body: []byte("x")})}, protocol, "has chunks and a body"},
		{"chunks of one message stop", stalled, protocol, "chunks of message 1 stopped"},
	}
}

func sendAttacks() []attack[*pb.SendHostFrame] {
	wrap := func(cs []*pb.Chunk, m *pb.Message) *pb.SendHostFrame {
		f := &pb.SendHostFrame{Epoch: testEpoch, Chunks: cs}
		if m != nil {
			f.First, f.Messages = 1, []*pb.Message{m}
		}
		return f
	}
	many := &pb.SendHostFrame{Epoch: testEpoch, First: 1}
	for range 4097 {
		many.Messages = append(many.Messages, &pb.Message{Kind: 2})
	}
	return append(chunkAttacks(wrap),
		attack[*pb.SendHostFrame]{"a frame of an old epoch", []*pb.SendHostFrame{{Epoch: stranger}}, driver.ReasonProtocol, "epoch 6 came in epoch 7"},
		attack[*pb.SendHostFrame]{"messages left out", []*pb.SendHostFrame{{Epoch: testEpoch, First: 2, Messages: []*pb.Message{{Kind: 2}}}}, driver.ReasonProtocol, "message 2 came where 1 was expected"},
		attack[*pb.SendHostFrame]{"more than may be in flight", []*pb.SendHostFrame{many}, driver.ReasonProtocol, "more than 4096 messages"},
		attack[*pb.SendHostFrame]{"invalid UTF-8", []*pb.SendHostFrame{{Epoch: testEpoch, First: 1, Messages: []*pb.Message{{Topic: "\xff"}}}}, driver.ReasonProtocol, "invalid UTF-8"},
	)
}

func listenHostAttacks() []attack[*pb.ListenHostFrame] {
	outcome := func(token, count uint64) []*pb.ListenHostFrame {
		return []*pb.ListenHostFrame{{Epoch: testEpoch, Outcomes: []*pb.Outcome{{Token: token, Count: count, Result: 1}}}}
	}
	const protocol = driver.ReasonProtocol
	return []attack[*pb.ListenHostFrame]{
		{"a frame of an old epoch", []*pb.ListenHostFrame{{Epoch: stranger}}, protocol, "epoch 6 came in epoch 7"},
		{"a token that was never given", outcome(1, 1), protocol, "from token 1 on, and token 1 was never given"},
		{"token 0", outcome(0, 1), protocol, "never given"},
		{"2^63 outcomes", outcome(1, 1<<63), protocol, "more outcomes in a frame"},
		{"a run of outcomes that overflows", outcome(math.MaxUint64, 2), protocol, "never given"},
		{"many runs of many outcomes", append(outcome(1, 1<<20), outcome(1, 1<<20)...), protocol, "never given"},
	}
}

// TestAttacksOfAHost: the driver refuses what a host must not send, and nothing else is harmed.
func TestAttacksOfAHost(t *testing.T) {
	p := newPair(t, memory.New(), bridge.Limits{})
	other := p.open(t, "other")
	client := pb.NewDriverClient(p.cc)
	nextConn := uint64(100)
	open := func(t *testing.T) uint64 {
		nextConn++
		if _, err := client.Open(within(t), &pb.OpenRequest{Conn: nextConn, Epoch: testEpoch, VirtualHost: new("v")}); err != nil {
			t.Fatal(err)
		}
		return nextConn
	}
	for _, a := range sendAttacks() {
		t.Run("send/"+a.name, func(t *testing.T) {
			conn := open(t)
			attacked(t, a.reason, a.says, func() error {
				ctx, cancel := context.WithCancel(within(t))
				defer cancel()
				stream, err := client.Send(ctx)
				if err != nil {
					return err
				}
				_ = stream.Send(&pb.SendHostFrame{Epoch: testEpoch, Conn: conn}) // Recv says what came of it
				return refused(stream, a.frames, func() error { _, err := stream.Recv(); return err })
			})
			unharmed(t, other)
		})
	}
	for _, a := range listenHostAttacks() {
		t.Run("listen/"+a.name, func(t *testing.T) {
			conn := open(t)
			attacked(t, a.reason, a.says, func() error {
				ctx, cancel := context.WithCancel(within(t))
				defer cancel()
				stream, err := client.Listen(ctx)
				if err != nil {
					return err
				}
				_ = stream.Send(&pb.ListenHostFrame{Epoch: testEpoch, Conn: conn, Source: &pb.Source{Kind: 1, Settle: 1, Topic: "t", Server: "s"}})
				return refused(stream, a.frames, func() error { _, err := stream.Recv(); return err })
			})
			unharmed(t, other)
		})
	}
	t.Run("session/old epoch", func(t *testing.T) {
		attacked(t, driver.ReasonProtocol, "epoch 6 came in epoch 7", func() error {
			ctx, cancel := context.WithCancel(within(t))
			defer cancel()
			stream, err := client.Session(ctx)
			if err != nil {
				return err
			}
			return refused(stream, []*pb.SessionHostFrame{{Epoch: stranger, Heartbeat: math.MaxUint64}}, func() error { _, err := stream.Recv(); return err })
		})
		unharmed(t, other)
	})
	t.Run("raw/1 GiB frame announced", func(t *testing.T) {
		attacked(t, driver.ReasonMessageTooLarge, "larger than max", func() error { return announce(t, p.path) })
		unharmed(t, other)
	})
}

// refused sends frames and returns what the stream ends with.
func refused[F any](stream interface{ Send(F) error }, frames []F, recv func() error) error {
	for _, f := range frames {
		if stream.Send(f) != nil {
			break // recv says why
		}
	}
	for {
		if err := recv(); err != nil {
			return err
		}
	}
}

// attacked runs an attack, which must be refused for the reason given and cost no memory.
func attacked(t *testing.T, reason driver.Reason, says string, run func() error) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	err := bridge.FromGRPC(run())
	runtime.ReadMemStats(&after)
	if driver.ReasonOf(err) != reason || !strings.Contains(err.Error(), says) {
		t.Errorf("refused with %v\nwant %s and %q", err, reason, says)
	}
	if cost := after.TotalAlloc - before.TotalAlloc; cost > attackMemory {
		t.Errorf("the attack made %d MiB be allocated", cost>>20)
	}
}

// unharmed sends by another connection and receives.
func unharmed(t *testing.T, c *bridge.Conn) {
	t.Helper()
	ctx := within(t)
	l, err := c.Listen(ctx, serverSource("unharmed"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(ctx, []*driver.Message{castTo("unharmed", "1", []byte("{}"))}); err != nil {
		t.Error(err)
	}
	ds, err := l.Poll(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Done(ctx, []driver.Outcome{{Token: ds[0].Token, Result: driver.Accepted}}); err != nil {
		t.Error(err)
	}
	if err := l.Close(ctx); err != nil {
		t.Error(err)
	}
}

// gigabyte is the prefix of a gRPC message of 1 GiB.
func gigabyte() []byte { return binary.BigEndian.AppendUint32([]byte{0}, 1<<30) }

// announce begins a Send with a frame of 1 GiB, over plain HTTP/2, and returns the answer.
func announce(t *testing.T, path string) error {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{
		Protocols: protocols,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}
	defer transport.CloseIdleConnections()
	body, write := io.Pipe()
	defer func() { _ = write.Close() }()
	go func() { _, _ = write.Write(gigabyte()) }() // ends with the request
	req, err := http.NewRequestWithContext(within(t), http.MethodPost, "http://driver/parley.driver.v1.Driver/Send", body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	// A response without messages has its trailers in the header.
	code, text := resp.Header.Get("Grpc-Status"), resp.Header.Get("Grpc-Message")
	if code == "" {
		code, text = resp.Trailer.Get("Grpc-Status"), resp.Trailer.Get("Grpc-Message")
	}
	if code != "8" {
		t.Errorf("the status is %q, want 8, RESOURCE_EXHAUSTED", code)
	}
	return status.Error(codes.ResourceExhausted, text)
}

// hostileDriver answers properly until a stream of connection 1 is open, on which it sends what
// it was given. Connection 2 works.
type hostileDriver struct {
	pb.UnimplementedDriverServer
	limit     uint64 // MaxMessageBytes
	sends     []*pb.SendDriverFrame
	delivers  []*pb.ListenDriverFrame
	sessions  []*pb.SessionDriverFrame
	innocents chan *pb.ListenDriverFrame // what connection 2 delivers
}

func (d *hostileDriver) Hello(context.Context, *pb.HelloRequest) (*pb.HelloResponse, error) {
	return &pb.HelloResponse{ProtocolMajor: 1, Limits: &pb.Limits{MaxMessageBytes: cmp.Or(d.limit, 64<<20)}, Info: &pb.DriverInfo{Name: "hostile"}}, nil
}

func (d *hostileDriver) Open(context.Context, *pb.OpenRequest) (*pb.OpenResponse, error) {
	return &pb.OpenResponse{}, nil
}

func (d *hostileDriver) CloseConn(context.Context, *pb.CloseConnRequest) (*pb.CloseConnResponse, error) {
	return &pb.CloseConnResponse{}, nil
}

func (d *hostileDriver) Send(s pb.Driver_SendServer) error {
	first, err := s.Recv()
	if err != nil {
		return err
	}
	for {
		frame, err := s.Recv()
		if err != nil {
			return err
		}
		if first.GetConn() != 1 {
			if err := s.Send(&pb.SendDriverFrame{Epoch: testEpoch, Accepted: []*pb.Range{{First: frame.GetFirst(), Count: uint64(len(frame.GetMessages()))}}}); err != nil {
				return err
			}
			continue
		}
		for _, f := range d.sends {
			if err := s.Send(f); err != nil {
				return err
			}
		}
	}
}

func (d *hostileDriver) Listen(s pb.Driver_ListenServer) error {
	first, err := s.Recv()
	if err != nil {
		return err
	}
	if err := s.Send(&pb.ListenDriverFrame{Epoch: testEpoch, Listening: true}); err != nil {
		return err
	}
	if _, err := s.Recv(); err != nil { // the first credit
		return err
	}
	frames := d.delivers
	if first.GetConn() != 1 {
		frames = []*pb.ListenDriverFrame{<-d.innocents}
	}
	for _, f := range frames {
		if err := s.Send(f); err != nil {
			return err
		}
	}
	<-s.Context().Done()
	return nil
}

func (d *hostileDriver) Session(s pb.Driver_SessionServer) error {
	for _, f := range d.sessions {
		if err := s.Send(f); err != nil {
			return err
		}
	}
	<-s.Context().Done()
	return nil
}

func sendResultAttacks() []attack[*pb.SendDriverFrame] {
	accepted := func(rs ...*pb.Range) []*pb.SendDriverFrame {
		return []*pb.SendDriverFrame{{Epoch: testEpoch, Accepted: rs}}
	}
	const protocol = driver.ReasonProtocol
	return []attack[*pb.SendDriverFrame]{
		{"a frame of an old epoch", []*pb.SendDriverFrame{{Epoch: stranger}}, protocol, "epoch 6 came in epoch 7"},
		{"a result for a number never sent", accepted(&pb.Range{First: 2, Count: 1}), protocol, "number 2 was never sent"},
		{"a run beyond what was sent", accepted(&pb.Range{First: 1, Count: 2}), protocol, "2 messages from number 1 on, and number 2 was never sent"},
		{"2^63 results", accepted(&pb.Range{First: 1, Count: 1 << 63}), protocol, "more results in a frame"},
		{"a run that overflows", accepted(&pb.Range{First: math.MaxUint64, Count: 2}), protocol, "never sent"},
		{"number 0", accepted(&pb.Range{First: 0, Count: 1}), protocol, "never sent"},
		{"a failure of a number never sent", []*pb.SendDriverFrame{{Epoch: testEpoch, Failed: []*pb.SendFailure{{Number: 99}}}}, protocol, "number 2 was never sent"},
		{"a failure without an error", []*pb.SendDriverFrame{{Epoch: testEpoch, Failed: []*pb.SendFailure{{Number: 1}}}}, protocol, "failed without an error"},
	}
}

func deliveryAttacks() []attack[*pb.ListenDriverFrame] {
	wrap := func(cs []*pb.Chunk, m *pb.Message) *pb.ListenDriverFrame {
		f := &pb.ListenDriverFrame{Epoch: testEpoch, Chunks: cs}
		if m != nil {
			f.Deliveries = []*pb.Delivery{{Message: m, Token: 1}}
		}
		return f
	}
	deliveries := func(n, size int) *pb.ListenDriverFrame {
		f := &pb.ListenDriverFrame{Epoch: testEpoch}
		for i := range n {
			f.Deliveries = append(f.Deliveries, &pb.Delivery{Token: uint64(i + 1), Message: &pb.Message{Kind: 2, Body: make([]byte, size)}})
		}
		return f
	}
	const protocol = driver.ReasonProtocol
	return append(chunkAttacks(wrap),
		attack[*pb.ListenDriverFrame]{"a frame of an old epoch", []*pb.ListenDriverFrame{{Epoch: stranger}}, protocol, "epoch 6 came in epoch 7"},
		attack[*pb.ListenDriverFrame]{"more deliveries than the credit", []*pb.ListenDriverFrame{deliveries(9, 1)}, protocol, "9 deliveries came on a credit of 8"},
		attack[*pb.ListenDriverFrame]{"invalid UTF-8", []*pb.ListenDriverFrame{wrap(nil, &pb.Message{Topic: "\xff"})}, protocol, "invalid UTF-8"},
	)
}

func sessionAttacks() []attack[*pb.SessionDriverFrame] {
	return []attack[*pb.SessionDriverFrame]{
		{"a frame of an old epoch", []*pb.SessionDriverFrame{{Epoch: stranger}}, driver.ReasonProtocol, "epoch 6 came in epoch 7"},
		{"invalid UTF-8", []*pb.SessionDriverFrame{{Epoch: testEpoch, States: []*pb.ConnState{{Host: "\xff"}}}}, driver.ReasonProtocol, "invalid UTF-8"},
		{"nonsense is ignored until an old epoch", []*pb.SessionDriverFrame{
			{Epoch: testEpoch, Heartbeat: math.MaxUint64, States: []*pb.ConnState{{Conn: 99, Phase: math.MaxUint32}, {Conn: 1, Phase: 77, Host: strings.Repeat("x", 1<<20)}, {}}},
			{Epoch: stranger},
		}, driver.ReasonProtocol, "epoch 6 came in epoch 7"},
	}
}

// TestAttacksOfADriver: the host refuses what a driver must not send; the driver's other
// connection goes on.
func TestAttacksOfADriver(t *testing.T) {
	for _, a := range sendResultAttacks() {
		t.Run("send/"+a.name, func(t *testing.T) {
			d := &hostileDriver{sends: a.frames, innocents: make(chan *pb.ListenDriverFrame, 1)}
			victim, other := hostilePair(t, d)
			attacked(t, a.reason, a.says, func() error { return victim.Send(within(t), []*driver.Message{castTo("t", "1", nil)}) })
			innocent(t, d, other)
		})
	}
	for _, a := range deliveryAttacks() {
		t.Run("listen/"+a.name, func(t *testing.T) {
			d := &hostileDriver{delivers: a.frames, innocents: make(chan *pb.ListenDriverFrame, 1)}
			victim, other := hostilePair(t, d)
			attacked(t, a.reason, a.says, func() error {
				l, err := victim.Listen(within(t), serverSource("t"))
				if err != nil {
					return err
				}
				defer func() { _ = l.Close(within(t)) }()
				for {
					if _, err := l.Poll(within(t), 8); err != nil {
						return err
					}
				}
			})
			innocent(t, d, other)
		})
	}
	t.Run("listen/more bytes than may be overdrawn", func(t *testing.T) {
		four := &pb.ListenDriverFrame{Epoch: testEpoch}
		for range 4 {
			four.Deliveries = append(four.Deliveries, &pb.Delivery{Message: &pb.Message{Kind: 2, Body: make([]byte, 3900<<10)}})
		}
		d := &hostileDriver{limit: 1 << 20, delivers: []*pb.ListenDriverFrame{four, four, four, four}, innocents: make(chan *pb.ListenDriverFrame, 1)}
		victim, other := hostilePair(t, d)
		l, err := victim.Listen(within(t), serverSource("t"))
		if err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithCancel(within(t))
		cancel()
		_, _ = l.Poll(short, 64) // grants the credit; nobody polls further until the stream has ended
		<-l.(*bridge.Listener).Ended()
		if held := l.(*bridge.Listener).Buffered(); held > 2*bridge.ListenWindowBytes+16<<20 {
			t.Errorf("%d bytes were taken in", held)
		}
		for err == nil {
			_, err = l.Poll(within(t), 64)
		}
		if driver.ReasonOf(err) != driver.ReasonProtocol || !strings.Contains(err.Error(), "overdrew the credit") {
			t.Errorf("got %v", err)
		}
		_ = l.Close(within(t))
		innocent(t, d, other)
	})
	for _, a := range sessionAttacks() {
		t.Run("session/"+a.name, func(t *testing.T) {
			d := &hostileDriver{sessions: a.frames, innocents: make(chan *pb.ListenDriverFrame, 1)}
			victim, other := hostilePair(t, d)
			attacked(t, a.reason, a.says, func() error {
				return victim.Peer().Session(within(t), bridge.SessionOptions{Interval: time.Second, Silence: time.Minute})
			})
			innocent(t, d, other)
		})
	}
	t.Run("raw/1 GiB frame announced", func(t *testing.T) {
		cc := announcer(t)
		attacked(t, driver.ReasonMessageTooLarge, "larger than max", func() error {
			_, err := bridge.Hello(within(t), cc, bridge.HelloOptions{Epoch: testEpoch})
			return err
		})
	})
}

// hostilePair connects to a hostile driver, twice.
func hostilePair(t *testing.T, d *hostileDriver) (victim, other *bridge.Conn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	lis, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	gs := grpc.NewServer(bridge.ServerOptions(bridge.Limits{})...)
	pb.RegisterDriverServer(gs, d)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = gs.Serve(lis) // ends by Stop
	}()
	t.Cleanup(func() { gs.Stop(); <-served })
	peer, err := bridge.Hello(within(t), dial(t, path, bridge.Limits{}), bridge.HelloOptions{Epoch: testEpoch})
	if err != nil {
		t.Fatal(err)
	}
	return openPeer(t, peer), openPeer(t, peer)
}

// innocent proves that the driver's other connection works.
func innocent(t *testing.T, d *hostileDriver, c *bridge.Conn) {
	t.Helper()
	ctx := within(t)
	if err := c.Send(ctx, []*driver.Message{castTo("t", "1", nil)}); err != nil {
		t.Error(err)
	}
	d.innocents <- &pb.ListenDriverFrame{Epoch: testEpoch, Deliveries: []*pb.Delivery{{Token: 1, Message: &pb.Message{Kind: 2, UniqueId: "innocent"}}}}
	l, err := c.Listen(ctx, serverSource("t"))
	if err != nil {
		t.Fatal(err)
	}
	if ds, err := l.Poll(ctx, 1); err != nil || ds[0].UniqueID != "innocent" {
		t.Errorf("got %v, %v", ds, err)
	}
	expired, cancel := context.WithCancel(ctx)
	cancel()
	_ = l.Close(expired) // this driver knows no close
}

// announcer is a driver that answers everything with a frame of 1 GiB, over plain HTTP/2.
func announcer(t *testing.T) *grpc.ClientConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	lis, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Protocols: protocols, ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			_, _ = w.Write(gigabyte())
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}),
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(lis) // ends by Close
	}()
	cc := dial(t, path, bridge.Limits{})
	t.Cleanup(func() {
		_ = cc.Close()
		_ = server.Close()
		<-served
	})
	return cc
}
