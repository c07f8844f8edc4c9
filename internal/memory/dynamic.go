// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"crypto/rand"
	"slices"

	"github.com/parleymq/parley/plugin/driver"
)

// NewDynamic returns a Driver with nothing in it whose reply names stand for addresses that end with
// their Conn, as those of a broker with dynamic nodes do: it lacks driver.CapStableReplies. It is
// for tests of the core and of the conformance suite.
func NewDynamic() *Driver {
	d := New()
	d.dynamic = true
	return d
}

// EndReplies ends the reply addresses of all Conns of a virtual host, as the loss of a connection
// would, and gives them new ones. Calls that wait for an answer are reported lost.
func (d *Driver) EndReplies(virtualHost string) {
	v := d.vhost(virtualHost)
	v.mu.Lock()
	defer v.mu.Unlock()
	for a := range v.replies {
		a.renew()
	}
}

// replyAddress is what a reply name of a Conn stands for. Everything is guarded by vhost.mu.
type replyAddress struct {
	vhost     *vhost
	now       string // as peers see it
	queue     *queue
	listeners []*listener         // never empty
	calls     map[string]struct{} // sent with it and not answered
	answered  chan struct{}       // closed when there are none; nil while nobody waits for that
}

// bindReplies lets l take from the address of its name, which it shares with the other listeners of
// its Conn. vhost.mu must be held.
func (c *conn) bindReplies(l *listener) {
	a := c.replies[l.src.ReplyName]
	if a == nil {
		a = &replyAddress{vhost: c.vhost, calls: make(map[string]struct{})}
		c.replies[l.src.ReplyName] = a
		c.vhost.replies[a] = struct{}{}
		a.begin()
	}
	l.address = a
	a.listeners = append(a.listeners, l)
	l.add(a.queue)
}

// begin makes the address's queue.
func (a *replyAddress) begin() {
	a.now = "address-" + rand.Text()
	a.queue = a.vhost.queue(address{reply: a.now})
}

// renew is the loss of the address.
func (a *replyAddress) renew() {
	old := a.queue
	delete(a.vhost.queues, address{reply: a.now})
	a.begin()
	for _, l := range a.listeners {
		l.queues = slices.DeleteFunc(l.queues, func(q *queue) bool { return q == old })
		l.add(a.queue)
	}
	a.lose("the connection to the broker was lost")
}

// lose reports the calls that are not answered.
func (a *replyAddress) lose(why string) {
	l := a.listeners[0]
	for id := range a.calls {
		e := driver.Errorf(driver.ReasonNotConnected, "the address of the reply has ended: %s", why)
		e.InDoubt = true
		l.lost = append(l.lost, &driver.Delivery{Message: driver.Message{Kind: driver.Reply, CallID: id}, Lost: e})
		delete(a.calls, id)
	}
	a.settled()
	if l.poll != nil && len(l.lost) > 0 {
		l.poll.wake()
	}
}

// settled wakes who waits until no call is under way.
func (a *replyAddress) settled() {
	if len(a.calls) == 0 && a.answered != nil {
		close(a.answered)
		a.answered = nil
	}
}

// leave ends the address with its last listener.
func (a *replyAddress) leave(l *listener) {
	a.listeners = slices.DeleteFunc(a.listeners, func(o *listener) bool { return o == l })
	if len(a.listeners) > 0 {
		return
	}
	delete(a.vhost.queues, address{reply: a.now})
	delete(a.vhost.replies, a)
	delete(l.conn.replies, l.src.ReplyName)
	clear(a.calls)
	a.settled()
}

// outbound is where the reply to m goes, or m itself if it is one: the address of a name of this
// Conn, or what a peer gave. vhost.mu must be held.
func (c *conn) outbound(m *driver.Message) string {
	if a := c.replies[m.ReplyTo]; a != nil {
		return a.now
	}
	return m.ReplyTo
}

// noteSent keeps a call that has left, by the name it was sent with.
func (c *conn) noteSent(m *driver.Message) {
	if a := c.replies[m.ReplyTo]; a != nil && m.Kind == driver.Call {
		a.calls[m.CallID] = struct{}{}
	}
}

// noteAnswered forgets the calls whose replies Poll returns.
func (a *replyAddress) noteAnswered(ds []*driver.Delivery) {
	for _, d := range ds {
		if d.Kind == driver.Reply {
			delete(a.calls, d.CallID)
		}
	}
	a.settled()
}

// awaitAnswers waits until no call is under way, or reports those that are as lost when ctx ends
// (LOST-3).
func (a *replyAddress) awaitAnswers(ctx context.Context) {
	for ctx.Err() == nil {
		a.vhost.mu.Lock()
		if len(a.calls) == 0 {
			a.vhost.mu.Unlock()
			return
		}
		if a.answered == nil {
			a.answered = make(chan struct{})
		}
		answered := a.answered
		a.vhost.mu.Unlock()
		select {
		case <-answered:
		case <-ctx.Done():
		}
	}
	a.vhost.mu.Lock()
	defer a.vhost.mu.Unlock()
	if len(a.listeners) > 0 {
		a.lose("its listener was stopped")
	}
}
