// SPDX-License-Identifier: Apache-2.0

package sieve

import (
	"fmt"
	"math"
)

const (
	// maxDepth bounds values within values. An oslo.messaging message has two.
	maxDepth = 16
	// maxCount is go-amqp's own bound for the values of one container.
	maxCount = 65536
)

// The reasons.
const (
	whySection   = "what is there is no section of a message"
	whyDescribed = "a described value is within a section"
	whyDeep      = "its values are nested too deeply"
	whySize      = "the sizes of its values contradict each other"
	whyCount     = "a list or map has too many values"
	whyKey       = "a map has a key that is no simple value"
	whyField     = "a field of its header or properties has a wrong type"
	whyShort     = "it ends before its values do"
)

// scan follows the values of one message, which may come in parts.
type scan struct {
	hidden bool   // it is being overwritten
	why    string // it cannot be read, or ""

	pos    uint64 // bytes seen
	skip   uint64 // bytes of the value that are still to come
	head   []byte // the start of a value or section that is not whole yet
	room   [16]byte
	levels []level // the section and the containers around the place
}

// level is the section, or a container, around the next value.
type level struct {
	left    uint32 // values still to come
	index   uint32 // of the next value
	end     uint64 // where it ends, by its size
	section byte   // code of the section whose value, or whose value's field, comes next; else 0
	inside  bool   // of a container
	isMap   bool
	element byte // format code of the elements of an array, else 0
}

// reset makes s ready for another message.
func (s *scan) reset() { *s = scan{levels: s.levels[:0]} }

// feed takes the next part and returns why the message cannot be read, or "".
func (s *scan) feed(p []byte, last bool) string {
	for len(p) > 0 && s.why == "" {
		if s.skip > 0 {
			n := min(s.skip, uint64(len(p)))
			s.skip, s.pos, p = s.skip-n, s.pos+n, p[n:]
			if s.skip == 0 {
				s.done()
			}
			continue
		}
		if s.head == nil {
			s.head = s.room[:0]
		}
		s.head, s.pos, p = append(s.head, p[0]), s.pos+1, p[1:]
		s.step()
	}
	if last && s.why == "" && (s.skip > 0 || len(s.head) > 0 || len(s.levels) > 0) {
		s.why = whyShort
	}
	return s.why
}

// step looks whether head is whole, and goes on behind it.
func (s *scan) step() {
	if len(s.levels) == 0 {
		s.enterSection()
		return
	}
	top := &s.levels[len(s.levels)-1]
	code, prefix := top.element, s.head
	if code == 0 {
		code, prefix = s.head[0], s.head[1:]
		if s.why = top.refuses(code); s.why != "" {
			return
		}
	}
	f := formats[code]
	if f.container {
		s.enter(top, f, prefix, code)
		return
	}
	if len(prefix) < int(f.prefix) {
		return
	}
	size := uint64(f.width)
	if f.prefix > 0 {
		size = uint64(number(prefix))
	}
	s.pass(top, size)
}

// pass goes over a value of that size.
func (s *scan) pass(top *level, size uint64) {
	if size > top.end-s.pos {
		s.why = whySize
		return
	}
	s.head, s.skip = s.head[:0], size
	if size == 0 {
		s.done()
	}
}

// done counts the value that ended, and ends what ends with it.
func (s *scan) done() {
	for len(s.levels) > 0 {
		top := &s.levels[len(s.levels)-1]
		top.left--
		top.index++
		if top.left > 0 {
			return
		}
		if top.inside && top.end != s.pos {
			s.why = whySize
			return
		}
		s.levels = s.levels[:len(s.levels)-1]
	}
}

func (s *scan) enterSection() {
	code, rest, ok := descriptor(s.head)
	switch {
	case !ok && len(s.head) < 10 && (s.head[0] == 0 && (len(s.head) == 1 || s.head[1] == 0x80 || len(s.head) < 3 && s.head[1] == 0x53)):
		return // there is more to come
	case !ok || len(rest) > 0 || code < sectionHeader || code > sectionFooter:
		s.why = whySection
		return
	}
	s.head = s.head[:0]
	s.levels = append(s.levels, level{left: 1, end: math.MaxUint64, section: byte(code)})
}

// enter begins a container whose format code has been read.
func (s *scan) enter(top *level, f format, prefix []byte, code byte) {
	width := int(f.prefix)
	need := 2 * width
	if f.array {
		need++
	}
	if len(prefix) < need {
		return
	}
	size, count := uint64(number(prefix[:width])), number(prefix[width:2*width])
	if size < uint64(need-width) {
		s.why = whySize
		return
	}
	size -= uint64(need - width)
	switch {
	case size > top.end-s.pos:
		s.why = whySize
	case count > maxCount:
		s.why = whyCount
	case len(s.levels) > maxDepth:
		s.why = whyDeep
	case f.array:
		s.enterArray(top, prefix[2*width], count, size)
	default:
		isMap := code&0xf == 1
		if isMap && count%2 != 0 {
			s.why = whySize
			return
		}
		inner := level{left: count, end: s.pos + size, inside: true, isMap: isMap}
		if !top.inside {
			inner.section = top.section
		}
		s.push(inner, size)
	}
}

func (s *scan) push(l level, size uint64) {
	if l.left == 0 {
		if size != 0 {
			s.why = whySize
			return
		}
		s.head = s.head[:0]
		s.done()
		return
	}
	s.head = s.head[:0]
	s.levels = append(s.levels, l)
}

func (s *scan) enterArray(top *level, element byte, count uint32, size uint64) {
	f := formats[element]
	switch {
	case !f.known || f.container || element == 0x40 || element == 0x45:
		s.why = whyType(element)
	case f.prefix > 0:
		s.push(level{left: count, end: s.pos + size, inside: true, element: element}, size)
	case uint64(count)*uint64(f.width) != size:
		s.why = whySize
	default:
		s.pass(top, size)
	}
}

func whyType(code byte) string {
	if code == 0 {
		return whyDescribed
	}
	return fmt.Sprintf("a value has the type %#02x, which is not understood", code)
}
