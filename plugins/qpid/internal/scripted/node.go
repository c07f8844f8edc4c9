// SPDX-License-Identifier: Apache-2.0

package scripted

import (
	"crypto/rand"
	"slices"
	"strings"
)

// dynamicPrefix is that of the addresses that the peer makes for dynamic sources.
const dynamicPrefix = "TempQueue"

// node is a queue, or a place where every consumer gets a copy.
type node struct {
	address   string
	multicast bool
	owner     *conn // whose end is the end of a dynamic node; nil for the others
	ready     []*message
	consumers []*link
	turn      int // counts the deliveries, to take turns
}

// message is one in a node or on its way to a client.
type message struct {
	payload  []byte
	attempts uint32
	avoid    *link // which said that it cannot deliver it
}

// nodeAt returns the node with that address, which comes to be if need be. A dynamic one does not.
func (p *Peer) nodeAt(address string) *node {
	n := p.nodes[address]
	if n == nil && !strings.HasPrefix(address, dynamicPrefix) {
		multicast := strings.HasPrefix(address, "broadcast.") || strings.Contains(address, "/multicast/")
		n = &node{address: address, multicast: multicast}
		p.nodes[address] = n
	}
	return n
}

func (p *Peer) dynamicNode(owner *conn) *node {
	n := &node{address: dynamicPrefix + rand.Text(), owner: owner}
	p.nodes[n.address] = n
	return n
}

// Publish puts a message into the node with that address as if a client had sent it. It reports
// whether there is such a node.
func (p *Peer) Publish(address string, payload []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodeAt(address)
	if n != nil {
		n.put(&message{payload: payload})
	}
	return n != nil
}

// Stored returns the messages that wait in a queue.
func (p *Peer) Stored(address string) [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all [][]byte
	if n := p.nodes[address]; n != nil {
		for _, m := range n.ready {
			all = append(all, m.payload)
		}
	}
	return all
}

// put adds a message and delivers what can be.
func (n *node) put(m *message) {
	if !n.multicast {
		n.ready = append(n.ready, m)
		n.pump()
		return
	}
	for _, l := range n.consumers {
		l.copies = append(l.copies, &message{payload: m.payload})
		l.pump()
	}
}

// giveBack puts messages before all others, in their order.
func (n *node) giveBack(from *link, list []*message) {
	if n.multicast {
		from.copies = append(list, from.copies...)
		from.pump()
		return
	}
	n.ready = append(list, n.ready...)
	n.pump()
}

// pump delivers what is ready to the consumers in turn.
func (n *node) pump() {
	for i := 0; i < len(n.ready); {
		m := n.ready[i]
		l := n.consumerFor(m)
		if l == nil {
			i++ // another message may have somebody
			continue
		}
		n.ready = slices.Delete(n.ready, i, i+1)
		l.deliver(m)
	}
}

func (n *node) consumerFor(m *message) *link {
	for range n.consumers {
		n.turn++
		l := n.consumers[n.turn%len(n.consumers)]
		if l != m.avoid && l.credit > 0 && l.session.window > 0 {
			return l
		}
	}
	return nil
}

// section returns the list of a message's section with that descriptor, nil when it has none.
func section(payload []byte, code uint64) List {
	for len(payload) > 0 {
		v, rest, err := decode(payload)
		if err != nil {
			return nil
		}
		if is, fields := (List{v}).described(0); is == code {
			return fields
		}
		payload = rest
	}
	return nil
}

// withAttempts is a message's payload with the delivery count in its header.
func (m *message) withAttempts() []byte {
	if m.attempts == 0 {
		return m.payload
	}
	header, rest := List{}, m.payload
	if v, after, err := decode(m.payload); err == nil {
		if code, fields := (List{v}).described(0); code == codeHeader {
			header, rest = slices.Clone(fields), after
		}
	}
	for len(header) < 5 {
		header = append(header, nil)
	}
	header[4] = m.attempts
	return append(encode(nil, Described{uint64(codeHeader), header}), rest...)
}
