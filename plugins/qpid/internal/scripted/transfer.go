// SPDX-License-Identifier: Apache-2.0

package scripted

// transfer takes one frame of a message from the client.
func (l *link) transfer(f frame) {
	c := l.session.conn
	if l.gone { // it was under way
		l.session.lastIn = max(l.session.lastIn, int64(f.fields.num(1, 0)))
		return
	}
	if !l.attach.Sender {
		c.violation("a transfer on the link %q, on which the client receives", l.attach.Name)
		return
	}
	m := l.partial
	if m == nil {
		if m = l.first(f.fields); m == nil {
			return
		}
	} else if id := uint32(f.fields.num(1, uint64(m.ID))); id != m.ID {
		c.violation("delivery %d within delivery %d", id, m.ID)
	}
	m.Frames++
	m.Settled = m.Settled || f.fields.flag(4)
	m.Payload = append(m.Payload, f.payload...)
	l.partial = m
	switch {
	case f.fields.flag(9): // aborted
		l.partial = nil
	case !f.fields.flag(5): // no more
		l.partial = nil
		l.received(m)
	}
}

// first is the begin of a message; nil when it has what it must not have.
func (l *link) first(fields List) *Message {
	s := l.session
	if fields.at(1) == nil || fields.at(2) == nil {
		s.conn.violation("a message on the link %q without a delivery's id or tag", l.attach.Name)
		s.end(&Error{NotAllowed, "no delivery-id"})
		return nil
	}
	id := uint32(fields.num(1, 0))
	if int64(id) != s.lastIn+1 {
		s.conn.violation("delivery %d after %d", id, s.lastIn)
	}
	s.lastIn = int64(id)
	return &Message{Attach: l.attach, Address: l.attach.Address, ID: id}
}

// received is a message that is whole.
func (l *link) received(m *Message) {
	c := l.session.conn
	if l.attach.Anonymous {
		m.Address = section(m.Payload, codeProperties).text(2)
	}
	l.checkCredit()
	l.checkSettled(m)
	c.peer.record(Event{Conn: c.id, Channel: l.session.channel, Name: "message", Message: m})
	if limit := c.options.MaxMessageSize; limit > 0 && uint64(len(m.Payload)) > limit {
		c.violation("a message of %d bytes, the limit is %d", len(m.Payload), limit)
		l.detach(&Error{"amqp:link:message-size-exceeded", "the message is too large"}, true)
		return
	}
	l.decide(m, c.peer.onMessage.next(m.Address))
	l.grant()
}

// checkCredit counts the message, and notes one for which there was no credit.
func (l *link) checkCredit() {
	l.count++
	switch {
	case l.credit > 0:
		l.credit--
	case l.revoked > 0:
		l.revoked--
	default:
		l.session.conn.violation("a message on the link %q without credit", l.attach.Name)
	}
}

// checkSettled notes a link with settled and unsettled messages, which ends the connection at
// Broker-J.
func (l *link) checkSettled(m *Message) {
	mixed := l.settled && l.awaiting
	l.settled = l.settled || m.Settled
	l.awaiting = l.awaiting || !m.Settled
	if !mixed && l.settled && l.awaiting {
		l.session.conn.violation("settled and unsettled messages on the link %q", l.attach.Name)
	}
}

// decide does about a message what the script says.
func (l *link) decide(m *Message, act Action) {
	c := l.session.conn
	switch act.Do {
	case Accept:
		l.accept(m)
		return
	case Release:
		l.outcome(m, codeReleased, List{})
		return
	case Modify:
		l.outcome(m, codeModified, List{act.Modified.Failed, act.Modified.Undeliverable})
		return
	case Reject:
		l.outcome(m, codeRejected, List{act.Err.value()})
		return
	default: // no outcome
	}
	if n := c.peer.nodeAt(m.Address); n != nil && !act.Lose {
		n.put(&message{payload: m.Payload})
	}
	switch act.Do {
	case Refuse, Detach:
		l.detach(act.Err, !act.Unclosed)
	default:
		l.session.finish(act)
	}
}

// accept stores a message, or says that there is no such node.
func (l *link) accept(m *Message) {
	missing := &Error{NotFound, "no such node: " + m.Address}
	switch n := l.session.conn.peer.nodeAt(m.Address); {
	case n != nil:
		n.put(&message{payload: m.Payload})
		l.outcome(m, codeAccepted, List{})
	case m.Settled:
		l.detach(missing, true)
	default:
		l.outcome(m, codeRejected, List{missing.value()})
	}
}

// outcome tells the client what became of its message.
func (l *link) outcome(m *Message, code uint64, fields List) {
	if !m.Settled {
		l.session.send(codeDisposition, List{true, m.ID, m.ID, true, Described{code, fields}}, nil)
	}
}
