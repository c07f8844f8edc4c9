// SPDX-License-Identifier: Apache-2.0

package wire

import "encoding/binary"

// The most bytes that a head takes, and a head behind a key of the header.
const (
	headSize  = 9
	fieldSize = 2 + headSize
)

// appendHead appends the head of a value in its shortest form.
func appendHead(b []byte, major byte, arg uint64) []byte {
	major <<= 5
	switch {
	case arg < 24:
		return append(b, major|byte(arg))
	case arg < 1<<8:
		return append(b, major|24, byte(arg))
	case arg < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(arg))
	case arg < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(arg))
	default:
		return binary.BigEndian.AppendUint64(append(b, major|27), arg)
	}
}

func appendText(b []byte, s string) []byte {
	return append(appendHead(b, majorText, uint64(len(s))), s...)
}

func appendInt(b []byte, n int64) []byte {
	if n < 0 {
		return appendHead(b, majorNegative, uint64(-1-n))
	}
	return appendHead(b, majorUint, uint64(n))
}

// writer appends the fields of one map, whose head is one byte at start. What is zero is no field.
type writer struct {
	buf    []byte
	start  int
	fields int
}

// key appends a key. Keys come in ascending order.
func (w *writer) key(k uint64) {
	w.buf = appendHead(w.buf, majorUint, k)
	w.fields++
}

func (w *writer) uint(k, n uint64) {
	if n != 0 {
		w.key(k)
		w.buf = appendHead(w.buf, majorUint, n)
	}
}

func (w *writer) int(k uint64, n int64) {
	if n != 0 {
		w.key(k)
		w.buf = appendInt(w.buf, n)
	}
}

func (w *writer) bool(k uint64, v bool) {
	if v {
		w.key(k)
		w.buf = append(w.buf, majorSimple<<5|simpleTrue)
	}
}

func (w *writer) text(k uint64, s string) {
	if s != "" {
		w.key(k)
		w.buf = appendText(w.buf, s)
	}
}

// end fills in the head of the map, which has at most 23 fields, and returns the buffer.
func (w *writer) end() []byte {
	w.buf[w.start] = majorMap<<5 | byte(w.fields)
	return w.buf
}
