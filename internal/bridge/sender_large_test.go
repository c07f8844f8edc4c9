// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// gatedStream takes the frames of a sender one by one, when the test asks for them.
type gatedStream struct {
	grpc.BidiStreamingClient[pb.SendHostFrame, pb.SendDriverFrame]
	ctx    context.Context
	cancel context.CancelFunc
	frames chan *pb.SendHostFrame
}

func (s *gatedStream) Context() context.Context { return s.ctx }

func (s *gatedStream) Send(f *pb.SendHostFrame) error {
	b, err := proto.Marshal(f) // as grpc-go does before it blocks
	if err != nil {
		return err
	}
	frame := new(pb.SendHostFrame)
	if err := proto.Unmarshal(b, frame); err != nil {
		return err
	}
	select {
	case s.frames <- frame:
		return nil
	case <-s.ctx.Done():
		return io.EOF
	}
}

func (s *gatedStream) Recv() (*pb.SendDriverFrame, error) {
	<-s.ctx.Done()
	return nil, s.ctx.Err()
}

func (s *gatedStream) next(t *testing.T) *pb.SendHostFrame {
	t.Helper()
	select {
	case f := <-s.frames:
		return f
	case <-time.After(10 * time.Second):
		t.Fatal("no frame in time")
		return nil
	}
}

// gatedSender is a sender whose greeting has been taken.
func gatedSender(t *testing.T) (*sender, *gatedStream) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stream := &gatedStream{ctx: ctx, cancel: cancel, frames: make(chan *pb.SendHostFrame)}
	s := newSender(stream, fuzzEpoch, 1, Limits{}.withDefaults(), newBrokerState())
	s.start()
	t.Cleanup(func() { cancel(); s.wait() })
	stream.next(t)
	return s, stream
}

// results collects what becomes of messages by their index.
type results struct {
	mu  sync.Mutex
	got map[string]error
	c   chan string
}

func newResults() *results { return &results{got: make(map[string]error), c: make(chan string, 100)} }

func (r *results) of(batch []*driver.Message) func(int, error) {
	return func(i int, err error) {
		r.mu.Lock()
		r.got[batch[i].UniqueID] = err
		r.mu.Unlock()
		r.c <- batch[i].UniqueID
	}
}

func (r *results) await(t *testing.T, id string) error {
	t.Helper()
	for {
		r.mu.Lock()
		err, ok := r.got[id]
		r.mu.Unlock()
		if ok {
			return err
		}
		select {
		case <-r.c:
		case <-time.After(10 * time.Second):
			t.Fatalf("no result of %s in time", id)
		}
	}
}

func sized(id string, n int) *driver.Message {
	return &driver.Message{Kind: driver.Cast, Target: driver.Target{Exchange: "e", Topic: "t"}, UniqueID: id, Body: bytes.Repeat([]byte{id[0]}, n)}
}

// readUntil puts the messages of frames together until the last of want came, and checks what
// no frame may have.
func readUntil(t *testing.T, stream *gatedStream, want ...string) {
	t.Helper()
	in := partials{limit: defaultMaxMessageBytes}
	next := uint64(1)
	for len(want) > 0 {
		f := stream.next(t)
		if n := proto.Size(f); n > batchBytes+chunkBytes+2*frameOverhead {
			t.Errorf("a frame of %d bytes", n)
		}
		if len(f.GetChunks()) > 1 {
			t.Errorf("%d chunks in a frame", len(f.GetChunks()))
		}
		if err := in.add(f.GetChunks()); err != nil {
			t.Fatal(err)
		}
		for i, p := range f.GetMessages() {
			if number := f.GetFirst() + uint64(i); number != next {
				t.Errorf("message %d where %d was expected", number, next)
			}
			next++
			m := new(driver.Message)
			messageFromProto(m, p)
			if err := in.finish(m, p.GetChunks()); err != nil {
				t.Fatal(err)
			}
			if m.UniqueID != want[0] || len(bytes.Trim(m.Body, m.UniqueID[:1])) > 0 {
				t.Fatalf("message %s came where %s was expected", m.UniqueID, want[0])
			}
			want = want[1:]
		}
	}
	if len(in.open) > 0 {
		t.Errorf("%d messages begun and not finished", len(in.open))
	}
}

// TestSmallMessagesGoBetweenChunks: a later small message leaves with the next frame, and large
// ones take turns.
func TestSmallMessagesGoBetweenChunks(t *testing.T) {
	s, stream := gatedSender(t)
	r := newResults()
	ctx := context.Background()
	send := func(ms ...*driver.Message) { s.send(ctx, ms, r.of(ms)) }
	send(sized("a-huge", 10*chunkBytes))
	first := stream.next(t)
	if len(first.GetChunks()) != 1 || len(first.GetMessages()) != 0 || first.GetChunks()[0].GetTotal() != 10*chunkBytes {
		t.Fatalf("the first frame has %d chunks and %d messages", len(first.GetChunks()), len(first.GetMessages()))
	}
	send(sized("b-small", 1000))
	send(sized("c-large", 2*chunkBytes))
	// One frame may have been made before the small one came.
	frames := 0
	for len(stream.next(t).GetMessages()) == 0 {
		if frames++; frames > 1 {
			t.Fatal("a small message waited for more than a chunk")
		}
	}
	// The one of 2 chunks is through long before the one of 10.
	for i := 0; ; i++ {
		f := stream.next(t)
		if len(f.GetMessages()) > 0 {
			if id := f.GetMessages()[0].GetUniqueId(); id != "c-large" || i > 6 {
				t.Errorf("%s was the next, after %d frames", id, i)
			}
			break
		}
	}
	for len(stream.next(t).GetMessages()) == 0 { // until the huge one is through
	}
}

// TestBatchKeepsItsOrder: what follows a large message in its batch waits for it (SEND-3), also
// when a large one between them is withdrawn.
func TestBatchKeepsItsOrder(t *testing.T) {
	s, stream := gatedSender(t)
	r := newResults()
	batch := []*driver.Message{
		sized("1", 10), sized("2", 3*chunkBytes), sized("3", 10), sized("4", 2*chunkBytes), sized("5", 2*chunkBytes), sized("6", 10), sized("7", 10),
	}
	s.send(context.Background(), batch, r.of(batch))
	readUntil(t, stream, "1", "2", "3", "4", "5", "6", "7")

	ctx, cancel := context.WithCancel(context.Background())
	mixed := []*driver.Message{sized("a", 3*chunkBytes), sized("b", 3*chunkBytes), sized("c", 10)}
	var before *outgoing
	for i, m := range mixed { // as send does, each with a ctx of its own
		own := context.Background()
		if i == 1 {
			own = ctx
		}
		out := &outgoing{m: m, index: i, done: r.of(mixed), size: m.Size()}
		if err := s.check(out); err != nil {
			t.Fatal(err)
		}
		if err := s.enqueue(own, out, before); err != nil {
			t.Fatal(err)
		}
		if out.large != nil {
			before = out
		}
	}
	cancel()
	if err := r.await(t, "b"); !errors.Is(err, context.Canceled) || driver.AsError(err).InDoubt {
		t.Errorf("the one withdrawn: %v", err)
	}
	s.flush()
	in := partials{limit: defaultMaxMessageBytes, last: 3}
	var order []string
	for len(order) < 2 {
		f := stream.next(t)
		if err := in.add(f.GetChunks()); err != nil {
			t.Fatal(err)
		}
		for _, p := range f.GetMessages() {
			order = append(order, p.GetUniqueId())
		}
	}
	if order[0] != "a" || order[1] != "c" {
		t.Errorf("got %v", order)
	}
}

// TestWithdrawnBetweenChunks: the driver is told, and the message was never sent, so it is not in
// doubt. The caller does not wait for a driver that reads nothing.
func TestWithdrawnBetweenChunks(t *testing.T) {
	for name, c := range map[string]struct {
		reads  bool
		end    func(context.Context) (context.Context, context.CancelFunc)
		reason driver.Reason
	}{
		"cancelled":                      {true, context.WithCancel, driver.ReasonCancelled},
		"cancelled, nobody reads":        {false, context.WithCancel, driver.ReasonCancelled},
		"out of its time, nobody reads ": {false, func(ctx context.Context) (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, 1) }, driver.ReasonExpired},
	} {
		t.Run(name, func(t *testing.T) {
			s, stream := gatedSender(t)
			r := newResults()
			ctx, cancel := c.end(context.Background())
			defer cancel()
			early := c.reason == driver.ReasonExpired
			if early {
				<-ctx.Done()
			}
			batch := []*driver.Message{sized("x", 100*chunkBytes)}
			s.send(ctx, batch, r.of(batch))
			if !early {
				stream.next(t)
				cancel()
			}
			for c.reads {
				f := stream.next(t)
				if len(f.GetMessages()) > 0 {
					t.Fatal("the message was sent")
				}
				if f.GetChunks()[0].GetAbort() {
					break
				}
			}
			err := r.await(t, "x")
			if e := driver.AsError(err); e.Reason != c.reason || e.InDoubt {
				t.Errorf("got %v", err)
			}
			// The room is free again, and the stream is as good as before.
			s.mu.Lock()
			if !s.room.idle() || !s.large.empty() {
				t.Error("room is missing")
			}
			s.mu.Unlock()
			after := []*driver.Message{sized("y", 10)}
			var sending sync.WaitGroup // it may write its frame itself
			sending.Go(func() { s.send(context.Background(), after, r.of(after)) })
			defer sending.Wait()
			for {
				f := stream.next(t)
				if len(f.GetMessages()) > 0 && f.GetMessages()[0].GetUniqueId() == "y" {
					break
				}
			}
		})
	}
}

// TestLargeMessageExpiresBetweenChunks: it is aborted and was never sent.
func TestLargeMessageExpiresBetweenChunks(t *testing.T) {
	s, stream := gatedSender(t)
	r := newResults()
	m := sized("x", 100*chunkBytes)
	m.TimeLeft = 20 * time.Millisecond
	batch := []*driver.Message{m}
	s.send(context.Background(), batch, r.of(batch))
	for !stream.next(t).GetChunks()[0].GetAbort() {
		<-time.After(time.Millisecond)
	}
	if e := driver.AsError(r.await(t, "x")); e.Reason != driver.ReasonExpired || e.InDoubt {
		t.Errorf("got %v", e)
	}
}

// TestLargeMessagesWaitInLine: their bytes without a result are bounded, small ones pass, and
// what waits when the stream ends fails as unsent.
func TestLargeMessagesWaitInLine(t *testing.T) {
	s, stream := gatedSender(t)
	r := newResults()
	var waiting sync.WaitGroup
	huge := make([]byte, 40<<20)
	for i := range 3 {
		batch := []*driver.Message{{Kind: driver.Cast, UniqueID: strconv.Itoa(i), Body: huge}}
		waiting.Go(func() { s.send(context.Background(), batch, r.of(batch)) })
	}
	for lined := 0; lined < 2; {
		s.mu.Lock()
		lined = len(s.room.waitingLarge)
		s.mu.Unlock()
		<-time.After(time.Millisecond)
	}
	small := []*driver.Message{sized("small", 10)}
	s.send(context.Background(), small, r.of(small))
	for len(stream.next(t).GetMessages()) == 0 {
	}
	s.mu.Lock()
	if s.room.largeBytes > s.limits.MaxMessageBytes || len(s.large.items) != 1 {
		t.Errorf("%d bytes of %d messages are under way", s.room.largeBytes, len(s.large.items))
	}
	s.mu.Unlock()
	stream.cancel()
	waiting.Wait()
	for i := range 3 {
		if e := driver.AsError(r.await(t, strconv.Itoa(i))); e.Reason != driver.ReasonDriverGone || e.InDoubt {
			t.Errorf("message %d: %v", i, e)
		}
	}
}

// TestFlushWaitsForEveryResult also counts what is not written yet.
func TestFlushWaitsForEveryResult(t *testing.T) {
	s, stream := gatedSender(t)
	c := &Conn{sender: s}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	r := newResults()
	batch := []*driver.Message{sized("1", 10), sized("2", 2*chunkBytes)}
	s.send(ctx, batch, r.of(batch))
	short, end := context.WithTimeout(ctx, 20*time.Millisecond)
	defer end()
	if err := c.Flush(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with two messages queued: %v", err)
	}
	readUntil(t, stream, "1", "2")
	flushed := make(chan error, 1)
	go func() { flushed <- c.Flush(ctx) }()
	if err := s.results(&pb.SendDriverFrame{Epoch: fuzzEpoch, Accepted: []*pb.Range{{First: 1, Count: 1}}}); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-flushed:
		t.Fatalf("with one in flight: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	if err := s.results(&pb.SendDriverFrame{Epoch: fuzzEpoch, Accepted: []*pb.Range{{First: 2, Count: 1}}}); err != nil {
		t.Fatal(err)
	}
	if err := <-flushed; err != nil {
		t.Error(err)
	}
	var sending sync.WaitGroup // it may write its frame itself
	sending.Go(func() { s.send(ctx, batch[:1], r.of(batch)) })
	defer sending.Wait()
	stream.cancel() // what ends with the stream has a result as well
	if err := c.Flush(ctx); err != nil {
		t.Error(err)
	}
}
