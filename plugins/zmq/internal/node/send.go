// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/wire"
)

// Send implements driver.Conn.
func (n *Node) Send(ctx context.Context, batch []*driver.Message) error {
	if len(batch) == 0 {
		return nil
	}
	errs := make([]error, len(batch))
	told := make(chan struct{}, len(batch))
	n.SendAsync(ctx, batch, func(i int, err error) {
		errs[i] = err
		told <- struct{}{}
	})
	for range batch {
		<-told // ctx's end is told as well
	}
	return batchError(errs)
}

// batchError returns nil when nothing failed, and the bare error of a batch of one.
func batchError(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	for _, err := range errs {
		if err != nil {
			return &driver.BatchError{Errs: errs}
		}
	}
	return nil
}

// shipment is one call of SendAsync.
type shipment struct {
	parcels []*parcel
	open    int
	stop    func() bool
}

// SendAsync implements driver.AsyncSender.
func (n *Node) SendAsync(ctx context.Context, batch []*driver.Message, done func(int, error)) {
	s := &shipment{open: len(batch)}
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, m := range batch {
		report := func(err error) {
			s.open--
			if s.open == 0 && s.stop != nil {
				s.stop()
			}
			done(i, err)
		}
		if err := n.admit(ctx, m); err != nil {
			report(err)
			continue
		}
		pc := n.newParcel(m, now, report)
		s.parcels = append(s.parcels, pc)
		n.submit(pc, now)
	}
	if s.open > 0 && ctx.Done() != nil {
		s.stop = context.AfterFunc(ctx, func() { n.giveUp(ctx, s) })
	}
}

// admit refuses what is not to be sent, and waits for room.
func (n *Node) admit(ctx context.Context, m *driver.Message) error {
	if m.TimeLeft < 0 {
		return driver.Errorf(driver.ReasonExpired, "send %s: its time ran out before it was sent", describe(m))
	}
	if size := m.Size(); size > n.o.MaxMessage {
		return driver.Errorf(driver.ReasonMessageTooLarge, "send %s: %d bytes, the limit is %d", describe(m), size, n.o.MaxMessage).
			WithHint("raise the option zmq_max_message at both ends")
	}
	// A receiver would refuse it, or the whole connection.
	if err := (&wire.Packet{Type: typeOf(m.Kind), Seq: 1, Message: *m}).Check(); err != nil {
		return err
	}
	for n.phase < closing && n.pending.full() && ctx.Err() == nil {
		changed := n.pending.changed
		n.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		n.mu.Lock()
	}
	if n.phase >= closing {
		return closedError("connection")
	}
	if err := ctx.Err(); err != nil {
		if n.pending.full() {
			return driver.Errorf(driver.ReasonBrokerBlocked, "send %s: %d messages wait for their receivers: %w", describe(m), n.pending.count, err).
				WithHint("start more servers, or send less")
		}
		return driver.Errorf(driver.ReasonOf(err), "send %s: %w", describe(m), err)
	}
	return nil
}

func (n *Node) newParcel(m *driver.Message, now time.Time, report func(error)) *parcel {
	pc := &parcel{
		typ: typeOf(m.Kind), message: own(m), to: keyOf(m), size: m.Size(), entered: now, report: report,
	}
	if m.TimeLeft > 0 {
		pc.expires = now.Add(m.TimeLeft)
	}
	n.pending.take(pc.size)
	return pc
}

// submit gives a new parcel to whoever is to have it.
func (n *Node) submit(pc *parcel, now time.Time) {
	switch {
	case pc.message.Target.Fanout:
		n.fanout(pc, now)
	case pc.to.kind == driver.SourceNotifications:
		n.notify(pc, now)
	default:
		n.dispatch(pc, now)
	}
}

// dispatch sends a parcel, or lets it wait behind those that go the same way.
func (n *Node) dispatch(pc *parcel, now time.Time) {
	if q := n.waiting[pc.to]; q != nil && !pc.message.FailFast {
		n.wait(pc, now)
		return
	}
	if p := n.pick(pc, now); p != nil && n.transmit(p, pc, now) {
		return
	}
	n.wait(pc, now)
}

// transmit gives a parcel to a peer. It reports whether the peer took it as far as we know.
func (n *Node) transmit(p *peer, pc *parcel, now time.Time) bool {
	if p.legacy != nil {
		return n.transmitLegacy(p, pc, now)
	}
	if !p.local {
		n.sendSettle(p) // on the way, and before there is a number that its floor could be above
	}
	// A number of its own for each peer that is given it: what a peer settled once it forgets.
	n.seq++
	pc.seq = n.seq
	packet := pc.packet(now, p.floor(pc.seq))
	if p.local {
		n.hold(p, pc, now)
		pc.written = true
		n.receive(n.self, &packet)
		return true
	}
	if p.links[0].send(&packet) != nil {
		return false // it breaks, or has too much to write
	}
	pc.written = true
	n.hold(p, pc, now)
	return true
}

// hold notes that p has pc.
func (n *Node) hold(p *peer, pc *parcel, now time.Time) {
	pc.peer, pc.last, pc.sent, pc.acked, pc.anyone, pc.breaks = p, nil, now, false, false, 0
	p.out[pc.seq] = pc
	p.number(pc.seq)
	p.unanswered++
	pc.avoid = nil
	if n.resting {
		n.resting = false
		signal(n.sweeps)
	}
}

// giveUp ends what a shipment waits for: its ctx has ended.
func (n *Node) giveUp(ctx context.Context, s *shipment) {
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, pc := range s.parcels {
		if pc.split != nil {
			pc.split.giveUp(ctx.Err())
		}
		if pc.report == nil {
			continue
		}
		if pc.peer == nil && !pc.written && !pc.storing {
			n.unwait(pc)
			n.tell(pc, n.cannot(pc, ctx.Err(), now))
			n.drop(pc)
			continue
		}
		n.tell(pc, inDoubt(pc, ctx.Err()))
	}
}

// failAll ends everything, because the node closes.
func (n *Node) failAll() {
	for k, q := range n.waiting {
		for q.len() > 0 {
			n.abandon(q.pop())
		}
		delete(n.waiting, k)
	}
	n.waits = 0
	for n.spool != nil && n.spool.put.len() > 0 {
		n.abandon(n.spool.put.pop())
	}
	for n.early.len() > 0 {
		if pc := n.early.pop(); pc.report != nil {
			n.abandon(pc)
		}
	}
	for _, list := range n.orphans {
		for _, pc := range list {
			n.abandon(pc)
		}
	}
	clear(n.orphans)
	for _, p := range n.peers {
		for _, pc := range p.out {
			n.abandon(pc)
		}
		clear(p.out)
		p.behind, p.unanswered = nil, 0
	}
}

func (n *Node) abandon(pc *parcel) {
	err := closedError("connection")
	err.InDoubt = pc.written
	n.tell(pc, err)
	n.drop(pc)
}

func inDoubt(pc *parcel, cause error) *driver.Error {
	e := driver.Errorf(driver.ReasonNotConnected, "send %s: %s has not answered: %w", describe(&pc.message), pc.holder(), cause)
	e.InDoubt = true
	return e
}

// holder names who has a parcel.
func (pc *parcel) holder() string {
	if pc.peer == nil {
		return "the peer that was given it"
	}
	return pc.peer.String()
}

// describe names a message in an error: its kind and where it goes.
func describe(m *driver.Message) string {
	k := keyOf(m)
	return m.Kind.String() + " to " + k.String()
}
