// SPDX-License-Identifier: Apache-2.0

package scripted

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Limits on what is decoded. Arrays may hold elements of no width, so their count is no measure of
// their bytes.
const (
	maxDepth = 24
	maxCount = 1 << 16
)

var errShort = errors.New("the value ends too early")

// decode reads one value and returns what follows it.
func decode(b []byte) (any, []byte, error) {
	d := decoder{rest: b}
	v, err := d.value(0)
	return v, d.rest, err
}

type decoder struct{ rest []byte }

func (d *decoder) take(n uint64) ([]byte, error) {
	if uint64(len(d.rest)) < n {
		return nil, errShort
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b, nil
}

// number is an unsigned number of n bytes.
func (d *decoder) number(n uint64) (uint64, error) {
	b, err := d.take(n)
	if err != nil {
		return 0, err
	}
	var v uint64
	for _, each := range b {
		v = v<<8 | uint64(each)
	}
	return v, nil
}

func (d *decoder) value(depth int) (any, error) {
	if depth > maxDepth {
		return nil, errors.New("values are nested too deeply")
	}
	code, err := d.number(1)
	if err != nil {
		return nil, err
	}
	if code != 0 {
		return d.body(byte(code), depth)
	}
	descriptor, err := d.value(depth + 1)
	if err != nil {
		return nil, err
	}
	v, err := d.value(depth + 1)
	return Described{descriptor, v}, err
}

// body reads what follows a constructor. The first half of a constructor's byte is its kind of
// width.
func (d *decoder) body(code byte, depth int) (any, error) {
	switch code >> 4 {
	case 0x4, 0x5, 0x6, 0x7, 0x8, 0x9:
		return d.fixed(code)
	case 0xa, 0xb:
		return d.variable(code)
	case 0xc, 0xd:
		return d.compound(code, depth)
	case 0xe, 0xf:
		return d.array(code, depth)
	default:
		return nil, fmt.Errorf("no such constructor %#02x", code)
	}
}

func (d *decoder) fixed(code byte) (any, error) {
	width := uint64(0)
	if code >= 0x50 {
		width = 1 << (code>>4 - 5)
	}
	data, err := d.take(width)
	if err != nil {
		return nil, err
	}
	switch code {
	case 0x40:
		return nil, nil
	case 0x41, 0x42:
		return code == 0x41, nil
	case 0x45:
		return List{}, nil
	case 0x56:
		return data[0] != 0, nil
	case 0x98:
		return UUID(data), nil
	default:
		return fixedNumber(code, data), nil
	}
}

// fixedNumber is a number by its constructor.
func fixedNumber(code byte, data []byte) any {
	n := decoder{rest: data}
	v, _ := n.number(uint64(len(data))) // as long as it is
	switch code {
	case 0x50:
		return uint8(v)
	case 0x60:
		return uint16(v)
	case 0x70, 0x52, 0x43:
		return uint32(v)
	case 0x80, 0x53, 0x44:
		return v
	case 0x51:
		return int8(v)
	case 0x61:
		return int16(v)
	case 0x71:
		return int32(v)
	case 0x54:
		return int32(int8(v))
	case 0x81:
		return int64(v)
	case 0x55:
		return int64(int8(v))
	case 0x72:
		return math.Float32frombits(uint32(v))
	case 0x82:
		return math.Float64frombits(v)
	case 0x73:
		return Char(v)
	case 0x83:
		return Timestamp(v)
	default:
		return Opaque{code, string(data)}
	}
}

// sizeWidth is how wide the size of a variable, compound or array is: the odd kinds have wide ones.
func sizeWidth(code byte) uint64 {
	if code>>4&1 == 1 {
		return 4
	}
	return 1
}

func (d *decoder) variable(code byte) (any, error) {
	n, err := d.number(sizeWidth(code))
	if err != nil {
		return nil, err
	}
	data, err := d.take(n)
	if err != nil {
		return nil, err
	}
	switch code & 0xf {
	case 0:
		return append([]byte{}, data...), nil
	case 1:
		return string(data), nil
	case 3:
		return Symbol(data), nil
	default:
		return nil, fmt.Errorf("no such constructor %#02x", code)
	}
}

// inside returns a decoder for the inside of a compound or array, and its count of elements.
func (d *decoder) inside(code byte) (*decoder, uint64, error) {
	width := sizeWidth(code)
	size, err := d.number(width)
	if err != nil {
		return nil, 0, err
	}
	data, err := d.take(size)
	if err != nil {
		return nil, 0, err
	}
	in := &decoder{rest: data}
	count, err := in.number(width)
	if err == nil && count > maxCount {
		err = fmt.Errorf("%d elements are too many", count)
	}
	return in, count, err
}

func (d *decoder) compound(code byte, depth int) (any, error) {
	in, count, err := d.inside(code)
	if err != nil {
		return nil, err
	}
	list := List{}
	for range count {
		v, err := in.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	switch {
	case len(in.rest) > 0:
		return nil, fmt.Errorf("%d bytes too many in a list or map", len(in.rest))
	case code&0xf == 0:
		return list, nil
	case code&0xf == 1:
		return mapOf(list)
	default:
		return nil, fmt.Errorf("no such constructor %#02x", code)
	}
}

func mapOf(list List) (Map, error) {
	if len(list)%2 != 0 {
		return nil, errors.New("a map has a key without a value")
	}
	m := Map{}
	for i := 0; i < len(list); i += 2 {
		switch list[i].(type) {
		case List, Map, Array, []byte, Described:
			return nil, fmt.Errorf("a map has a %T as a key", list[i])
		}
		m[list[i]] = list[i+1]
	}
	return m, nil
}

func (d *decoder) array(code byte, depth int) (any, error) {
	if code&0xf != 0 {
		return nil, fmt.Errorf("no such constructor %#02x", code)
	}
	in, count, err := d.inside(code)
	if err != nil {
		return nil, err
	}
	element, err := in.number(1)
	if err != nil {
		return nil, err
	}
	var descriptor any
	described := element == 0
	if described {
		if descriptor, err = in.value(depth + 1); err != nil {
			return nil, err
		}
		if element, err = in.number(1); err != nil {
			return nil, err
		}
	}
	if depth >= maxDepth {
		return nil, errors.New("values are nested too deeply")
	}
	list := Array{}
	for range count {
		v, err := in.body(byte(element), depth+1)
		if err != nil {
			return nil, err
		}
		if described {
			v = Described{descriptor, v}
		}
		list = append(list, v)
	}
	if len(in.rest) > 0 {
		return nil, fmt.Errorf("%d bytes too many in an array", len(in.rest))
	}
	return list, nil
}

// frameHeader is before each frame.
type frameHeader struct {
	size    uint32
	offset  byte // of the body, in words of four bytes
	kind    byte // 0 AMQP, 1 SASL
	channel uint16
}

const frameHeaderSize = 8

func parseFrameHeader(b [frameHeaderSize]byte, limit uint32) (frameHeader, error) {
	h := frameHeader{binary.BigEndian.Uint32(b[:]), b[4], b[5], binary.BigEndian.Uint16(b[6:])}
	switch {
	case h.size < frameHeaderSize || h.offset < 2 || uint32(h.offset)*4 > h.size:
		return h, fmt.Errorf("a frame of %d bytes whose body begins at %d", h.size, int(h.offset)*4)
	case h.size > limit:
		return h, fmt.Errorf("a frame of %d bytes, the limit is %d", h.size, limit)
	case h.kind > 1:
		return h, fmt.Errorf("no such type of frame: %d", h.kind)
	}
	return h, nil
}
