// SPDX-License-Identifier: Apache-2.0

package scripted

import (
	"bytes"
	"encoding/binary"
	"math"
	"sort"
)

// encode appends a value. What is none of the types of this package, or Go's own for AMQP's, is sent
// as null.
func encode(b []byte, v any) []byte {
	switch v := v.(type) {
	case bool:
		if v {
			return append(b, 0x41)
		}
		return append(b, 0x42)
	case []byte:
		return variable(b, 0xa0, string(v))
	case string:
		return variable(b, 0xa1, v)
	case Symbol:
		return variable(b, 0xa3, string(v))
	case List:
		return encodeList(b, v)
	case Map:
		return encodeMap(b, v)
	case Array:
		return encodeArray(b, v)
	case Described:
		b = encode(append(b, 0), v.Descriptor)
		return encode(b, v.Value)
	default:
		return encodeFixed(b, v)
	}
}

// encodeFixed appends values of fixed width, always the widest form that the type has.
func encodeFixed(b []byte, v any) []byte {
	big := binary.BigEndian
	switch v := v.(type) {
	case uint8:
		return append(b, 0x50, v)
	case uint16:
		return big.AppendUint16(append(b, 0x60), v)
	case uint32:
		return big.AppendUint32(append(b, 0x70), v)
	case uint64:
		return encodeUlong(b, v)
	case int8:
		return append(b, 0x51, byte(v))
	case int16:
		return big.AppendUint16(append(b, 0x61), uint16(v))
	case int32:
		return big.AppendUint32(append(b, 0x71), uint32(v))
	case int64:
		return big.AppendUint64(append(b, 0x81), uint64(v))
	case float32:
		return big.AppendUint32(append(b, 0x72), math.Float32bits(v))
	case float64:
		return big.AppendUint64(append(b, 0x82), math.Float64bits(v))
	case Char:
		return big.AppendUint32(append(b, 0x73), uint32(v))
	case Timestamp:
		return big.AppendUint64(append(b, 0x83), uint64(v))
	case UUID:
		return append(append(b, 0x98), v[:]...)
	case Opaque:
		return append(append(b, v.Code), v.Data...)
	default:
		return append(b, 0x40)
	}
}

// encodeUlong has the short form, which many peers expect of descriptors.
func encodeUlong(b []byte, v uint64) []byte {
	if v < 256 {
		return append(b, 0x53, byte(v))
	}
	return binary.BigEndian.AppendUint64(append(b, 0x80), v)
}

// variable appends a value of variable width, with code for its short form.
func variable(b []byte, code byte, data string) []byte {
	if len(data) < 256 {
		return append(append(b, code, byte(len(data))), data...)
	}
	b = binary.BigEndian.AppendUint32(append(b, code+0x10), uint32(len(data)))
	return append(b, data...)
}

// compound appends the wide form of a list, map or array.
func compound(b []byte, code byte, count int, data []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, code), uint32(len(data)+4))
	b = binary.BigEndian.AppendUint32(b, uint32(count))
	return append(b, data...)
}

func encodeList(b []byte, list List) []byte {
	if len(list) == 0 {
		return append(b, 0x45)
	}
	var data []byte
	for _, v := range list {
		data = encode(data, v)
	}
	return compound(b, 0xd0, len(list), data)
}

// encodeMap sorts by the bytes of the keys: the same map is the same bytes.
func encodeMap(b []byte, m Map) []byte {
	pairs := make([][]byte, 0, len(m))
	for k, v := range m {
		pairs = append(pairs, encode(encode(nil, k), v))
	}
	sort.Slice(pairs, func(i, j int) bool { return bytes.Compare(pairs[i], pairs[j]) < 0 })
	return compound(b, 0xd1, 2*len(m), bytes.Join(pairs, nil))
}

// encodeArray sends symbols as the protocol wants them. Of other types it makes a list, which no
// performative of this peer has.
func encodeArray(b []byte, a Array) []byte {
	data := []byte{0xb3}
	for _, v := range a {
		s, ok := v.(Symbol)
		if !ok {
			return encodeList(b, List(a))
		}
		data = binary.BigEndian.AppendUint32(data, uint32(len(s)))
		data = append(data, s...)
	}
	return compound(b, 0xf0, len(a), data)
}

// symbolArray is an array of symbols, or null when there are none.
func symbolArray(names []string) any {
	if len(names) == 0 {
		return nil
	}
	return symbols(names)
}

func symbols(names []string) Array {
	a := make(Array, len(names))
	for i, name := range names {
		a[i] = Symbol(name)
	}
	return a
}

// appendFrame appends a frame whose body is a performative and, for a transfer, its payload.
func appendFrame(b []byte, kind byte, channel uint16, code uint64, fields List, payload []byte) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0, 2, kind)
	b = binary.BigEndian.AppendUint16(b, channel)
	b = encode(b, Described{code, fields})
	b = append(b, payload...)
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start))
	return b
}
