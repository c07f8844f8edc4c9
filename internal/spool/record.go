// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
)

// A segment is segmentMagic and then frames: the length of the body, the CRC-32C of those four
// bytes, the CRC-32C of the body, and the body: id, time in milliseconds, the key with its length
// in two bytes, and the data. Numbers are big-endian. The length has a sum of its own so that one
// damaged body does not hide what is behind it.
const (
	segmentMagic = "parspl1\n"
	frameHead    = 12
	bodyHead     = 18
	maxKey       = math.MaxUint16
	maxData      = 64 << 20
	maxBody      = bodyHead + maxKey + maxData
)

func sum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

type record struct {
	id   uint64
	at   int64
	key  string
	data []byte
}

// encode returns the frame of r.
func (r record) encode() []byte {
	b := make([]byte, frameHead, frameHead+bodyHead+len(r.key)+len(r.data))
	b = binary.BigEndian.AppendUint64(b, r.id)
	b = binary.BigEndian.AppendUint64(b, uint64(r.at))
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.key)))
	b = append(append(b, r.key...), r.data...)
	binary.BigEndian.PutUint32(b, uint32(len(b)-frameHead))
	binary.BigEndian.PutUint32(b[4:], sum(b[:4]))
	binary.BigEndian.PutUint32(b[8:], sum(b[frameHead:]))
	return b
}

var (
	errTorn    = errors.New("a frame ends too early or its length is wrong")
	errDamaged = errors.New("a frame does not have the sum it says")
)

// bodyLength reads the head of a frame.
func bodyLength(head []byte) (int, error) {
	n := binary.BigEndian.Uint32(head)
	if sum(head[:4]) != binary.BigEndian.Uint32(head[4:]) || n < bodyHead || n > maxBody {
		return 0, errTorn
	}
	return int(n), nil
}

// decodeBody reads the body of a frame with this head. The data are those of body.
func decodeBody(head, body []byte) (record, error) {
	if sum(body) != binary.BigEndian.Uint32(head[8:]) {
		return record{}, errDamaged
	}
	end := bodyHead + int(binary.BigEndian.Uint16(body[16:]))
	if end > len(body) {
		return record{}, errDamaged
	}
	return record{
		id: binary.BigEndian.Uint64(body), at: int64(binary.BigEndian.Uint64(body[8:])),
		key: string(body[bodyHead:end]), data: body[end:],
	}, nil
}

// decodeFrame reads one whole frame.
func decodeFrame(frame []byte) (record, error) {
	if len(frame) < frameHead {
		return record{}, errTorn
	}
	n, err := bodyLength(frame)
	if err != nil || n != len(frame)-frameHead {
		return record{}, errTorn
	}
	return decodeBody(frame[:frameHead], frame[frameHead:])
}

// scanned is what is in a segment.
type scanned struct {
	// good is where the last whole frame ends; zero when not even the magic is right.
	good int64
	// damaged counts frames before that whose sum is wrong.
	damaged int
}

// scan reads a segment of size bytes and calls found for each record; its data are good until the
// next call. It takes no more memory than the longest frame that fits size, and returns an error
// only for one of r.
func scan(r io.Reader, size int64, found func(off int64, frame int, rec record)) (scanned, error) {
	var (
		in   = bufio.NewReaderSize(r, 64<<10)
		head [frameHead]byte
		body []byte
		s    scanned
		bad  int
	)
	if _, err := io.ReadFull(in, head[:len(segmentMagic)]); err != nil || string(head[:len(segmentMagic)]) != segmentMagic {
		return s, unlessEOF(err)
	}
	s.good = int64(len(segmentMagic))
	for off := s.good; ; {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return s, unlessEOF(err)
		}
		n, err := bodyLength(head[:])
		if err != nil || int64(n) > size-off-frameHead {
			return s, nil //nolint:nilerr // that is where the segment ends
		}
		if cap(body) < n {
			body = make([]byte, n)
		}
		if _, err := io.ReadFull(in, body[:n]); err != nil {
			return s, unlessEOF(err)
		}
		rec, err := decodeBody(head[:], body[:n])
		if err == nil {
			found(off, frameHead+n, rec)
			s.good, s.damaged = off+int64(frameHead+n), s.damaged+bad
			bad = 0
		} else {
			bad++
		}
		off += int64(frameHead + n)
	}
}

func unlessEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// A journal is a list of ids, each with its CRC-32C.
const journalEntry = 12

func appendSettled(b []byte, id uint64) []byte {
	b = binary.BigEndian.AppendUint64(b, id)
	return binary.BigEndian.AppendUint32(b, sum(b[len(b)-8:]))
}

// scanJournal calls found for each id, and returns where the last whole one ends.
func scanJournal(r io.Reader, found func(id uint64)) (int64, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	var b [journalEntry]byte
	for good := int64(0); ; good += journalEntry {
		if _, err := io.ReadFull(in, b[:]); err != nil {
			return good, unlessEOF(err)
		}
		if sum(b[:8]) != binary.BigEndian.Uint32(b[8:]) {
			return good, nil
		}
		found(binary.BigEndian.Uint64(b[:]))
	}
}
