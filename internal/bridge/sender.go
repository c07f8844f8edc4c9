// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"slices"
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

// outgoing is one message on its way.
type outgoing struct {
	m        *driver.Message
	index    int
	done     func(int, error)
	size     int
	deadline time.Time // zero: none
	number   uint64    // zero until written
	settled  bool      // done was or is being called; guarded by sender.mu
	stop     func() bool
}

func newSender(stream sendStream, epoch, conn uint64, limits Limits) *sender {
	return &sender{
		stream: stream, epoch: epoch, conn: conn, limits: limits,
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

// inlineBytes is how much may be under way for a sender to write its frame itself. It is less
// than what grpc-go queues for a stream before Send blocks (64 KiB), so that no caller is held
// up by a driver that does not read.
const inlineBytes = 48 << 10

// flush gets what is queued on its way. While little is under way the caller writes it itself,
// which spares a hand-off to the writer; when somebody is writing already, that one takes it.
func (s *sender) flush() {
	s.mu.Lock()
	inline := s.greeted && !s.writing && s.pending <= inlineBytes && len(s.queue) > 0
	wake := !inline && !s.writing
	s.writing = s.writing || inline
	s.mu.Unlock()
	switch {
	case inline:
		// One frame: what has come meanwhile is the writer's, not this caller's.
		if s.writeFrame() && !s.endWriting() {
			s.yieldWriting()
		}
	case wake:
		notify(s.wake)
	}
}

// check refuses what cannot cross, before it is queued.
func (s *sender) check(m *driver.Message) error {
	if size, limit := m.Size(), s.limits.maxMessage(); size > limit {
		return driver.Errorf(driver.ReasonMessageTooLarge,
			"the %s message has %d bytes and the limit is %d", m.Kind, size, limit).
			WithHint("send less, or raise MaxMessageBytes of the Host")
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
		if err := s.awaitRoomLocked(ctx); err != nil {
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

// awaitRoomLocked gives up mu while it waits.
func (s *sender) awaitRoomLocked(ctx context.Context) error {
	ready := make(chan struct{})
	s.waiting = append(s.waiting, ready)
	s.mu.Unlock()
	notify(s.wake) // what this batch has queued already may be what takes the room
	var err error
	select {
	case <-ready:
	case <-ctx.Done():
		err = cancelled(ctx)
	}
	s.mu.Lock()
	if err != nil && !s.forgetLocked(ready) {
		s.releaseLocked(0) // the wake-up came too late for us; the next one has it
	}
	return err
}

// forgetLocked removes a waiter and reports whether it was still waiting.
func (s *sender) forgetLocked(ready chan struct{}) bool {
	i := slices.Index(s.waiting, ready)
	if i < 0 {
		return false
	}
	s.waiting = slices.Delete(s.waiting, i, i+1)
	return true
}

// withdrawGrace is how long a sender whose ctx ended waits for the driver's word on a message
// that was written. Mostly it comes at once, and tells more than that time ran out.
const withdrawGrace = 50 * time.Millisecond

// giveUp reports a message as in doubt whose fate the driver did not tell in time.
func (s *sender) giveUp(ctx context.Context, out *outgoing) {
	s.mu.Lock()
	if out.settled || s.failed != nil {
		s.mu.Unlock()
		return // reported, or about to be by fail
	}
	out.settled = true
	s.mu.Unlock()
	err := cancelled(ctx)
	err.InDoubt = true
	out.done(out.index, err)
}

// withdraw takes back a message whose sender's ctx ended: at once while it is queued,
// otherwise by asking the driver, which then reports what became of it.
func (s *sender) withdraw(ctx context.Context, out *outgoing) {
	s.mu.Lock()
	if out.settled || s.failed != nil {
		s.mu.Unlock()
		return
	}
	if out.number != 0 {
		s.cancels = append(s.cancels, out.number)
		s.mu.Unlock()
		notify(s.wake)
		time.AfterFunc(withdrawGrace, func() { s.giveUp(ctx, out) })
		return
	}
	out.settled = true
	for i, q := range s.queue {
		if q == out {
			s.queue = append(s.queue[:i], s.queue[i+1:]...)
			break
		}
	}
	s.pending -= out.size
	s.releaseLocked(1)
	s.mu.Unlock()
	out.done(out.index, cancelled(ctx))
}

// releaseLocked gives back room and wakes who waits for it.
func (s *sender) releaseLocked(n int) {
	s.room += n
	for n = min(s.room, len(s.waiting)); n > 0; n-- {
		close(s.waiting[0])
		s.waiting = s.waiting[1:]
	}
}

// writeLoop writes what callers do not write themselves, until the stream ends.
func (s *sender) writeLoop() {
	defer s.done.Done()
	if err := s.stream.Send(&pb.SendHostFrame{Epoch: s.epoch, Conn: s.conn}); err != nil {
		return // readLoop learns why
	}
	s.mu.Lock()
	s.greeted = true
	s.mu.Unlock()
	for {
		s.mu.Lock()
		mine := !s.writing && (len(s.queue) > 0 || len(s.cancels) > 0)
		s.writing = s.writing || mine
		s.mu.Unlock()
		if mine && !s.writeFrames() {
			return
		}
		select {
		case <-s.wake:
		case <-s.stream.Context().Done():
			return
		}
	}
}

// writeFrames writes until nothing is queued, and gives up writing. It reports false when the
// stream is broken; readLoop learns why.
func (s *sender) writeFrames() bool {
	for {
		if !s.writeFrame() {
			return false
		}
		if s.endWriting() {
			return true
		}
	}
}

// writeFrame writes one frame of what is queued.
func (s *sender) writeFrame() bool {
	s.frame.Reset()
	s.frame.Epoch = s.epoch
	for _, out := range s.fill(s.frame) {
		out.finish(driver.Errorf(driver.ReasonExpired, "the %s message waited longer than its time", out.m.Kind))
	}
	if len(s.frame.Messages) == 0 && len(s.frame.Cancel) == 0 {
		return true
	}
	// grpc-go marshals before Send returns and we have no stats handler, so the messages may
	// be used again.
	if err := s.stream.Send(s.frame); err != nil {
		return false
	}
	s.spare = recycle(s.spare, s.frame.Messages)
	return true
}

// endWriting gives up writing, unless something was queued meanwhile.
func (s *sender) endWriting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) > 0 || len(s.cancels) > 0 {
		return false
	}
	s.writing = false
	return true
}

// yieldWriting leaves what is queued to the writer.
func (s *sender) yieldWriting() {
	s.mu.Lock()
	s.writing = false
	s.mu.Unlock()
	notify(s.wake)
}

// fill moves what is queued into frame, up to a batch, and returns what expired.
func (s *sender) fill(frame *pb.SendHostFrame) []*outgoing {
	s.mu.Lock()
	defer s.mu.Unlock()
	frame.Cancel = s.cancels
	s.cancels = nil
	var expired []*outgoing
	taken, bytes := 0, 0
	var now time.Time
	for _, out := range s.queue {
		if len(frame.Messages) > 0 && (len(frame.Messages) == batchMessages || bytes+out.size > batchBytes) {
			break
		}
		taken++
		left := out.m.TimeLeft
		if !out.deadline.IsZero() {
			if now.IsZero() {
				now = time.Now()
			}
			if left = out.deadline.Sub(now); left <= 0 {
				out.settled = true
				expired = append(expired, out)
				s.pending -= out.size
				s.releaseLocked(1)
				continue
			}
		}
		p := takeSpare(&s.spare)
		messageToProto(p, out.m, left)
		out.number = s.inFlight.push(out)
		if len(frame.Messages) == 0 {
			frame.First = out.number
		}
		frame.Messages = append(frame.Messages, p)
		bytes += out.size
	}
	n := copy(s.queue, s.queue[taken:])
	clear(s.queue[n:])
	s.queue = s.queue[:n]
	return expired
}

func takeSpare(spare *[]*pb.Message) *pb.Message {
	if n := len(*spare); n > 0 {
		p := (*spare)[n-1]
		*spare = (*spare)[:n-1]
		return p
	}
	return new(pb.Message)
}

// recycle keeps messages for the next frame, without what they point to.
func recycle(spare, used []*pb.Message) []*pb.Message {
	for _, p := range used {
		p.Reset()
		if len(spare) < batchMessages {
			spare = append(spare, p)
		}
	}
	return spare
}

// readLoop hands out results until the stream ends.
func (s *sender) readLoop() {
	defer s.done.Done()
	for {
		frame, err := s.stream.Recv()
		if err == nil {
			err = s.results(frame)
		}
		if err != nil {
			s.fail(FromGRPC(err))
			return
		}
	}
}

// results hands out the results of one frame.
func (s *sender) results(frame *pb.SendDriverFrame) error {
	if frame.GetEpoch() != s.epoch {
		return protocolError("a send result of epoch %d came in epoch %d", frame.GetEpoch(), s.epoch)
	}
	room := uint64(s.limits.MaxSendsInFlight)
	for _, r := range frame.GetAccepted() {
		if r.GetCount() > room {
			return protocolError("more results in a frame than the %d messages that can be in flight", s.limits.MaxSendsInFlight)
		}
		room -= r.GetCount()
		for n := r.GetFirst(); n < r.GetFirst()+r.GetCount(); n++ {
			s.result(n, nil)
		}
	}
	for _, f := range frame.GetFailed() {
		err := StatusFromProto(f.GetError())
		if err == nil {
			err = protocolError("a message failed without an error")
		}
		s.result(f.GetNumber(), err)
	}
	return nil
}

// result settles one message. A number that is not in flight is ignored: it was settled.
func (s *sender) result(number uint64, err error) {
	s.mu.Lock()
	out := s.inFlight.take(number)
	if out == nil {
		s.mu.Unlock()
		return
	}
	s.pending -= out.size
	s.releaseLocked(1)
	already := out.settled
	out.settled = true
	s.mu.Unlock()
	if !already {
		out.finish(err)
	}
}

// finish calls done; the caller has set settled.
func (o *outgoing) finish(err error) {
	if o.stop != nil {
		o.stop()
	}
	o.done(o.index, err)
}

// fail gives everything that has no result one: what was written is in doubt.
func (s *sender) fail(cause error) {
	defer close(s.broken)
	s.mu.Lock()
	if s.closing {
		cause = driver.Errorf(driver.ReasonClosed, "the connection was closed before the message had a result")
	}
	s.failed = cause
	queued, written := s.queue, s.inFlight.takeAll()
	s.queue = nil
	for _, w := range s.waiting {
		close(w)
	}
	s.waiting = nil
	var unsentOnes, doubtful []*outgoing
	for _, out := range queued {
		if !out.settled {
			out.settled = true
			unsentOnes = append(unsentOnes, out)
		}
	}
	for _, out := range written {
		if !out.settled {
			out.settled = true
			doubtful = append(doubtful, out)
		}
	}
	s.mu.Unlock()
	for _, out := range unsentOnes {
		out.finish(unsent(cause))
	}
	for _, out := range doubtful {
		out.finish(inDoubt(cause))
	}
}

// unsent is the error of a message that never left the host.
func unsent(cause error) error {
	e := *driver.AsError(cause)
	e.InDoubt = false
	return gone(&e)
}

// inDoubt is the error of a message that was written to a process that ended.
func inDoubt(cause error) error {
	e := *driver.AsError(cause)
	e.InDoubt = true
	return gone(&e)
}

// gone gives a stream that ended with its Conn the reason that a dead process has: from a
// message's view both are the same.
func gone(e *driver.Error) *driver.Error {
	if e.Reason == driver.ReasonCancelled || e.Reason == driver.ReasonExpired {
		e.Reason, e.Message, e.Retryable = driver.ReasonDriverGone, "the connection to the driver was closed", true
	}
	return e
}

// cancelled says that ctx ended first.
func cancelled(ctx context.Context) *driver.Error {
	cause := context.Cause(ctx)
	reason := driver.ReasonOf(cause)
	if reason != driver.ReasonExpired {
		reason = driver.ReasonCancelled
	}
	return &driver.Error{Reason: reason, Message: "the message was not sent in time: " + cause.Error(), Err: ctx.Err()}
}
