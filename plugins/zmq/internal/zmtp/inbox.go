// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"errors"
	"io"
)

// The read buffer starts small, because most peers are idle, doubles when a read fills it, and
// halves when shrinkAfter reads in a row left most of it empty.
const (
	minInbox    = 2 * kib
	maxInbox    = 64 * kib
	shrinkAfter = 32
)

// inbox is the read buffer. One goroutine uses it.
type inbox struct {
	buf  []byte
	r, w int
	few  int // reads in a row that left most of buf empty
}

func (i *inbox) buffered() int { return i.w - i.r }

func (i *inbox) bytes() []byte { return i.buf[i.r:i.w] }

func (i *inbox) skip(n int) { i.r += n }

// need reads until n bytes are there. The buffer only grows with what has come, whatever n is.
func (i *inbox) need(n int, read func([]byte) (int, error)) error {
	for i.buffered() < n {
		if err := i.fill(read); err != nil {
			if errors.Is(err, io.EOF) && i.buffered() > 0 {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// fill reads once.
func (i *inbox) fill(read func([]byte) (int, error)) error {
	i.room()
	n, err := read(i.buf[i.w:])
	if n == 0 {
		return err
	}
	i.w += n
	if n < len(i.buf)/8 {
		i.few++
	} else {
		i.few = 0
	}
	return nil
}

// room makes place for the next read.
func (i *inbox) room() {
	held := i.buffered()
	switch {
	case i.w == len(i.buf) && held >= len(i.buf)/2 || len(i.buf) == 0:
		i.resize(max(minInbox, 2*len(i.buf)))
	case i.w == len(i.buf) && len(i.buf) < maxInbox: // the last read filled it
		i.resize(2 * len(i.buf))
	case i.few >= shrinkAfter && len(i.buf) > minInbox && held < len(i.buf)/4:
		i.resize(len(i.buf) / 2)
	default:
		copy(i.buf, i.bytes())
		i.r, i.w = 0, held
	}
}

func (i *inbox) resize(size int) {
	buf := make([]byte, size)
	i.w = copy(buf, i.bytes())
	i.r, i.few, i.buf = 0, 0, buf
}
