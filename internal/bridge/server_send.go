// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// Send implements the service: it feeds the driver with what comes and returns results as
// they become known.
func (s *Server) Send(stream pb.Driver_SendServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	sc, err := s.useConn(first.GetEpoch(), first.GetConn(), func(sc *serverConn) { sc.sends++ })
	if err != nil {
		return ToGRPC(err)
	}
	defer s.sendEnded(sc)
	// Sends end with the stream (the host is gone) and with the connection.
	ctx, cancel := context.WithCancel(stream.Context())
	stop := context.AfterFunc(sc.ctx, cancel)
	defer stop()
	limits := s.agreed()
	f := &sendFeed{
		server: s, stream: stream, epoch: first.GetEpoch(), ctx: ctx,
		wake: make(chan struct{}, 1), frames: make(map[uint64]*sentFrame),
		limit: limits.MaxSendsInFlight, partials: partials{limit: limits.MaxMessageBytes},
	}
	var loops sync.WaitGroup
	loops.Go(f.writeResults)
	if a, ok := sc.conn.(driver.AsyncSender); ok {
		f.async = a
	} else {
		q := newSplitSender(sc.conn)
		f.async = q
		loops.Go(func() { q.patient.run(ctx) })
		loops.Go(func() { q.failFast.run(ctx) })
	}
	err = f.read(first)
	cancel() // what the driver still holds fails now, and reports it to nobody
	loops.Wait()
	f.calls.Wait()
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return ToGRPC(err)
}

// sendFeed is one Send stream on the driver's side.
type sendFeed struct {
	server *Server
	stream pb.Driver_SendServer
	epoch  uint64
	ctx    context.Context // of this stream, not of a call
	async  driver.AsyncSender
	limit  int
	wake   chan struct{} // of capacity one: a result is there
	calls  sync.WaitGroup
	// partials are messages that come in chunks; used by read alone.
	partials partials

	mu       sync.Mutex
	accepted []*pb.Range           // guarded by mu
	failed   []*pb.SendFailure     // guarded by mu
	frames   map[uint64]*sentFrame // by first number, until the last result; guarded by mu
	next     uint64                // the number the next message must have; used by read alone
	inFlight int                   // messages without a result; guarded by mu
	late     lateness              // guarded by mu
}

// sentFrame is the messages of one frame on their way through the driver, or one of them.
type sentFrame struct {
	first     uint64
	messages  []sentMessage // guarded by sendFeed.mu
	left      int           // without a result; guarded by sendFeed.mu
	cancelled int           // of those, how many nobody waits for; guarded by sendFeed.mu
	cancel    context.CancelFunc
}

// sentMessage is what is known of one message.
type sentMessage struct{ reported, cancelled bool }

// over reports whether nobody waits for anything of the frame. sendFeed.mu is held.
func (f *sentFrame) over() bool { return f.cancelled == f.left }

// read takes frames until the stream ends.
func (f *sendFeed) read(frame *pb.SendHostFrame) error {
	f.next = 1
	for {
		if frame.GetEpoch() != f.epoch {
			return protocolError("a send of epoch %d came in epoch %d", frame.GetEpoch(), f.epoch)
		}
		for _, number := range frame.GetCancel() {
			f.cancelMessage(number)
		}
		if err := f.take(frame); err != nil {
			return err
		}
		var err error
		if frame, err = f.stream.Recv(); err != nil {
			return err
		}
	}
}

// take hands the messages of a frame to the driver.
func (f *sendFeed) take(frame *pb.SendHostFrame) error {
	if err := f.partials.add(frame.GetChunks()); err != nil {
		return err
	}
	in := frame.GetMessages()
	if len(in) == 0 {
		return nil
	}
	if frame.GetFirst() != f.next {
		return protocolError("message %d came where %d was expected", frame.GetFirst(), f.next)
	}
	f.next += uint64(len(in))
	messages := make([]driver.Message, len(in))
	batch := make([]*driver.Message, len(in))
	for i, p := range in {
		messageFromProto(&messages[i], p)
		if err := f.partials.finish(&messages[i], p.GetChunks()); err != nil {
			return err
		}
		batch[i] = &messages[i]
	}
	if !f.mustSplit(batch) {
		return f.handOver(frame.GetFirst(), batch)
	}
	for i := range batch {
		if err := f.handOver(frame.GetFirst()+uint64(i), batch[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// mustSplit reports whether the messages of a frame may wait for different receivers (DIRECT-1)
// with nothing but their senders' ctx to end that: each needs one of its own then.
func (f *sendFeed) mustSplit(batch []*driver.Message) bool {
	return f.server.info.Has(driver.CapDirect) && len(batch) > 1 &&
		slices.ContainsFunc(batch, func(m *driver.Message) bool { return m.TimeLeft == 0 && !unawaited(m.Kind) })
}

// handOver gives the driver messages that share a ctx.
func (f *sendFeed) handOver(first uint64, batch []*driver.Message) error {
	ctx, cancel := context.WithCancel(f.ctx)
	sent := &sentFrame{first: first, messages: make([]sentMessage, len(batch)), left: len(batch), cancel: cancel}
	f.mu.Lock()
	f.inFlight += len(batch)
	over := f.inFlight > f.limit
	f.frames[sent.first] = sent
	f.mu.Unlock()
	if over {
		cancel()
		return protocolError("more than %d messages without a result", f.limit)
	}
	f.calls.Add(len(batch))
	f.dispatch(ctx, sent, batch)
	return nil
}

// dispatch calls the driver. A panic fails the messages that have no result yet.
func (f *sendFeed) dispatch(ctx context.Context, sent *sentFrame, batch []*driver.Message) {
	done := func(i int, err error) {
		f.result(sent, i, err, i < len(batch) && i >= 0 && unawaited(batch[i].Kind))
	}
	defer func() {
		var err error
		f.server.recoverTo("Send", &err)
		if err == nil {
			return
		}
		bug := FromGRPC(err)
		if e, ok := errors.AsType[*driver.Error](bug); ok {
			e.InDoubt = true
		}
		for i := range batch {
			done(i, bug)
		}
	}()
	f.async.SendAsync(ctx, batch, done)
}

// unawaited reports whether nobody waits for the success of such a message: a call waits for
// its answer, and a server goes on when its reply is on the way.
func unawaited(k driver.Kind) bool {
	return k == driver.Call || k == driver.Reply || k == driver.Heartbeat
}

// result queues what became of a message. A driver may report twice by mistake.
func (f *sendFeed) result(sent *sentFrame, i int, err error, canWait bool) {
	f.mu.Lock()
	if i < 0 || i >= len(sent.messages) || sent.messages[i].reported {
		f.mu.Unlock()
		f.server.logger.Error("driver reported a message twice or out of range (ASYNC-1)", "index", i)
		return
	}
	sent.messages[i].reported = true
	f.inFlight--
	if sent.messages[i].cancelled {
		sent.cancelled--
	}
	if sent.left--; sent.left == 0 {
		delete(f.frames, sent.first)
	}
	over := sent.over()
	canWait = canWait && err == nil && f.late.wait(maxLateResults, f.wake)
	number := sent.first + uint64(i)
	if err == nil {
		f.acceptLocked(number)
	} else {
		f.failed = append(f.failed, &pb.SendFailure{Number: number, Error: StatusToProto(err)})
	}
	f.mu.Unlock()
	if over {
		sent.cancel()
	}
	if !canWait {
		notify(f.wake)
	}
	f.calls.Done()
}

// acceptLocked extends the last run or starts one.
func (f *sendFeed) acceptLocked(number uint64) {
	if n := len(f.accepted); n > 0 {
		if last := f.accepted[n-1]; last.First+last.Count == number {
			last.Count++
			return
		}
	}
	f.accepted = append(f.accepted, &pb.Range{First: number, Count: 1})
}

// cancelMessage withdraws a message. The driver is told by the ctx of its frame, once nobody
// waits for any message of that frame that has no result yet; a frame of many is bounded by their
// times left.
func (f *sendFeed) cancelMessage(number uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, sent := range f.frames {
		if number < sent.first || number-sent.first >= uint64(len(sent.messages)) {
			continue
		}
		if m := &sent.messages[number-sent.first]; !m.reported && !m.cancelled {
			m.cancelled = true
			sent.cancelled++
		}
		if sent.over() {
			sent.cancel()
		}
		return
	}
}

// writeResults writes results until the stream's context ends.
func (f *sendFeed) writeResults() {
	for {
		select {
		case <-f.wake:
		case <-f.ctx.Done():
			return
		}
		f.mu.Lock()
		out := &pb.SendDriverFrame{Epoch: f.epoch, Accepted: f.accepted, Failed: f.failed}
		f.accepted, f.failed = nil, nil
		f.late.over()
		f.mu.Unlock()
		if len(out.Accepted) == 0 && len(out.Failed) == 0 {
			continue
		}
		if err := f.stream.Send(out); err != nil {
			return // the reader ends on the same
		}
	}
}
