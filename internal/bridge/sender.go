// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// sendStream is the host's end of a Send stream.
type sendStream = grpc.BidiStreamingClient[pb.SendHostFrame, pb.SendDriverFrame]

// sender owns one Send stream: a writer that makes frames of what is queued, and a reader of
// results. Both end with the stream, and what has no result then gets one.
type sender struct {
	stream sendStream
	epoch  uint64
	conn   uint64
	limits Limits
	broker *brokerState

	wake chan struct{} // of capacity one: there is work for the writer
	done sync.WaitGroup

	frame *pb.SendHostFrame // used by who has set writing
	spare []*pb.Message     // likewise

	broken chan struct{} // closed when the stream has ended

	mu       sync.Mutex
	queue    []*outgoing           // not written yet; guarded by mu
	large    chunkQueue[*outgoing] // not written or not completely; guarded by mu
	cutting  *outgoing             // whose chunk is in the frame that is being written; guarded by mu
	aborts   []uint64              // chunks that end early; guarded by mu
	cancels  []uint64              // numbers to withdraw; guarded by mu
	inFlight window                // written, without a result; guarded by mu
	room     room                  // how many more may be queued or in flight; guarded by mu
	writing  bool                  // somebody writes frames now; guarded by mu
	idle     chan struct{}         // closed when nothing is queued or in flight, or nil; guarded by mu
	failed   error                 // why the stream ended; guarded by mu
	greeted  bool                  // the first frame was written; guarded by mu
	closing  bool                  // the Conn is being closed; guarded by mu
}

func newSender(stream sendStream, epoch, conn uint64, limits Limits, broker *brokerState) *sender {
	return &sender{
		stream: stream, epoch: epoch, conn: conn, limits: limits, broker: broker,
		wake: make(chan struct{}, 1), frame: new(pb.SendHostFrame), broken: make(chan struct{}),
		room: newRoom(limits), inFlight: window{base: 1},
		large: chunkQueue[*outgoing]{size: limits.chunk(), limit: limits.MaxMessageBytes},
	}
}

func (s *sender) start() {
	s.done.Add(2)
	go s.writeLoop()
	go s.readLoop()
}

// close makes what fails from now on fail with ReasonClosed.
func (s *sender) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
}

// wait returns when both loops have ended; the stream's context must have ended.
func (s *sender) wait() { s.done.Wait() }

// send queues a batch. Each message gets exactly one result.
func (s *sender) send(ctx context.Context, batch []*driver.Message, done func(int, error)) {
	var before *outgoing // the last large message of the batch: what follows waits for it
	for i, m := range batch {
		out := &outgoing{m: m, index: i, done: done, size: m.Size()}
		err := s.check(out)
		if err == nil {
			err = s.enqueue(ctx, out, before)
		}
		switch {
		case err != nil:
			done(i, err)
		case out.large != nil:
			before = out
		}
	}
	s.flush()
}

// check refuses what cannot cross, before it is queued.
func (s *sender) check(out *outgoing) error {
	m := out.m
	if err := s.limits.check(m, out.size); err != nil {
		return err.WithHint("%s", s.limits.largerHint())
	}
	if s.limits.inChunks(out.size) {
		out.large = newLarge(out, m)
	}
	if err := driver.CheckHeaders(m.Headers); err != nil {
		return err
	}
	return checkText(m)
}

// enqueue waits for room and queues one message.
func (s *sender) enqueue(ctx context.Context, out, before *outgoing) error {
	if err := ctx.Err(); err != nil {
		return cancelled(ctx)
	}
	if out.m.TimeLeft != 0 {
		out.deadline = time.Now().Add(out.m.TimeLeft)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.awaitRoomLocked(ctx, out); err != nil {
		return err
	}
	if s.failed != nil {
		return unsent(s.failed)
	}
	s.room.take(out)
	if before != nil && before.holdsBack() {
		before.after = append(before.after, out)
	} else {
		s.placeLocked(out)
	}
	if ctx.Done() != nil {
		out.stop = context.AfterFunc(ctx, func() { s.withdraw(ctx, out) })
	}
	return nil
}

// placeLocked queues a message that nothing of its batch holds back.
func (s *sender) placeLocked(out *outgoing) {
	out.placed = true
	if out.large != nil {
		s.large.push(out.large)
		return
	}
	s.queue = append(s.queue, out)
}
