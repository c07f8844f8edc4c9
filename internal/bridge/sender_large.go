// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"math"

	pb "github.com/parleymq/parley/plugin/proto"
)

// fillChunkLocked adds one chunk, and the message itself when that was its last. It returns
// those that are not to be sent any more.
func (s *sender) fillChunkLocked(frame *pb.SendHostFrame, now *lazyNow) []*outgoing {
	var dropped []*outgoing
	for {
		l := s.large.turn(math.MaxInt)
		if l == nil {
			return dropped
		}
		out := l.of
		left, ok := now.left(out)
		if !ok || out.given != nil {
			dropped = append(dropped, out)
			s.dropLocked(out)
			continue
		}
		frame.Chunks = append(frame.Chunks, s.large.cut(l))
		s.cutting = out
		if l.left == 0 {
			s.addLocked(frame, out, left)
			s.followLocked(out)
		}
		return dropped
	}
}

// followLocked queues what a large message held back.
func (s *sender) followLocked(out *outgoing) {
	after := out.after
	out.after = nil
	for _, next := range after {
		if next.settled { // withdrawn meanwhile; what it held back itself is not
			next.placed = true
			s.followLocked(next)
			continue
		}
		s.placeLocked(next)
	}
}
