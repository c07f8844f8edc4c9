// SPDX-License-Identifier: Apache-2.0

package scripted

import (
	"maps"
	"slices"
)

// window is what the peer takes and gives at a time: no limit in practice.
const window = uint32(1<<31 - 1)

// session is one session, on the same channel both ways. The lock of the peer guards it.
type session struct {
	conn      *conn
	channel   uint16
	ended     bool // the peer has ended it, and waits for the client to do so
	window    int64
	nextIn    uint32 // number of the next transfer from the client
	nextOut   uint32 // and to it
	nextID    uint32 // of the next delivery to the client
	lastIn    int64  // id of the last delivery from the client, -1 for none
	links     map[uint32]*link
	unsettled map[uint32]delivery
}

// delivery is a message on its way to the client.
type delivery struct {
	link    *link
	message *message
}

// begin answers a client's begin.
func (c *conn) begin(f frame) {
	switch {
	case f.channel > c.options.ChannelMax:
		c.violation("a session on channel %d, the last one is %d", f.channel, c.options.ChannelMax)
		c.close(&Error{"amqp:connection:framing-error", "the channel is above channel-max"})
		return
	case c.sessions[f.channel] != nil:
		c.violation("a second session on channel %d", f.channel)
		c.close(&Error{NotAllowed, "the channel is in use"})
		return
	}
	s := &session{
		conn: c, channel: f.channel, window: int64(f.fields.num(2, 0)), nextIn: uint32(f.fields.num(1, 0)), lastIn: -1,
		links: map[uint32]*link{}, unsettled: map[uint32]delivery{},
	}
	c.sessions[f.channel] = s
	s.send(codeBegin, List{f.channel, uint32(0), window, window, uint32(1<<32 - 1)}, nil)
}

func (s *session) send(code uint64, fields List, payload []byte) {
	if !s.ended {
		s.conn.frame(0, s.channel, code, fields, payload)
	}
}

// end ends the session from the peer's side.
func (s *session) end(err *Error) {
	s.send(codeEnd, List{err.value()}, nil)
	s.ended = true
	s.drop()
}

// drop gives back what the session's links had.
func (s *session) drop() {
	for _, handle := range slices.Sorted(maps.Keys(s.links)) {
		s.links[handle].drop()
	}
}

// handle does what a frame of the session asks for, and records it as e.
func (s *session) handle(f frame, e Event) {
	names := map[uint64]string{
		codeAttach: "attach", codeFlow: "flow", codeTransfer: "", codeDisposition: "disposition", codeDetach: "detach", codeEnd: "end",
	}
	name, known := names[f.code]
	if !known {
		s.conn.violation("frame %#02x, which no session has", f.code)
		return
	}
	e.Name = name
	switch f.code {
	case codeAttach:
		e.Attach = newAttach(s, f.fields)
	case codeDisposition:
		e.Disposition = newDisposition(f.fields)
	case codeDetach:
		e.Error = errorAt(f.fields, 2)
		if l := s.links[uint32(f.fields.num(0, 0))]; l != nil {
			e.Attach = l.attach
		}
	case codeEnd:
		e.Error = errorAt(f.fields, 0)
	}
	if e.Name != "" { // of a transfer, the message is recorded
		s.conn.peer.record(e)
	}
	s.act(f, e)
}

func (s *session) act(f frame, e Event) {
	if f.code == codeEnd {
		if !s.ended {
			s.end(nil)
		}
		delete(s.conn.sessions, s.channel)
		return
	}
	if s.ended {
		return // it was under way
	}
	switch f.code {
	case codeAttach:
		s.attach(uint32(f.fields.num(1, 0)), e.Attach)
	case codeFlow:
		s.flow(f.fields)
	case codeDisposition:
		s.settle(e.Disposition)
	case codeTransfer:
		s.nextIn++
		if l := s.linkOf(f.fields.num(0, 0), "transfer"); l != nil {
			l.transfer(f)
		}
	case codeDetach:
		if l := s.linkOf(f.fields.num(0, 0), "detach"); l != nil {
			l.detached(f.fields.flag(1))
		}
	}
}

// linkOf returns the link with that handle, nil when there is none.
func (s *session) linkOf(handle uint64, what string) *link {
	l := s.links[uint32(handle)]
	if l == nil {
		s.conn.violation("a %s for the handle %d, which has no link", what, handle)
		s.end(&Error{"amqp:session:unattached-handle", "no such link"})
	}
	return l
}

// flow updates the windows, and the credit of a link if it is about one.
func (s *session) flow(fields List) {
	s.window = int64(uint32(fields.num(0, 0)) + uint32(fields.num(1, 0)) - s.nextOut)
	if fields.at(4) != nil {
		if l := s.linkOf(fields.num(4, 0), "flow"); l != nil {
			l.flow(fields)
		}
		return
	}
	if fields.flag(9) {
		s.send(codeFlow, s.flowFields(), nil)
	}
	for _, l := range s.links {
		l.pump()
	}
}

func (s *session) flowFields() List { return List{s.nextIn, window, s.nextOut, window} }

// settle does what the client decided about messages that it received.
func (s *session) settle(d *Disposition) {
	if !d.Receiver {
		return // about what it sent: it confirms what the peer has decided
	}
	if int64(d.Last) >= int64(s.nextID) {
		s.conn.violation("a disposition for the deliveries %d to %d, the next one is %d", d.First, d.Last, s.nextID)
	}
	back := map[*link][]*message{}
	for _, id := range slices.Sorted(maps.Keys(s.unsettled)) {
		if id < d.First || id > d.Last || d.Outcome == "received" {
			continue
		}
		each := s.unsettled[id]
		delete(s.unsettled, id)
		switch d.Outcome {
		case "modified":
			each.message.modify(d.Modified, each.link)
			fallthrough
		case "released":
			back[each.link] = append(back[each.link], each.message)
		}
	}
	if !d.Settled {
		s.send(codeDisposition, List{false, d.First, d.Last, true}, nil)
	}
	for l, list := range back {
		l.node.giveBack(l, list)
	}
}

func (m *message) modify(how Modified, by *link) {
	if how.Failed {
		m.attempts++
	}
	if how.Undeliverable {
		m.avoid = by
	}
}

func newDisposition(fields List) *Disposition {
	first := uint32(fields.num(1, 0))
	d := &Disposition{
		Receiver: fields.flag(0), First: first, Last: uint32(fields.num(2, uint64(first))), Settled: fields.flag(3),
	}
	names := map[uint64]string{
		codeReceived: "received", codeAccepted: "accepted", codeRejected: "rejected", codeReleased: "released", codeModified: "modified",
	}
	code, state := fields.described(4)
	d.Outcome = names[code]
	switch code {
	case codeRejected:
		d.Error = errorAt(state, 0)
	case codeModified:
		d.Modified = Modified{Failed: state.flag(0), Undeliverable: state.flag(1)}
	}
	return d
}
