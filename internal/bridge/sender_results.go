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
		if err := s.checkNumbers(r.GetFirst(), r.GetCount()); err != nil {
			return err
		}
		for n := range r.GetCount() {
			s.result(r.GetFirst()+n, nil)
		}
	}
	for _, f := range frame.GetFailed() {
		if err := s.checkNumbers(f.GetNumber(), 1); err != nil {
			return err
		}
		err := StatusFromProto(f.GetError())
		if err == nil {
			err = protocolError("a message failed without an error")
		}
		s.result(f.GetNumber(), err)
	}
	return nil
}

// checkNumbers refuses results for messages that were never written.
func (s *sender) checkNumbers(first, count uint64) error {
	s.mu.Lock()
	next := s.inFlight.next()
	s.mu.Unlock()
	if first == 0 || first >= next || count > next-first {
		return protocolError("results for %d messages from number %d on, and number %d was never sent", count, first, next)
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
	s.releaseLocked(out)
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
	unsentOnes, doubtful := s.takeQueuedLocked(), unsettledLocked(s.inFlight.takeAll())
	s.room.wakeAll()
	s.mu.Unlock()
	for _, out := range unsentOnes {
		out.finish(unsent(cause))
	}
	for _, out := range doubtful {
		out.finish(inDoubt(cause))
	}
}

// takeQueuedLocked removes what was not written and has no result, and settles it.
func (s *sender) takeQueuedLocked() []*outgoing {
	all := s.queue
	s.queue = nil
	for _, l := range s.large.items {
		all = append(all, l.of)
	}
	s.large.items, s.large.begun = nil, 0
	for i := 0; i < len(all); i++ { // it grows on the way
		all = append(all, all[i].after...)
		all[i].after = nil
	}
	return unsettledLocked(all)
}

// unsettledLocked returns those without a result, settled.
func unsettledLocked(all []*outgoing) []*outgoing {
	var open []*outgoing
	for _, out := range all {
		if !out.settled {
			out.settled = true
			open = append(open, out)
		}
	}
	return open
}
