// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

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
