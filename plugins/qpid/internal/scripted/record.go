// SPDX-License-Identifier: Apache-2.0

package scripted

import (
	"context"
	"fmt"
	"slices"
	"time"

	amqp "github.com/Azure/go-amqp"
)

// Event is something that a client sent, in the order of its coming over all connections.
type Event struct {
	Conn    int // 1 for the first connection, in order of their coming
	At      time.Time
	Channel uint16
	// Name is "connect", "header", "sasl-init", "open", "begin", "attach", "flow", "message",
	// "disposition", "detach", "end", "close", "empty" or, when the connection is over, "gone". A
	// message is an event once it is whole.
	Name string
	// Fields are the performative's, as they came.
	Fields List
	// Header are the eight bytes of a header.
	Header []byte

	Attach      *Attach      // of an attach
	Message     *Message     // of a message
	Disposition *Disposition // of a disposition
	Error       *Error       // of a detach, an end or a close that has one
}

// Attach is a link as its client asked for it. It is never changed.
type Attach struct {
	Conn      int
	Channel   uint16
	Name      string
	Sender    bool   // the client sends on it
	Address   string // of the target when the client sends, else of the source, which may be dynamic
	Source    List   // as it came; nil for null
	Target    List   // as it came; nil for null
	Dynamic   bool   // the client leaves its source's address to the peer
	Anonymous bool   // the client names the address in each message
	SndSettle uint64
	RcvSettle uint64
}

// Message is one that a client sent.
type Message struct {
	Attach  *Attach
	Address string // where it goes: the link's address, or its own "to" on an anonymous link
	ID      uint32 // of the delivery
	Settled bool
	Frames  int    // how many transfers it took
	Payload []byte // all sections, as they came
}

// Decode gives the message as the library reads it.
func (m *Message) Decode() (*amqp.Message, error) { return Decode(m.Payload) }

// Decode gives a payload as the library reads it.
func Decode(payload []byte) (*amqp.Message, error) {
	msg := new(amqp.Message)
	if err := msg.UnmarshalBinary(payload); err != nil {
		return nil, fmt.Errorf("decode a message of %d bytes: %w", len(payload), err)
	}
	return msg, nil
}

// Disposition is what a client decided about messages that it received.
type Disposition struct {
	First, Last uint32
	Settled     bool
	Receiver    bool   // it is about messages that the client received
	Outcome     string // accepted, rejected, released, modified, received, or "" for none
	Modified    Modified
	Error       *Error // of rejected
}

// Modified are the flags of a modified outcome.
type Modified struct{ Failed, Undeliverable bool }

// Events returns what was recorded since the start.
func (p *Peer) Events() []Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.events)
}

// Named returns the recorded events of that name.
func (p *Peer) Named(name string) []Event {
	return slices.DeleteFunc(p.Events(), func(e Event) bool { return e.Name != name })
}

// Messages returns what was sent to an address, over all connections.
func (p *Peer) Messages(address string) []*Message {
	var all []*Message
	for _, e := range p.Events() {
		if e.Message != nil && e.Message.Address == address {
			all = append(all, e.Message)
		}
	}
	return all
}

// Violations returns what a client did that the protocol or Parley's rules forbid, one sentence
// each.
func (p *Peer) Violations() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.violations)
}

// Wait returns the first event that match accepts, waiting for it if need be.
func (p *Peer) Wait(ctx context.Context, match func(Event) bool) (Event, error) {
	return p.WaitAfter(ctx, 0, match)
}

// WaitAfter is Wait without the first n events.
func (p *Peer) WaitAfter(ctx context.Context, n int, match func(Event) bool) (Event, error) {
	for {
		p.mu.Lock()
		events, changed := p.events, p.changed
		p.mu.Unlock()
		for ; n < len(events); n++ {
			if match(events[n]) {
				return events[n], nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Event{}, fmt.Errorf("wait for an event at the scripted peer, %d others seen: %w", n, context.Cause(ctx))
		}
	}
}

// record adds an event and wakes who waits for one. The caller holds the lock.
func (p *Peer) record(e Event) {
	e.At = time.Now()
	p.events = append(p.events, e)
	close(p.changed)
	p.changed = make(chan struct{})
}

// violation notes what conn must not do. The caller holds the lock.
func (c *conn) violation(format string, args ...any) {
	c.peer.violations = append(c.peer.violations, fmt.Sprintf("connection %d: ", c.id)+fmt.Sprintf(format, args...))
}
