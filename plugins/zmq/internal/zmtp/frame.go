// SPDX-License-Identifier: Apache-2.0

package zmtp

import "encoding/binary"

// Bits of the flags byte.
const (
	flagMore    = 1
	flagLong    = 2
	flagCommand = 4
)

// maxCommand bounds a command and the whole of READY.
const maxCommand = 64 * kib

// header is the head of a frame.
type header struct {
	flags  byte
	length int // of the head itself
	size   uint64
}

func (h header) more() bool    { return h.flags&flagMore != 0 }
func (h header) command() bool { return h.flags&flagCommand != 0 }

// headerLength is how many bytes the head has that starts with flags.
func headerLength(flags byte) int {
	if flags&flagLong != 0 {
		return 9
	}
	return 2
}

// parseHeader reads a head of which all bytes are there.
func parseHeader(b []byte) (header, error) {
	h := header{flags: b[0], length: headerLength(b[0])}
	if h.flags&^(flagMore|flagLong|flagCommand) != 0 {
		return h, refusal("a frame has the flags %#02x", h.flags)
	}
	if h.length == 2 {
		h.size = uint64(b[1])
	} else {
		h.size = binary.BigEndian.Uint64(b[1:9])
	}
	if !h.command() {
		return h, nil
	}
	switch {
	case h.more():
		return h, refusal("a command says that more of it follows")
	case h.size == 0:
		return h, refusal("a command is empty")
	case h.size > maxCommand:
		return h, refusal("a command has %d bytes, the limit is %d", h.size, maxCommand)
	}
	return h, nil
}

// overhead is what ZMTP adds to a frame of size bytes.
func overhead(size int) int {
	if size > 255 {
		return 9
	}
	return 2
}
