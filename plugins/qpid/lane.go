// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/outbound"
)

const (
	// window is how many messages of a link may be without the peer's word.
	window = 1024
	// fewAnswerLanes is how many clients have links of their own for their answers, when there is
	// a relay for the others.
	fewAnswerLanes = 128
)

// laneKey says which messages go over one link. Settled and unsettled messages never share one:
// Broker-J drops the connection when it reads both at once.
type laneKey struct {
	purpose  purpose
	settled  bool
	fanout   bool
	exchange string
	topic    string
	end      string // the server, or the priority of a notification
	to       string // the address of replies; empty for the anonymous relay
}

// purpose is what the messages of a lane are for.
type purpose uint8

const (
	requests purpose = iota
	notifications
	answers
)

// relayKey is the lane of answers over the anonymous relay, and of those that wait for a peer of which
// it is not known whether it has one.
//
// What goes over the relay is unsettled whatever the option pre_settled says: a settled message for a
// client that is gone would end the link that the answers for all clients share.
func relayKey() laneKey { return laneKey{purpose: answers} }

// keyLocked returns the lane of m.
func (p *outbox) keyLocked(m *driver.Message) laneKey {
	switch m.Kind {
	case driver.Reply, driver.Heartbeat:
		s, _, _ := p.link.Trouble()
		return p.answerKeyLocked(m, s)
	case driver.Notification:
		return laneKey{
			purpose: notifications, settled: p.set.preSettled[m.Kind],
			exchange: m.Target.Exchange, topic: m.Target.Topic, end: m.Priority,
		}
	default:
		return laneKey{
			purpose: requests, settled: p.set.preSettled[m.Kind], fanout: m.Target.Fanout,
			exchange: m.Target.Exchange, topic: m.Target.Topic, end: m.Target.Server,
		}
	}
}

// answerKeyLocked is the lane of an answer: the relay's, where there is one that one client cannot
// spoil for all, else one of its own, as upstream has it. s may be nil.
func (p *outbox) answerKeyLocked(m *driver.Message, s *session) laneKey {
	if s == nil || s.relay && !s.fragileRelay() {
		return relayKey()
	}
	own := laneKey{purpose: answers, to: m.ReplyTo, settled: p.set.preSettled[driver.Reply]}
	if s.relay && p.lanes[own] == nil && p.answerLanes >= p.maxAnswerLanes {
		return relayKey()
	}
	return own
}

// fragileRelay reports whether the peer ends the relay's link over a message for a node that is gone,
// and the session when more have been sent behind it. Broker-J does. One message at a time can be
// sent that way without harm to others.
func (s *session) fragileRelay() bool { return s.isBrokerJ() }

// sample is a message of the lane, as far as its address needs one.
func (k laneKey) sample() *driver.Message {
	m := &driver.Message{Kind: driver.Cast, Target: driver.Target{Exchange: k.exchange, Topic: k.topic, Server: k.end, Fanout: k.fanout}}
	if k.purpose == notifications {
		m.Kind, m.Priority, m.Target.Server = driver.Notification, k.end, ""
	}
	return m
}

// lane sends the messages of one key in their order. Its goroutine keeps one link at a time, and
// makes it anew when it is lost.
type lane struct {
	p    *outbox
	key  laneKey
	wake chan struct{} // of capacity one: there is something to do

	// Of the goroutine alone.
	link    *sendLink
	backoff time.Duration // before the next link
	refused int           // how often a link for answers was refused

	// Guarded by outbox.mu.
	queue        outbound.Deque[*outgoing]
	later        []*outgoing // given back by the peer; they wait for their due time
	current      *outgoing   // in the hands of the goroutine
	writingTo    *sendLink   // what current is being written to, once it is encoded
	writingSince time.Time
	rested       time.Time // when there was a current one last
	lastWritten  time.Time
	opening      bool               // the goroutine waits for a link
	interrupt    context.CancelFunc // of what the goroutine waits for
	links        []*sendLink        // link, and former ones that wait for the peer's word
	trouble      *driver.Error      // why this address takes no messages now
	blockedOn    *sendLink          // the link without credit
	blockedSince time.Time
	used         time.Time
	dropped      bool // no more messages come
}

func newLane(p *outbox, key laneKey) *lane {
	return &lane{p: p, key: key, wake: make(chan struct{}, 1), used: time.Now()}
}

// busy reports whether the lane has something to do. It is called with outbox.mu.
func (l *lane) busy() bool {
	if l.queue.Len() > 0 || len(l.later) > 0 || l.current != nil {
		return true
	}
	for _, k := range l.links {
		if k.pending.Len() > 0 {
			return true
		}
	}
	return false
}

// interruptLocked ends what the goroutine waits for.
func (l *lane) interruptLocked() {
	if l.interrupt != nil {
		l.interrupt()
	}
}

// run is the goroutine. It ends with ctx, or when the lane was dropped.
func (l *lane) run(ctx context.Context) {
	for l.awaitWork(ctx) {
		if l.open(ctx) {
			l.write(ctx)
		}
	}
	l.retire()
}

// awaitWork waits until there is something that can be written.
func (l *lane) awaitWork(ctx context.Context) bool {
	idle := time.NewTimer(l.idleTime())
	defer idle.Stop()
	for {
		l.p.mu.Lock()
		ready := l.queue.Len() > 0 && !l.link.fullLocked()
		over := l.dropped && !l.busy()
		l.p.mu.Unlock()
		if ctx.Err() != nil || over {
			return false
		}
		if ready {
			return true
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
		case now := <-idle.C:
			idle.Reset(l.rest(now))
		}
	}
}

func (l *lane) idleTime() time.Duration {
	if d := l.p.set.senderLinkTimeout; d > 0 {
		return d
	}
	return fallbackTimeout
}

// rest drops the lane if it was not used for long enough, and says when to ask again.
func (l *lane) rest(now time.Time) time.Duration {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	idle := l.idleTime()
	if l.busy() {
		return idle
	}
	if left := idle - now.Sub(l.used); left > 0 {
		return left
	}
	l.p.dropLocked(l)
	return idle
}

// failLocked settles what the lane has, at the end of the Conn.
func (l *lane) failLocked(over []fate, err *driver.Error) []fate {
	fail := func(o *outgoing, err error) {
		if l.p.settleLocked(o) {
			over = append(over, fate{o, err})
		}
	}
	for range l.queue.Len() {
		fail(l.queue.PopFront(), err)
	}
	for _, o := range l.later {
		fail(o, err)
	}
	l.later = nil
	for _, k := range l.links {
		for i := range k.pending.Len() {
			fail(k.pending.At(i).o, outbound.InDoubt(err))
		}
		k.nudgeLocked()
	}
	return over
}

// failQueue settles what waits in the lane.
func (l *lane) failQueue(err *driver.Error) {
	var over []fate
	l.p.mu.Lock()
	for range l.queue.Len() {
		if o := l.queue.PopFront(); l.p.settleLocked(o) {
			over = append(over, fate{o, err})
		}
	}
	l.p.mu.Unlock()
	l.p.reportAll(over)
}

// interruptible returns a context for one wait of the goroutine, which the sweeper may end.
func (l *lane) interruptible(ctx context.Context, opening bool) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	l.p.mu.Lock()
	l.interrupt, l.opening = cancel, opening
	l.p.mu.Unlock()
	return ctx, func() {
		l.p.mu.Lock()
		l.interrupt, l.opening = nil, false
		l.p.mu.Unlock()
		cancel()
	}
}

// writeContext is the context of one write. It remembers whether the library's writer has looked at
// it, which it does right before it writes a frame: what it has not looked at has not left. It has no
// deadline, because the library makes one the deadline of the socket's write, and so of the whole
// connection.
type writeContext struct {
	context.Context //nolint:containedctx // it is one
	touched         atomic.Bool
}

// Err implements context.Context.
func (c *writeContext) Err() error {
	c.touched.Store(true)
	return c.Context.Err()
}
