// SPDX-License-Identifier: Apache-2.0

package amqpopen

import (
	"encoding/binary"
	"errors"
)

// maxDepth bounds values within values.
const maxDepth = 8

var (
	errShort  = errors.New("the value is longer than what there is of it")
	errFormat = errors.New("there is no such format code")
	errDeep   = errors.New("the values are too deep within each other")
)

// Values are nil, bool, uint64, int64, string (also symbols), bytesValue, []any (lists and arrays), pairs,
// described, or other for the types that nobody here looks at.
type (
	bytesValue []byte
	pairs      []any // keys and values in turn
	other      struct{}
)

// described is a value with a descriptor, which is zero when it is no number.
type described struct {
	code  uint64
	value any
}

// decoder reads values. It never reads beyond rest, and never keeps it.
type decoder struct{ rest []byte }

func (d *decoder) take(n uint64) ([]byte, error) {
	if n > uint64(len(d.rest)) {
		return nil, errShort
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b, nil
}

// value reads one value.
func (d *decoder) value(depth int) (any, error) {
	if depth > maxDepth {
		return nil, errDeep
	}
	b, err := d.take(1)
	if err != nil {
		return nil, err
	}
	if b[0] == 0 {
		return d.described(depth)
	}
	return d.coded(b[0], depth)
}

func (d *decoder) described(depth int) (any, error) {
	descriptor, err := d.value(depth + 1)
	if err != nil {
		return nil, err
	}
	v, err := d.value(depth + 1)
	code, _ := descriptor.(uint64)
	return described{code, v}, err
}

// coded reads the value of a format code. Its upper half says how long it is.
func (d *decoder) coded(format byte, depth int) (any, error) {
	switch format >> 4 {
	case 0x4:
		return empty(format)
	case 0x5, 0x6, 0x7, 0x8, 0x9:
		b, err := d.take(1 << (format>>4 - 5))
		if err != nil {
			return nil, err
		}
		return fixed(format, b)
	case 0xa, 0xc, 0xe:
		b, err := d.take(1)
		if err != nil {
			return nil, err
		}
		return d.variable(format, uint64(b[0]), depth)
	case 0xb, 0xd, 0xf:
		b, err := d.take(4)
		if err != nil {
			return nil, err
		}
		return d.variable(format, uint64(binary.BigEndian.Uint32(b)), depth)
	default:
		return nil, errFormat
	}
}

func empty(format byte) (any, error) {
	switch format {
	case 0x40:
		return nil, nil //nolint:nilnil // the null value
	case 0x41:
		return true, nil
	case 0x42:
		return false, nil
	case 0x43, 0x44:
		return uint64(0), nil
	case 0x45:
		return []any{}, nil
	default:
		return nil, errFormat
	}
}

func fixed(format byte, b []byte) (any, error) {
	switch format {
	case 0x50, 0x52, 0x53: // ubyte, smalluint, smallulong
		return uint64(b[0]), nil
	case 0x51, 0x54, 0x55: // byte, smallint, smalllong
		return int64(int8(b[0])), nil
	case 0x56:
		return b[0] != 0, nil
	case 0x60:
		return uint64(binary.BigEndian.Uint16(b)), nil
	case 0x61:
		return int64(int16(binary.BigEndian.Uint16(b))), nil
	case 0x70:
		return uint64(binary.BigEndian.Uint32(b)), nil
	case 0x71:
		return int64(int32(binary.BigEndian.Uint32(b))), nil
	case 0x80:
		return binary.BigEndian.Uint64(b), nil
	case 0x81:
		return int64(binary.BigEndian.Uint64(b)), nil
	default:
		return other{}, nil
	}
}

// variable reads a value of n bytes.
func (d *decoder) variable(format byte, n uint64, depth int) (any, error) {
	switch format >> 4 {
	case 0xa, 0xb:
		b, err := d.take(n)
		if err != nil {
			return nil, err
		}
		if format&0xf == 0 {
			return bytesValue(append([]byte(nil), b[:min(len(b), maxText)]...)), nil
		}
		return string(b), nil
	case 0xc, 0xd:
		return d.compound(format, n, depth)
	default:
		b, err := d.take(n)
		if err != nil {
			return nil, err
		}
		return array(format, b, depth)
	}
}

// compound reads a list or a map. One that is cut off, as the trace of a long frame is, yields what
// there is of it.
func (d *decoder) compound(format byte, n uint64, depth int) (any, error) {
	body, cut := d.take(n)
	if cut != nil {
		body, d.rest = d.rest, nil
	}
	inner := decoder{body}
	count, err := inner.count(format >= 0xd0)
	if err != nil {
		return nil, err
	}
	var out []any
	for range count {
		v, err := inner.value(depth + 1)
		if err != nil {
			if cut != nil {
				break
			}
			return nil, err
		}
		out = append(out, v)
	}
	if format&0xf == 1 {
		return pairs(out), nil
	}
	return out, nil
}

// count reads how many values follow. Each has a byte at least.
func (d *decoder) count(wide bool) (uint64, error) {
	var n uint64
	if wide {
		b, err := d.take(4)
		if err != nil {
			return 0, err
		}
		n = uint64(binary.BigEndian.Uint32(b))
	} else {
		b, err := d.take(1)
		if err != nil {
			return 0, err
		}
		n = uint64(b[0])
	}
	return min(n, uint64(len(d.rest))+1), nil
}

// array reads one of strings or symbols. Nobody looks at others.
func array(format byte, body []byte, depth int) (any, error) {
	d := decoder{body}
	count, err := d.count(format >= 0xf0)
	if err != nil {
		return nil, err
	}
	b, err := d.take(1)
	if err != nil {
		return nil, err
	}
	switch b[0] {
	case 0xa1, 0xa3, 0xb1, 0xb3:
	default:
		return other{}, nil
	}
	out := []any{}
	for range min(count, maxTexts) {
		v, err := d.coded(b[0], depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}
