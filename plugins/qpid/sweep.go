// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/outbound"
)

// blockedAfter is how long a link may keep a message waiting for credit before that is told, and
// messages that do not wait fail. Less would take a slow machine for a full broker.
const blockedAfter = time.Second

// armLocked starts the sweeper's timer. It runs only while there is something to sweep.
func (p *outbox) armLocked() {
	p.sweeping = true
	if p.sweeper == nil {
		p.sweeper = time.AfterFunc(sweepInterval, p.tick)
		return
	}
	p.sweeper.Reset(sweepInterval)
}

func (p *outbox) tick() {
	blocked := p.sweep()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sweeping = (!p.room.Empty() || blocked) && !p.swept; p.sweeping {
		p.sweeper.Reset(sweepInterval)
	}
}

// sweep settles messages whose ctx ended or whose time is over, and those that do not wait for a
// broker which is away. Those that were written stay in their place, for the receipts to fit. It
// reports whether an address is blocked, which is to be looked at again.
func (p *outbox) sweep() bool {
	_, trouble, _ := p.link.Trouble()
	away, _ := p.link.Failing()
	w := sweeping{now: time.Now(), trouble: trouble, away: away}
	var stalls []stall
	p.mu.Lock()
	for _, l := range p.lanes {
		l.noteBlockedLocked(w.now, &stalls)
		l.sweepLocked(&w)
	}
	p.mu.Unlock()
	for _, st := range stalls {
		p.link.Stall(st.s, st.address, st.why)
	}
	if w.missed {
		p.link.Miss()
	}
	p.reportAll(w.over)
	return w.blocked
}

// sweeping is one pass of the sweeper.
type sweeping struct {
	now     time.Time
	trouble *driver.Error // of the connection
	away    *driver.Error // what FailFast messages fail with
	over    []fate
	missed  bool
	blocked bool // there is a lane that is blocked
}

// stall is a change of what keeps an address; it waits for mu to be given up.
type stall struct {
	s       *session
	address string
	why     *driver.Error
}

// sweepLocked judges the messages of one lane.
func (l *lane) sweepLocked(w *sweeping) {
	trouble := w.trouble
	if trouble == nil {
		trouble = l.trouble
	}
	if l.blockedOn != nil {
		w.blocked = true
	}
	l.queue.Keep(func(o *outgoing) bool { return !l.judgeWaitingLocked(o, w, trouble) })
	later := l.later[:0]
	for _, o := range l.later {
		switch {
		case l.judgeWaitingLocked(o, w, trouble):
		case w.now.Before(o.due):
			later = append(later, o)
		default:
			l.queue.PushFront(o)
			signal(l.wake)
		}
	}
	clear(l.later[len(later):])
	l.later = later
	if o := l.current; o != nil {
		l.judgeWritingLocked(o, w, trouble)
	} else if l.queue.Len() == 0 && l.opening {
		l.interruptLocked() // nobody waits for its link any longer
	}
	for _, k := range l.links {
		k.sweepLocked(w)
	}
}

// judgeWaitingLocked settles a message that has not left, if it is to be, and reports whether it is
// settled.
func (l *lane) judgeWaitingLocked(o *outgoing, w *sweeping, trouble *driver.Error) bool {
	if o.stage == settled {
		return true
	}
	err := o.overdue(w.now, trouble)
	if err == nil && o.m.FailFast {
		switch {
		case w.away != nil:
			err, w.missed = w.away, true
		case l.trouble != nil:
			err = l.trouble
		case o.trouble != nil:
			err = o.trouble
		}
	}
	if err == nil {
		return false
	}
	if l.p.settleLocked(o) {
		w.over = append(w.over, fate{o, err})
	}
	return true
}

// judgeWritingLocked tells the lane's goroutine to give its message up when it is overdue. The
// goroutine knows whether it has left. It is not waited for long: it may be stuck in the library.
func (l *lane) judgeWritingLocked(o *outgoing, w *sweeping, trouble *driver.Error) {
	if o.stage == settled {
		return
	}
	if o.giveUpAt.IsZero() {
		if err := o.overdue(w.now, trouble); err == nil && (!o.m.FailFast || l.trouble == nil) {
			return
		}
		o.giveUpAt = w.now
		l.interruptLocked()
		return
	}
	if !o.encoded || w.now.Sub(o.giveUpAt) < writeGrace {
		return
	}
	cause := trouble
	if cause == nil {
		cause = driver.Errorf(driver.ReasonBrokerBlocked, "the connection took no more bytes while the message was written")
	}
	if l.p.settleLocked(o) {
		w.over = append(w.over, fate{o, outbound.InDoubt(cause)})
	}
}

// noteBlockedLocked finds a lane whose peer grants no credit: its goroutine hangs in one write. That
// is over when something was written, or when nothing tries any longer.
func (l *lane) noteBlockedLocked(now time.Time, stalls *[]stall) {
	k := l.writingTo
	if b := l.blockedOn; b != nil {
		if !l.lastWritten.After(l.blockedSince) && !b.over() && (l.current != nil || now.Sub(l.rested) < blockedAfter) {
			l.renewLocked(b, now)
			return
		}
		*stalls = append(*stalls, stall{s: b.s, address: b.label})
		l.blockedOn, l.trouble = nil, nil
		return
	}
	if k == nil || now.Sub(l.writingSince) <= blockedAfter {
		return
	}
	l.blockedOn, l.blockedSince = k, now
	l.trouble = driver.Errorf(driver.ReasonBrokerBlocked, "%s takes no messages for %s: it grants no credit", k.s.host, k.label).
		WithHint("a router does so while nobody listens to the address, a broker when a queue or its memory is full")
	*stalls = append(*stalls, stall{s: k.s, address: k.label, why: l.trouble})
}

// renewLocked gives up a link that had credit and has none for long. A peer may have detached it
// without closing it, as RabbitMQ does: the library then answers, and waits for ever. A link that
// never had credit is as good as another.
func (l *lane) renewLocked(b *sendLink, now time.Time) {
	if b.wrote && l.writingTo == b && now.Sub(l.blockedSince) >= l.p.set.linkRetryDelay {
		b.stale.Store(true)
		l.interruptLocked()
	}
}

// sweepLocked gives up the wait for the peer's word on messages that nobody waits for any longer.
func (k *sendLink) sweepLocked(w *sweeping) {
	for i := range k.pending.Len() {
		o := k.pending.At(i).o
		if o.stage != sent {
			continue
		}
		if err := o.doubtful(w.now, w.trouble); err != nil && k.l.p.settleLocked(o) {
			w.over = append(w.over, fate{o, err})
		}
	}
	k.nudgeLocked()
}
