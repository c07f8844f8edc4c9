// SPDX-License-Identifier: Apache-2.0

package scripted

import (
	"encoding/binary"
	"maps"
	"slices"
)

// link is one link, with the same handle both ways. The lock of the peer guards it.
type link struct {
	session   *session
	handle    uint32
	attach    *Attach
	detaching bool // the peer has detached it, and waits for the client to do so
	gone      bool // it was given back
	node      *node
	credit    uint32 // of the one that sends
	count     uint32 // of deliveries

	// When the client sends.
	revoked           uint32 // credit that was taken back, and may have been used meanwhile
	partial           *Message
	settled, awaiting bool // a message of that kind was sent on it

	copies []*message // of a multicast node, to be delivered
}

// newAttach reads a client's attach.
func newAttach(s *session, fields List) *Attach {
	_, source := fields.described(5)
	_, target := fields.described(6)
	a := &Attach{
		Conn: s.conn.id, Channel: s.channel, Name: fields.text(0), Sender: !fields.flag(2), Source: source, Target: target,
		SndSettle: fields.num(3, 2), RcvSettle: fields.num(4, 0),
	}
	if a.Sender {
		a.Address = target.text(0)
		a.Anonymous = a.Address == ""
	} else {
		a.Address = source.text(0)
		a.Dynamic = source.flag(4)
	}
	return a
}

// attach answers a client's attach as the script wants it.
func (s *session) attach(handle uint32, a *Attach) {
	p := s.conn.peer
	if s.links[handle] != nil {
		s.conn.violation("a second link with the handle %d", handle)
		s.end(&Error{"amqp:session:handle-in-use", "the handle is in use"})
		return
	}
	for l := range p.links {
		if l.attach.Name == a.Name && l.attach.Sender == a.Sender && l.session.conn == s.conn {
			s.conn.violation("a second link with the name %q", a.Name)
		}
	}
	l := &link{session: s, handle: handle, attach: a}
	s.links[handle] = l
	act := a.script(p)
	switch act.Do {
	case Ignore:
		return
	case Refuse:
		l.answer(nil, nil)
		l.detach(act.Err, true)
	case EndSession, CloseConn, Cut:
		s.finish(act)
	default:
		if l.open() && act.Do == Detach {
			l.detach(act.Err, !act.Unclosed)
		}
	}
}

// script is what is to be done about the link.
func (a *Attach) script(p *Peer) Action {
	switch {
	case a.Anonymous:
		return p.onSender.next(AnonymousTarget)
	case a.Dynamic:
		return p.onReceiver.next(DynamicSource)
	case a.Sender:
		return p.onSender.next(a.Address)
	default:
		return p.onReceiver.next(a.Address)
	}
}

// finish ends more than a link.
func (s *session) finish(act Action) {
	switch act.Do {
	case EndSession:
		s.end(act.Err)
	case CloseConn:
		s.conn.close(act.Err)
	case Cut:
		s.conn.cut()
	default: // less than that
	}
}

// open attaches the link to its node. It is false for a node that there is not.
func (l *link) open() bool {
	a, p := l.attach, l.session.conn.peer
	source, target := slices.Clone(a.Source), slices.Clone(a.Target)
	switch {
	case a.Dynamic:
		l.node = p.dynamicNode(l.session.conn)
		opened := *a
		opened.Address = l.node.address
		l.attach = &opened
		source[0] = l.node.address // it has at least the five fields up to dynamic
	case !a.Anonymous:
		l.node = p.nodeAt(a.Address)
	}
	l.answer(source, target)
	p.links[l] = struct{}{}
	if l.node == nil && !a.Anonymous {
		l.detach(&Error{NotFound, "no such node: " + a.Address}, true)
		return false
	}
	if a.Sender {
		l.grant()
	} else {
		l.node.consumers = append(l.node.consumers, l)
	}
	return true
}

// answer sends the peer's own attach; without a terminus it is a refusal.
func (l *link) answer(source, target List) {
	a := l.attach
	terminus := func(code uint64, fields List) any {
		if fields == nil {
			return nil
		}
		return Described{code, fields}
	}
	var initial, size any
	if !a.Sender {
		initial = uint32(0)
	}
	if limit := l.session.conn.options.MaxMessageSize; limit > 0 {
		size = limit
	}
	l.session.send(codeAttach, List{
		a.Name, l.handle, a.Sender, uint8(a.SndSettle), uint8(a.RcvSettle),
		terminus(codeSource, source), terminus(codeTarget, target), nil, nil, initial, size,
	}, nil)
}

// detach ends the link from the peer's side.
func (l *link) detach(err *Error, closed bool) {
	if l.detaching {
		return
	}
	l.detaching = true
	l.session.send(codeDetach, List{l.handle, closed, err.value()}, nil)
	l.drop()
}

// detached is the client's detach.
func (l *link) detached(closed bool) {
	if !l.detaching {
		l.session.send(codeDetach, List{l.handle, closed}, nil)
		l.drop()
	}
	delete(l.session.links, l.handle)
}

// drop gives back what the link had. Its handle is in use until the client's detach.
func (l *link) drop() {
	if l.gone {
		return
	}
	l.gone = true
	delete(l.session.conn.peer.links, l)
	if l.node == nil || l.attach.Sender {
		return
	}
	l.node.consumers = slices.DeleteFunc(l.node.consumers, func(c *link) bool { return c == l })
	var back []*message
	for _, id := range slices.Sorted(maps.Keys(l.session.unsettled)) {
		if d := l.session.unsettled[id]; d.link == l {
			delete(l.session.unsettled, id)
			d.message.attempts++
			back = append(back, d.message)
		}
	}
	if !l.node.multicast { // else the copies are the link's own
		l.node.giveBack(l, back)
	}
}

// flow is the client's, about the link.
func (l *link) flow(fields List) {
	if l.gone {
		return
	}
	if l.attach.Sender {
		if fields.flag(9) {
			l.sendFlow(false)
		}
		return
	}
	l.credit = uint32(fields.num(5, 0)) + uint32(fields.num(6, 0)) - l.count
	l.pump()
	drain := fields.flag(8)
	if drain {
		l.count += l.credit
		l.credit = 0
	}
	if drain || fields.flag(9) {
		l.sendFlow(drain)
	}
}

func (l *link) sendFlow(drain bool) {
	fields := append(l.session.flowFields(), l.handle, l.count, l.credit, nil, drain)
	l.session.send(codeFlow, fields, nil)
}

// grant tells the client its credit when half of it was used, or when it is to have none.
func (l *link) grant() {
	o, p := l.session.conn.options, l.session.conn.peer
	address := l.attach.Address
	if l.attach.Anonymous {
		address = AnonymousTarget
	}
	switch {
	case l.gone:
	case p.held[address]:
		if l.credit > 0 {
			l.revoked += l.credit
			l.credit = 0
			l.sendFlow(false)
		}
	case l.credit <= o.Credit/2:
		l.credit = o.Credit
		l.sendFlow(false)
	}
}

// pump delivers what the link's node has for it.
func (l *link) pump() {
	switch {
	case l.node == nil || l.attach.Sender:
	case !l.node.multicast:
		l.node.pump()
	default:
		for len(l.copies) > 0 && l.credit > 0 && l.session.window > 0 {
			m := l.copies[0]
			l.copies = l.copies[1:]
			l.deliver(m)
		}
	}
}

// deliver sends a message to the client.
func (l *link) deliver(m *message) {
	s := l.session
	id := s.nextID
	s.nextID++
	settled := l.attach.SndSettle == 1
	if !settled {
		s.unsettled[id] = delivery{l, m}
	}
	l.count++
	if l.credit > 0 {
		l.credit--
	}
	tag := binary.BigEndian.AppendUint32(nil, id)
	for rest, first := m.withAttempts(), true; first || len(rest) > 0; first = false {
		fields := List{l.handle, id, tag, uint32(0), settled, true}
		room := max(int(s.conn.frameMax)-len(appendFrame(nil, 0, s.channel, codeTransfer, fields, nil)), 1)
		part := rest[:min(room, len(rest))]
		rest = rest[len(part):]
		fields[5] = len(rest) > 0
		s.send(codeTransfer, fields, part)
		s.nextOut++
		s.window--
	}
}
