// SPDX-License-Identifier: Apache-2.0

package amqpopen

import (
	"bytes"
	"encoding/binary"
)

const (
	magic      = "AMQP"
	headerSize = 8 // of the protocol and of a frame alike
	minOffset  = 2 // of a frame's body, in words

	maxPeek  = 32       // bytes that tell what a frame is
	maxKept  = 64 << 10 // bytes of a frame that the peer is known by
	maxTrace = 1 << 10  // bytes of any other that is traced

	maxChannel = 1<<16 - 1
)

// scanner finds the frames in one direction of a connection. It keeps no more of them than it needs,
// and gives up at what is no AMQP.
type scanner struct {
	trace  func(Frame)                           // nil for nobody
	header func([]byte)                          // takes protocol headers, and what came instead; nil for nobody
	learn  func(channel uint16, f *performative) // takes the frames that isTelling says
	isOut  bool

	begun bool // a protocol header came
	lost  bool // it is no AMQP: nothing is looked at any more

	head []byte // of the header that comes, at most headerSize
	size uint32 // of the frame that comes, zero between frames
	left uint64 // how much of its body is still to come
	want int    // how much of its body is to be kept
	kept []byte // of its body
}

// feed looks at the next bytes.
func (s *scanner) feed(b []byte) {
	for len(b) > 0 && !s.lost {
		if s.size == 0 {
			b = s.feedHeader(b)
		} else {
			b = s.feedBody(b)
		}
	}
}

// feedHeader collects a header of the protocol or of a frame. The first cannot be mistaken for the
// second: it would be of a frame of a gigabyte.
func (s *scanner) feedHeader(b []byte) []byte {
	n := min(headerSize-len(s.head), len(b))
	s.head = append(s.head, b[:n]...)
	if !s.begun && s.header != nil {
		s.header(s.head)
	}
	if len(s.head) < headerSize {
		return b[n:]
	}
	switch {
	case bytes.HasPrefix(s.head, []byte(magic)):
		s.begun = true
		if s.header != nil {
			s.header(s.head)
		}
	case s.begun:
		s.beginFrame()
	default:
		s.lost = true
	}
	if s.size == 0 {
		s.head = s.head[:0]
	}
	return b[n:]
}

func (s *scanner) beginFrame() {
	size := binary.BigEndian.Uint32(s.head)
	if size < headerSize || s.head[4] < minOffset || uint32(s.head[4])*4 > size {
		s.lost = true
		return
	}
	s.left = uint64(size) - headerSize
	if s.left == 0 {
		s.report(Frame{Name: "empty", Size: size})
		return
	}
	s.size = size
	s.kept = s.kept[:0]
	s.want = int(min(s.left, uint64(s.extended())+maxPeek))
}

// extended is the size of the frame's extended header, which is part of what comes behind head.
func (s *scanner) extended() int { return int(s.head[4])*4 - headerSize }

func (s *scanner) feedBody(b []byte) []byte {
	n := int(min(s.left, uint64(len(b))))
	if more := s.want - len(s.kept); more > 0 {
		// What is wanted is decided when its beginning is there, which may be within b.
		n = min(n, more)
		s.kept = append(s.kept, b[:n]...)
		if len(s.kept) == s.want {
			s.want = s.interest()
		}
	}
	s.left -= uint64(n)
	if s.left == 0 {
		s.endFrame()
	}
	return b[n:]
}

// interest is how much of the frame is to be kept, now that its beginning is.
func (s *scanner) interest() int {
	limit := 0
	if isTelling(peekCode(s.body())) {
		limit = maxKept
	}
	if s.trace != nil {
		limit = max(limit, maxTrace)
	}
	all := uint64(s.size) - headerSize
	return max(len(s.kept), int(min(all, uint64(limit+s.extended()))))
}

// body is what there is of the body behind the extended header.
func (s *scanner) body() []byte { return s.kept[min(s.extended(), len(s.kept)):] }

// endFrame takes the frame that is complete.
func (s *scanner) endFrame() {
	if body := s.body(); s.trace != nil || isTelling(peekCode(body)) {
		s.take(body)
	}
	s.size, s.head = 0, s.head[:0]
	if cap(s.kept) > maxTrace {
		s.kept = nil // the frames that are long come once
	}
}

func (s *scanner) take(body []byte) {
	p, ok := parse(body)
	if !ok {
		s.report(Frame{Name: "unknown", Size: s.size})
		return
	}
	s.learn(binary.BigEndian.Uint16(s.head[6:]), p)
	if s.trace != nil {
		s.report(Frame{Name: p.name(), Size: s.size, Fields: p.String()})
	}
}

// isTelling reports whether the peer, or the state of its sessions, is known by such a frame.
func isTelling(code uint64) bool {
	switch code {
	case codeOpen, codeBegin, codeEnd, codeClose, codeMechanisms, codeOutcome:
		return true
	default:
		return false
	}
}

func (s *scanner) report(f Frame) {
	if s.trace == nil {
		return
	}
	f.Out = s.isOut
	f.Channel = binary.BigEndian.Uint16(s.head[6:])
	s.trace(f)
}
