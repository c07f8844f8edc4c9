// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"math"
	"strconv"
	"unicode/utf8"
)

// The major types of CBOR, RFC 8949 section 3.1.
const (
	majorUint = iota
	majorNegative
	majorBytes
	majorText
	majorArray
	majorMap
	majorTag
	majorSimple
)

const (
	simpleFalse = 20
	simpleTrue  = 21

	// textsRoom is the largest header whose texts share one copy of it. Of a larger one each
	// text is copied, so that a short text does not keep a long header.
	textsRoom = 4 << 10
)

// reader takes values off the front of a header. The first problem stays: every method returns
// zero after it, so that callers look at problem once, where they are done.
type reader struct {
	data    []byte
	off     int
	problem string
	texts   string // a copy of data, made for the first text
}

func (r *reader) fail(problem string) {
	if r.problem == "" {
		r.problem = problem + " at offset " + strconv.Itoa(r.off) + " of the header"
	}
}

func (r *reader) left() int { return len(r.data) - r.off }

// head reads the first bytes of a value: its major type and its argument, which for majorSimple is
// the value's number or the bits of a float.
func (r *reader) head() (major byte, arg uint64) {
	if r.problem != "" {
		return 0, 0
	}
	if r.left() < 1 {
		r.fail("want a value")
		return 0, 0
	}
	first := r.data[r.off]
	major, info := first>>5, first&31
	if info < 24 {
		r.off++
		return major, uint64(info)
	}
	if info > 27 {
		r.fail("indefinite length or reserved head")
		return 0, 0
	}
	size := 1 << (info - 24)
	if r.left() < 1+size {
		r.fail("value does not end")
		return 0, 0
	}
	arg = argument(r.data[r.off+1 : r.off+1+size])
	if !shortest(major, size, arg) {
		r.fail("integer not in its shortest form")
		return 0, 0
	}
	r.off += 1 + size
	return major, arg
}

func argument(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	default:
		return binary.BigEndian.Uint64(b)
	}
}

// shortest reports whether an argument of size bytes needs them. Floats have the size that they
// have; a simple value in a byte of its own is one above 31.
func shortest(major byte, size int, arg uint64) bool {
	switch {
	case major == majorSimple:
		return size > 1 || arg >= 32
	case size == 1:
		return arg >= 24
	case size == 2:
		return arg > math.MaxUint8
	case size == 4:
		return arg > math.MaxUint16
	default:
		return arg > math.MaxUint32
	}
}

// want reads a head of one major type.
func (r *reader) want(major byte, what string) uint64 {
	at := r.off
	got, arg := r.head()
	if r.problem == "" && got != major {
		r.off = at
		r.fail("want " + what)
	}
	if r.problem != "" {
		return 0
	}
	return arg
}

func (r *reader) uint() uint64 { return r.want(majorUint, "an unsigned integer") }

// uintTo reads an integer of at most limit.
func (r *reader) uintTo(limit uint64) uint64 {
	at := r.off
	n := r.uint()
	if n > limit {
		r.off = at
		r.fail("integer too large")
		return 0
	}
	return n
}

// int reads an integer that may be negative, and stops at the ends of int64.
func (r *reader) int() int64 {
	at := r.off
	major, arg := r.head()
	switch {
	case r.problem != "":
		return 0
	case major == majorUint:
		return int64(min(arg, math.MaxInt64))
	case major == majorNegative:
		return -1 - int64(min(arg, math.MaxInt64))
	default:
		r.off = at
		r.fail("want an integer")
		return 0
	}
}

func (r *reader) bool() bool {
	at := r.off
	major, arg := r.head()
	if r.problem == "" && (major != majorSimple || r.off != at+1 || arg != simpleFalse && arg != simpleTrue) {
		r.off = at
		r.fail("want true or false")
	}
	return r.problem == "" && arg == simpleTrue
}

// text reads a text of at most MaxText bytes.
func (r *reader) text() string {
	s, valid := r.rawText(MaxText)
	if !valid {
		r.fail("text is not valid UTF-8")
		return ""
	}
	return s
}

// rawText reads a text that may be invalid UTF-8, and says so.
func (r *reader) rawText(limit int) (s string, valid bool) {
	n := r.want(majorText, "a text")
	switch {
	case r.problem != "":
		return "", true
	case n > uint64(r.left()):
		r.fail("text does not end")
		return "", true
	case n > uint64(limit):
		r.fail("text too long")
		return "", true
	}
	b := r.data[r.off : r.off+int(n)]
	switch {
	case n == 0:
		s = ""
	case len(r.data) > textsRoom:
		s = string(b)
	default:
		if r.texts == "" {
			r.texts = string(r.data)
		}
		s = r.texts[r.off : r.off+int(n)]
	}
	r.off += int(n)
	return s, utf8.Valid(b)
}

// list reads the head of an array or map and returns the number of its entries, each of which
// has at least size bytes.
func (r *reader) list(major byte, what string, size int) int {
	n := r.want(major, what)
	if n > uint64(r.left()/size) {
		r.fail("more entries than bytes")
		return 0
	}
	return int(n)
}

// skip reads one well-formed value of any kind.
func (r *reader) skip(depth int) {
	if depth > maxDepth {
		r.fail("nested too deeply")
		return
	}
	major, arg := r.head()
	if r.problem != "" {
		return
	}
	switch major {
	case majorBytes, majorText:
		if arg > uint64(r.left()) {
			r.fail("text does not end")
			return
		}
		r.off += int(arg)
	case majorArray:
		r.skipAll(arg, 1, depth)
	case majorMap:
		r.skipAll(arg, 2, depth)
	case majorTag:
		r.skip(depth + 1)
	}
}

// skipAll skips entries of so many values each.
func (r *reader) skipAll(entries, values uint64, depth int) {
	// A value has a byte at least, so the loop is no longer than the header.
	if entries > uint64(r.left())/values {
		r.fail("more entries than bytes")
		return
	}
	for i := uint64(0); i < entries*values && r.problem == ""; i++ {
		r.skip(depth + 1)
	}
}

// fields calls f for each key of a map of ascending keys. f reads the value, or returns false for
// a key that it does not know.
func (r *reader) fields(depth int, f func(key uint64) bool) {
	n := r.list(majorMap, "a map", 2)
	for i, last := 0, uint64(0); i < n && r.problem == ""; i++ {
		at := r.off
		key := r.uint()
		if r.problem != "" {
			return
		}
		if i > 0 && key <= last {
			r.off = at
			r.fail("key twice or out of order")
			return
		}
		last = key
		if !f(key) {
			r.skip(depth + 1)
		}
	}
}
