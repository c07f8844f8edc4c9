// SPDX-License-Identifier: Apache-2.0

package scripted

// Verb is what the peer does.
type Verb int

// What the peer may do about a message, or about a link that is attached.
const (
	// Accept is what it does without a script.
	Accept Verb = iota
	// Release, Modify and Reject are outcomes; the message is not delivered. They are Accept for an
	// attach, and for a settled message they mean that it is lost.
	Release
	Modify
	Reject
	// Ignore gives no answer at all.
	Ignore
	// Refuse answers an attach with one that has no terminus, and a detach. It is Detach for a
	// message.
	Refuse
	// Detach ends the link. After an attach that was answered in full, as Broker-J does.
	Detach
	// EndSession ends the link's session, as RabbitMQ does for what it cannot attach.
	EndSession
	// CloseConn closes the connection by the protocol.
	CloseConn
	// Cut resets the connection. A message was received whole, and has no outcome.
	Cut
)

// Action is one step of a script.
type Action struct {
	Do       Verb
	Modified Modified // of Modify
	Err      *Error   // of Reject, Refuse, Detach, EndSession and CloseConn; nil for none
	Unclosed bool     // Detach without the flag that says the link is closed for good
	// Lose means that the peer does not deliver a message whose outcome it does not tell: with
	// Ignore, Detach, EndSession, CloseConn and Cut.
	Lose bool
	// Forever: the script ends here, and this is done again and again.
	Forever bool
}

// Times is n times the same.
func Times(n int, a Action) []Action {
	all := make([]Action, n)
	for i := range all {
		all[i] = a
	}
	return all
}

// Addresses of scripts that are none.
const (
	// DynamicSource stands for the receivers of a client that leave the address to the peer.
	DynamicSource = "(dynamic)"
	// AnonymousTarget stands for the senders of a client that name an address in each message.
	AnonymousTarget = "(anonymous)"
	// Anything stands for all addresses that have no script of their own.
	Anything = "(anything)"
)

// scripts are the actions to come, by address.
type scripts map[string][]Action

func (s scripts) next(address string) Action {
	if len(s[address]) == 0 {
		address = Anything
	}
	list := s[address]
	if len(list) == 0 {
		return Action{}
	}
	if !list[0].Forever {
		s[address] = list[1:]
	}
	return list[0]
}

// OnMessage sets what is done, one by one, about the next messages to an address. What comes after
// them is accepted. Without actions it takes back what is left of the script.
func (p *Peer) OnMessage(address string, actions ...Action) { p.script(p.onMessage, address, actions) }

// OnSender sets what is done about the next links on which a client sends to an address.
func (p *Peer) OnSender(address string, actions ...Action) { p.script(p.onSender, address, actions) }

// OnReceiver sets what is done about the next links on which a client receives from an address.
func (p *Peer) OnReceiver(address string, actions ...Action) {
	p.script(p.onReceiver, address, actions)
}

func (p *Peer) script(s scripts, address string, actions []Action) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s[address] = actions
}

// HoldCredit makes the peer take back the credit of all links on which clients send to an address,
// and give them and later ones none, until it is told otherwise.
func (p *Peer) HoldCredit(address string, hold bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held[address] = hold
	for l := range p.links {
		if l.attach.Sender && l.attach.Address == address {
			l.grant()
		}
	}
}

// Detach ends all links that match, and returns how many there were.
func (p *Peer) Detach(match func(*Attach) bool, err *Error, closed bool) int {
	return p.each(match, func(l *link) { l.detach(err, closed) })
}

// EndSessions ends the session of each link that matches, and returns how many links did.
func (p *Peer) EndSessions(match func(*Attach) bool, err *Error) int {
	return p.each(match, func(l *link) { l.session.end(err) })
}

// Stray sends dispositions for deliveries that nobody made, on the session of each link that
// matches, and returns how many links did.
func (p *Peer) Stray(match func(*Attach) bool) int {
	return p.each(match, func(l *link) {
		accepted := Described{uint64(codeAccepted), List{}}
		for _, receiver := range []bool{true, false} {
			l.session.send(codeDisposition, List{receiver, uint32(1 << 20), uint32(1<<20 + 3), true, accepted}, nil)
		}
	})
}

// Overrun delivers up to n messages on the first link that matches, without regard to its credit,
// and returns how many there were to deliver.
func (p *Peer) Overrun(match func(*Attach) bool, n int) int {
	done := 0
	p.each(match, func(l *link) {
		for l.node != nil && done < n && len(l.node.ready) > 0 {
			m := l.node.ready[0]
			l.node.ready = l.node.ready[1:]
			l.deliver(m)
			done++
		}
	})
	return done
}

// each does f for all links that match and are attached.
func (p *Peer) each(match func(*Attach) bool, f func(*link)) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for l := range p.links {
		if match(l.attach) {
			f(l)
			n++
		}
	}
	return n
}

// CloseConns closes all connections by the protocol and returns how many there were.
func (p *Peer) CloseConns(err *Error) int {
	return p.eachConn(func(c *conn) { c.close(err) })
}

// CutAll resets all connections and returns how many there were. New ones are still taken.
func (p *Peer) CutAll() int { return p.eachConn((*conn).cut) }

// Mute makes the peer keep back everything that it would send, on all connections, as a network
// that lost its way does. It goes on reading.
func (p *Peer) Mute(mute bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.muted = mute
	for c := range p.conns {
		c.poke()
	}
}

// EmptyFrames makes the peer send an empty frame before and after each of its own.
func (p *Peer) EmptyFrames(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.empty = on
}

func (p *Peer) eachConn(f func(*conn)) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		f(c)
	}
	return len(p.conns)
}

// Sends matches the links on which clients send to an address.
func Sends(address string) func(*Attach) bool {
	return func(a *Attach) bool { return a.Sender && a.Address == address }
}

// Receives matches the links on which clients receive from an address.
func Receives(address string) func(*Attach) bool {
	return func(a *Attach) bool { return !a.Sender && a.Address == address }
}

// IsDynamic matches the links whose source's address is the peer's choice.
func IsDynamic(a *Attach) bool { return a.Dynamic }
