// SPDX-License-Identifier: Apache-2.0

package sieve

import "encoding/binary"

// transfer is what matters of one: the fields of the performative, and the part of the message
// behind it.
type transfer struct {
	handle        uint32
	more, aborted bool
	payload       []byte
}

// The performatives that are looked at.
const (
	codeTransfer = 0x14
	codeDetach   = 0x16
	codeEnd      = 0x17
)

// readTransfer reads one, behind its descriptor.
func readTransfer(rest []byte) (t transfer, ok bool) {
	fields, count, rest, ok := list(rest)
	if !ok {
		return t, false
	}
	t.payload = rest
	for i := range count {
		var value []byte
		var format byte
		if format, value, fields, ok = simple(fields); !ok {
			return t, i == 7 // the state is described; a peer that sends it sends nothing behind it
		}
		switch i {
		case 0:
			t.handle = number(value)
		case 5:
			t.more = truth(format, value)
		case 9:
			t.aborted = truth(format, value)
		}
	}
	return t, true
}

// descriptor reads a descriptor that is a number.
func descriptor(b []byte) (code uint64, rest []byte, ok bool) {
	switch {
	case len(b) >= 3 && b[0] == 0 && b[1] == 0x53:
		return uint64(b[2]), b[3:], true
	case len(b) >= 10 && b[0] == 0 && b[1] == 0x80:
		return binary.BigEndian.Uint64(b[2:]), b[10:], true
	default:
		return 0, nil, false
	}
}

// list reads a list's fields and their count.
func list(b []byte) (fields []byte, count uint32, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, 0, nil, false
	}
	var size uint64
	var head int
	switch {
	case b[0] == 0x45:
		return nil, 0, b[1:], true
	case b[0] == 0xc0 && len(b) >= 3:
		size, count, head = uint64(b[1])-1, uint32(b[2]), 3
	case b[0] == 0xd0 && len(b) >= 9:
		size, count, head = uint64(binary.BigEndian.Uint32(b[1:]))-4, binary.BigEndian.Uint32(b[5:]), 9
	default:
		return nil, 0, nil, false
	}
	if size > uint64(len(b)-head) {
		return nil, 0, nil, false
	}
	end := head + int(size)
	return b[head:end], count, b[end:], true
}

// simple reads a value that is no container and not described.
func simple(b []byte) (format byte, value, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, nil, nil, false
	}
	f := formats[b[0]]
	if !f.known || f.container {
		return 0, nil, nil, false
	}
	head, size := 1+int(f.prefix), uint64(f.width)
	if len(b) < head {
		return 0, nil, nil, false
	}
	if f.prefix > 0 {
		size = uint64(number(b[1:head]))
	}
	if size > uint64(len(b)-head) {
		return 0, nil, nil, false
	}
	end := head + int(size)
	return b[0], b[head:end], b[end:], true
}

// number is a value of up to four bytes.
func number(b []byte) (n uint32) {
	for _, c := range b {
		n = n<<8 | uint32(c)
	}
	return n
}

// truth is a boolean.
func truth(format byte, value []byte) bool { return format == 0x41 || len(value) == 1 && value[0] != 0 }
