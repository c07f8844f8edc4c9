// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"time"

	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// inlineBytes is how much may be under way for a sender to write its frame itself. It is less
// than what grpc-go queues for a stream before Send blocks (64 KiB), so that no caller is held
// up by a driver that does not read.
const inlineBytes = 48 << 10

// flush gets what is queued on its way. While little is under way the caller writes it itself,
// which spares a hand-off to the writer; when somebody is writing already, that one takes it.
func (s *sender) flush() {
	s.mu.Lock()
	inline := s.greeted && !s.writing && s.room.bytes <= inlineBytes && len(s.queue) > 0
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
		mine := !s.writing && s.workLocked()
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

// workLocked reports whether there is something to write.
func (s *sender) workLocked() bool {
	return len(s.queue) > 0 || len(s.cancels) > 0 || len(s.aborts) > 0 || !s.large.empty()
}

// writeFrame writes one frame of what is queued.
func (s *sender) writeFrame() bool {
	s.frame.Reset()
	s.frame.Epoch = s.epoch
	for _, out := range s.fill(s.frame) {
		err := out.given
		if err == nil {
			err = driver.Errorf(driver.ReasonExpired, "the %s message waited longer than its time", out.m.Kind)
		}
		out.finish(err)
	}
	if len(s.frame.Messages) == 0 && len(s.frame.Cancel) == 0 && len(s.frame.Chunks) == 0 {
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
	s.cutting = nil
	if s.workLocked() {
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

// fill moves what is queued into frame, up to a batch and a chunk, and returns what is not to be
// sent any more.
func (s *sender) fill(frame *pb.SendHostFrame) []*outgoing {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutting = nil
	frame.Cancel = s.cancels
	s.cancels = nil
	for _, number := range s.aborts {
		frame.Chunks = append(frame.Chunks, abortChunk(number))
	}
	s.aborts = nil
	now := lazyNow{}
	dropped := s.fillBatchLocked(frame, &now)
	if s.large.empty() {
		return dropped
	}
	return append(dropped, s.fillChunkLocked(frame, &now)...)
}

// lazyNow asks for the time once, and only if it matters.
type lazyNow struct{ at time.Time }

// left is what a message has of its time; false when that is over.
func (n *lazyNow) left(out *outgoing) (time.Duration, bool) {
	if out.deadline.IsZero() {
		return out.m.TimeLeft, true
	}
	if n.at.IsZero() {
		n.at = time.Now()
	}
	left := out.deadline.Sub(n.at)
	return left, left > 0
}

// fillBatchLocked adds messages in one piece.
func (s *sender) fillBatchLocked(frame *pb.SendHostFrame, now *lazyNow) []*outgoing {
	var expired []*outgoing
	taken, bytes, most := 0, 0, s.limits.batch()
	for _, out := range s.queue {
		if len(frame.Messages) > 0 && (len(frame.Messages) == batchMessages || bytes+out.size > most) {
			break
		}
		taken++
		left, ok := now.left(out)
		if !ok {
			out.settled = true
			expired = append(expired, out)
			s.releaseLocked(out)
			continue
		}
		s.addLocked(frame, out, left)
		bytes += out.size
	}
	n := copy(s.queue, s.queue[taken:])
	clear(s.queue[n:])
	s.queue = s.queue[:n]
	return expired
}

// addLocked gives a message its number and its place in frame.
func (s *sender) addLocked(frame *pb.SendHostFrame, out *outgoing, left time.Duration) {
	p := takeSpare(&s.spare)
	messageToProto(p, out.m, left)
	if out.large != nil {
		p.Context, p.Body, p.Failure, p.Chunks = nil, nil, nil, out.large.number
	}
	out.number = s.inFlight.push(out)
	if len(frame.Messages) == 0 {
		frame.First = out.number
	}
	frame.Messages = append(frame.Messages, p)
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
