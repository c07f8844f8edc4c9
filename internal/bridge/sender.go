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
	queue    []*outgoing // not written yet; guarded by mu
	cancels  []uint64    // numbers to withdraw; guarded by mu
	inFlight window      // written, without a result; guarded by mu
	room     int         // how many more may be queued or in flight; guarded by mu
	pending  int         // bytes queued or in flight; guarded by mu
	writing  bool        // somebody writes frames now; guarded by mu
	waiting  []chan struct{}
	failed   error // why the stream ended; guarded by mu
	greeted  bool  // the first frame was written; guarded by mu
	closing  bool  // the Conn is being closed; guarded by mu
}

func newSender(stream sendStream, epoch, conn uint64, limits Limits, broker *brokerState) *sender {
	return &sender{
		stream: stream, epoch: epoch, conn: conn, limits: limits, broker: broker,
		wake: make(chan struct{}, 1), frame: new(pb.SendHostFrame), room: limits.MaxSendsInFlight, inFlight: window{base: 1},
		broken: make(chan struct{}),
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
	for i, m := range batch {
		if err := s.check(m); err != nil {
			done(i, err)
			continue
		}
		if err := s.enqueue(ctx, i, m, done); err != nil {
			done(i, err)
		}
	}
	s.flush()
}

// check refuses what cannot cross, before it is queued.
func (s *sender) check(m *driver.Message) error {
	if size, limit := m.Size(), s.limits.maxMessage(); size > limit {
		return driver.Errorf(driver.ReasonMessageTooLarge,
			"the %s message has %d bytes and the limit is %d", m.Kind, size, limit).
			WithHint("send less, or raise MaxMessageBytes of the Host")
	}
	if err := driver.CheckHeaders(m.Headers); err != nil {
		return err
	}
	return checkText(m)
}

// enqueue waits for room and queues one message.
func (s *sender) enqueue(ctx context.Context, i int, m *driver.Message, done func(int, error)) error {
	if err := ctx.Err(); err != nil {
		return cancelled(ctx)
	}
	out := &outgoing{m: m, index: i, done: done}
	if m.TimeLeft != 0 {
		out.deadline = time.Now().Add(m.TimeLeft)
	}
	s.mu.Lock()
	for s.room == 0 && s.failed == nil {
		if err := s.awaitRoomLocked(ctx, m.FailFast); err != nil {
			s.mu.Unlock()
			return err
		}
	}
	if s.failed != nil {
		err := s.failed
		s.mu.Unlock()
		return unsent(err)
	}
	s.room--
	out.size = m.Size()
	s.pending += out.size
	s.queue = append(s.queue, out)
	if ctx.Done() != nil {
		out.stop = context.AfterFunc(ctx, func() { s.withdraw(ctx, out) })
	}
	s.mu.Unlock()
	return nil
}
