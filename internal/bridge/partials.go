// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"slices"

	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// stalledFrames is how many frames of its stream a message may be without a chunk. A sender
// gives each of the few that are begun its turn, and every frame carries a chunk.
const stalledFrames = 1000

// partials puts messages together that come in chunks. The goroutine that reads the stream owns
// it. Everything that breaks the rules ends the stream.
type partials struct {
	limit int // bytes of one, and of all together; 0: no chunks were agreed on

	open   map[uint64]*partial
	bytes  int    // announced by those that are open
	last   uint64 // the number that was begun last
	frames uint64 // frames that came
}

// partial is a message of which not everything came yet.
type partial struct {
	total, left            int
	context, body, failure pieces
	frame                  uint64 // in which the last chunk came
}

// add takes the chunks of a frame.
func (p *partials) add(chunks []*pb.Chunk) error {
	if len(chunks) == 0 && len(p.open) == 0 {
		return nil // the usual case
	}
	p.frames++
	for _, c := range chunks {
		if err := p.addChunk(c); err != nil {
			return err
		}
	}
	for number, m := range p.open {
		if p.frames-m.frame > stalledFrames {
			return protocolError("chunks of message %d stopped: %d of %d bytes are missing after %d further frames",
				number, m.left, m.total, stalledFrames)
		}
	}
	return nil
}

func (p *partials) addChunk(c *pb.Chunk) error {
	number, size := c.GetNumber(), len(c.GetContext())+len(c.GetBody())+len(c.GetFailure())
	m := p.open[number]
	if m == nil {
		var err error
		if m, err = p.begin(c); err != nil {
			return err
		}
	} else if c.GetTotal() != 0 {
		return protocolError("message %d was begun twice", number)
	}
	switch {
	case c.GetAbort():
		p.drop(number)
		return nil
	case size == 0:
		return protocolError("an empty chunk of message %d", number)
	case size > m.left:
		return protocolError("a chunk of %d bytes of message %d, of which %d of %d bytes are missing", size, number, m.left, m.total)
	}
	m.context.add(c.GetContext())
	m.body.add(c.GetBody())
	m.failure.add(c.GetFailure())
	m.left -= size
	m.frame = p.frames
	return nil
}

// begin judges the first chunk of a message by what it announces.
func (p *partials) begin(c *pb.Chunk) (*partial, error) {
	number, total := c.GetNumber(), c.GetTotal()
	switch {
	case p.limit == 0:
		return nil, protocolError("a chunk came, and no chunks were agreed on")
	case number != p.last+1:
		return nil, protocolError("a chunk of message %d, which is not open; message %d was begun last", number, p.last)
	case total == 0:
		return nil, protocolError("message %d was begun without its total", number)
	case total > uint64(p.limit):
		return nil, driver.Errorf(driver.ReasonMessageTooLarge,
			"a message of %d bytes was announced and the limit is %d (MaxMessageBytes)", total, p.limit)
	case len(p.open) == maxPartials:
		return nil, protocolError("more than %d messages were begun and not finished", maxPartials)
	case p.bytes+int(total) > p.limit:
		return nil, protocolError("messages of %d bytes together were begun and the limit is %d (MaxMessageBytes)", p.bytes+int(total), p.limit)
	}
	if p.open == nil {
		p.open = make(map[uint64]*partial)
	}
	m := &partial{total: int(total), left: int(total), frame: p.frames}
	p.open[number], p.last = m, number
	p.bytes += m.total
	return m, nil
}

func (p *partials) drop(number uint64) {
	p.bytes -= p.open[number].total
	delete(p.open, number)
}

// pieces are the parts of a field. They are put together when all have come: a total is only
// announced, and memory follows what is there.
type pieces [][]byte

// smallPiece is what is appended to before a new piece begins: one byte a chunk must not cost more
// than it brings.
const smallPiece = 16 << 10

func (p *pieces) add(data []byte) {
	n := len(*p)
	switch {
	case len(data) == 0:
	case n > 0 && len((*p)[n-1]) < smallPiece:
		(*p)[n-1] = append((*p)[n-1], data...)
	default:
		*p = append(*p, data)
	}
}

func (p pieces) join() []byte {
	if len(p) == 1 {
		return p[0]
	}
	return slices.Concat(p...)
}

// finish gives m, the head of a message, what came before it in chunks.
func (p *partials) finish(m *driver.Message, number uint64) error {
	if number == 0 {
		return nil
	}
	whole := p.open[number]
	switch {
	case whole == nil:
		return protocolError("a message with the chunks of message %d, which is not open", number)
	case whole.left > 0:
		return protocolError("message %d came while %d of %d bytes are missing", number, whole.left, whole.total)
	case len(m.Context)+len(m.Body)+len(m.Failure) > 0:
		return protocolError("message %d has chunks and a body", number)
	}
	m.Context, m.Body, m.Failure = whole.context.join(), whole.body.join(), whole.failure.join()
	p.drop(number)
	return nil
}
