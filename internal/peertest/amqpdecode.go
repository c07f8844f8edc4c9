// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Types of AMQP frames.
const (
	frameMethod    = 1
	frameHeader    = 2
	frameBody      = 3
	frameHeartbeat = 8
	frameEnd       = 0xCE
)

const (
	frameOverhead = 8       // type, channel, size and end mark
	frameLimit    = 8 << 20 // far above what brokers and clients agree on
)

// readFrame reads one frame and returns all its bytes.
func readFrame(r io.Reader) ([]byte, error) {
	head := make([]byte, 7)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[3:])
	if size > frameLimit {
		return nil, fmt.Errorf("read AMQP frame: %d bytes are more than %d", size, frameLimit)
	}
	frame := make([]byte, frameOverhead+int(size))
	copy(frame, head)
	if _, err := io.ReadFull(r, frame[7:]); err != nil {
		return nil, fmt.Errorf("read AMQP frame: %w", err)
	}
	if frame[len(frame)-1] != frameEnd {
		return nil, errors.New("read AMQP frame: no end mark")
	}
	return frame, nil
}

// decodeMethod decodes the payload of a method frame.
func decodeMethod(payload []byte) (name string, args map[string]any, err error) {
	d := amqpDecoder{rest: payload}
	class, id := d.short(), d.short()
	m, ok := lookupMethod(class, id)
	if !ok {
		return fmt.Sprintf("%d.%d", class, id), nil, nil
	}
	args = d.fields(m.fields)
	if d.err != nil {
		return m.name, nil, fmt.Errorf("decode %s: %w", m.name, d.err)
	}
	return m.name, args, nil
}

// decodeHeader decodes the payload of a content header frame.
func decodeHeader(payload []byte) (size uint64, properties map[string]any, err error) {
	d := amqpDecoder{rest: payload}
	d.take(4) // class and weight
	size = d.longlong()
	flags := d.short()
	properties = make(map[string]any)
	for i, f := range messageProperties() {
		if flags&(1<<(15-i)) != 0 {
			properties[f.name] = d.field(f.kind)
		}
	}
	if d.err != nil {
		return 0, nil, fmt.Errorf("decode message properties: %w", d.err)
	}
	return size, properties, nil
}

// amqpDecoder takes values off a payload. After the first error it returns
// zeros.
type amqpDecoder struct {
	rest []byte
	err  error
}

func (d *amqpDecoder) take(n int) []byte {
	if d.err == nil && (n < 0 || n > len(d.rest)) {
		d.err = io.ErrUnexpectedEOF
	}
	if d.err != nil {
		return make([]byte, max(0, min(n, 8)))
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *amqpDecoder) octet() byte       { return d.take(1)[0] }
func (d *amqpDecoder) short() uint16     { return binary.BigEndian.Uint16(d.take(2)) }
func (d *amqpDecoder) long() uint32      { return binary.BigEndian.Uint32(d.take(4)) }
func (d *amqpDecoder) longlong() uint64  { return binary.BigEndian.Uint64(d.take(8)) }
func (d *amqpDecoder) shortstr() string  { return string(d.take(int(d.octet()))) }
func (d *amqpDecoder) longstr() []byte   { return d.take(int(d.long())) }
func (d *amqpDecoder) sub() *amqpDecoder { return &amqpDecoder{rest: d.longstr(), err: d.err} }

// fields decodes arguments in order. Neighbouring bits share octets.
func (d *amqpDecoder) fields(fields []amqpField) map[string]any {
	args := make(map[string]any, len(fields))
	var bits byte
	used := 8
	for _, f := range fields {
		if f.kind != kindBit {
			used = 8
			args[f.name] = d.field(f.kind)
			continue
		}
		if used == 8 {
			bits, used = d.octet(), 0
		}
		args[f.name] = bits&(1<<used) != 0
		used++
	}
	return args
}

func (d *amqpDecoder) field(kind byte) any {
	switch kind {
	case kindOctet:
		return d.octet()
	case kindShort:
		return d.short()
	case kindLong:
		return d.long()
	case kindLonglong:
		return d.longlong()
	case kindShortstr:
		return d.shortstr()
	case kindLongstr:
		return string(d.longstr())
	case kindTable:
		return d.table()
	}
	d.fail("no such kind of argument %q", kind)
	return nil
}

func (d *amqpDecoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

func (d *amqpDecoder) table() map[string]any {
	t := d.sub()
	table := make(map[string]any)
	for len(t.rest) > 0 && t.err == nil {
		name := t.shortstr()
		table[name] = t.value()
	}
	d.inherit(t)
	return table
}

func (d *amqpDecoder) array() []any {
	a := d.sub()
	array := []any{}
	for len(a.rest) > 0 && a.err == nil {
		array = append(array, a.value())
	}
	d.inherit(a)
	return array
}

func (d *amqpDecoder) inherit(sub *amqpDecoder) {
	if d.err == nil {
		d.err = sub.err
	}
}

// value decodes one value of a table, with the type letters that RabbitMQ and
// py-amqp use. The Go type tells the width that was on the wire.
func (d *amqpDecoder) value() any {
	switch kind := d.octet(); kind {
	case 't':
		return d.octet() != 0
	case 'b':
		return int8(d.octet())
	case 'B':
		return d.octet()
	case 's':
		return int16(d.short())
	case 'u':
		return d.short()
	case 'I':
		return int32(d.long())
	case 'i':
		return d.long()
	case 'l', 'L':
		return int64(d.longlong())
	case 'f':
		return math.Float32frombits(d.long())
	case 'd':
		return math.Float64frombits(d.longlong())
	case 'D':
		scale := d.octet()
		return float64(int32(d.long())) / math.Pow10(int(scale))
	case 'S':
		return string(d.longstr())
	case 'x':
		return d.longstr()
	case 'A':
		return d.array()
	case 'T':
		return d.longlong()
	case 'F':
		return d.table()
	case 'V':
		return nil
	default:
		d.fail("no such type %q in a table", kind)
		return nil
	}
}
