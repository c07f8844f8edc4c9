// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// wait keeps a parcel that nobody can take now, or fails it when it is not to wait.
func (n *Node) wait(pc *parcel, now time.Time) {
	if pc.message.FailFast && n.phase != searching && pc.report != nil {
		n.tell(pc, n.cannot(pc, nil, now))
		n.drop(pc)
		return
	}
	if pc.to.kind == driver.SourceReplies && n.knowsReply(pc.to.server) {
		// Its reader is away, and it is kept for that one. There is nothing its sender could do.
		n.tell(pc, nil)
	}
	q := n.waiting[pc.to]
	if q == nil {
		q = new(queue[*parcel])
		n.waiting[pc.to] = q
	}
	pc.peer = nil
	q.push(pc)
	n.waits++
	signal(n.sweeps)
}

// knowsReply reports whether somebody listened to a reply name.
func (n *Node) knowsReply(name string) bool {
	_, ok := n.replies[name]
	return ok
}

// unwait takes a parcel out of its queue.
func (n *Node) unwait(pc *parcel) {
	q := n.waiting[pc.to]
	if q == nil {
		n.unorphan(pc)
		return
	}
	before := q.len()
	q.keep(func(other *parcel) bool { return other != pc })
	n.waits -= before - q.len()
	if q.len() == before {
		n.unorphan(pc)
	}
	if q.len() == 0 {
		delete(n.waiting, pc.to)
	}
}

// retry sends what waits for k as far as somebody takes it, in order.
func (n *Node) retry(k key, now time.Time) {
	q := n.waiting[k]
	if q == nil || n.retryNotifications(k, now) {
		return
	}
	for q.len() > 0 {
		pc := q.first()
		p := n.pick(pc, now)
		if p == nil {
			return
		}
		q.pop()
		n.waits--
		if !n.transmit(p, pc, now) {
			// The link has just broken. The order among what waits is kept as far as it matters:
			// within one batch.
			q.push(pc)
			n.waits++
			return
		}
	}
	delete(n.waiting, k)
}

// retryAll is retry for everything that waits.
func (n *Node) retryAll() {
	if n.waits == 0 && len(n.orphans) == 0 {
		return
	}
	now := time.Now()
	// First what an application may have had: it does not remember that for ever.
	n.adoptOrphans(now)
	for k := range n.waiting {
		n.retry(k, now)
	}
}

// verdict says whether a parcel has waited long enough, and what it failed of.
func (n *Node) verdict(pc *parcel, now time.Time) *driver.Error {
	if pc.expired(now) {
		if len(n.candidates(pc.to)) == 0 {
			return n.cannot(pc, nil, now)
		}
		return driver.Errorf(driver.ReasonExpired, "send %s: its time ran out before anybody took it", describe(&pc.message))
	}
	known := len(n.candidates(pc.to)) > 0
	waited := now.Sub(pc.entered)
	switch {
	case pc.message.Target.Fanout && !known:
		return driver.Errorf(driver.ReasonNotConnected, "send %s: its receiver is gone", describe(&pc.message))
	case n.phase == searching:
		return nil
	case pc.message.FailFast && pc.report != nil:
		return n.cannot(pc, nil, now)
	case known && (pc.report != nil || pc.to.kind != driver.SourceReplies):
		return nil
	case pc.to.kind == driver.SourceReplies && !n.knowsReply(pc.to.server):
		if waited >= n.o.RouteWait {
			return n.cannot(pc, nil, now)
		}
	case pc.message.MonitorTimeout > 0 && pc.report != nil && waited >= pc.message.MonitorTimeout:
		return n.cannot(pc, nil, now) // no sign of life for that long ends a call
	case pc.message.Mandatory && pc.report != nil:
		if waited >= n.o.RouteWait {
			return n.cannot(pc, nil, now)
		}
	case pc.report == nil && pc.expires.IsZero() && waited >= n.o.HoldTime:
		return n.cannot(pc, nil, now)
	}
	return nil
}

// cannot says why a parcel that waits cannot go: nobody listens, or nobody who does can be
// reached, or all are busy.
func (n *Node) cannot(pc *parcel, cause error, now time.Time) *driver.Error {
	what := describe(&pc.message)
	all := n.candidates(pc.to)
	waited := now.Sub(pc.entered).Round(time.Millisecond)
	away := driver.AsError(n.o.Registry.Health())
	var err *driver.Error
	switch linked := countLinked(all); {
	case errors.Is(cause, context.Canceled) && len(all) > 0: // a deadline comes from the core as this too
		err = driver.Errorf(driver.ReasonCancelled, "send %s: cancelled after %v", what, waited)
	case len(all) == 0 && away != nil:
		err = driver.Errorf(driver.ReasonNotConnected, "send %s: no peers known after %v, and the registry is away: %s", what, waited, away.Message).
			WithHint("%s", away.Hint)
	case len(all) == 0 && n.strandedBy() != nil:
		err = wrapped(n.strandedBy(), "send %s: no peers known after %v, and no address answers", what, waited)
	case len(all) == 0:
		err = driver.Errorf(driver.ReasonNoRoute, "send %s: nobody listens, after %v", what, waited).
			WithHint("start a server of it, and look that both use the same zmq URL")
	case linked == 0:
		err = wrapped(failureOf(all), "send %s: %d listen, and none can be reached, after %v", what, len(all), waited)
	default:
		err = driver.Errorf(driver.ReasonBrokerBlocked, "send %s: %d listen, and all are busy, after %v", what, linked, waited).
			WithHint("start more servers")
	}
	err.Err = cause
	return err
}

// wrapped puts what a message came to before why its peers cannot be reached.
func wrapped(cause *driver.Error, format string, args ...any) *driver.Error {
	err := driver.Errorf(driver.ReasonNotConnected, format, args...)
	if cause == nil {
		return err.WithHint("look at their addresses and at the firewall between")
	}
	err.Message += ": " + cause.Message
	err.Reason, err.Retryable, err.Hint = cause.Reason, cause.Retryable, cause.Hint
	return err
}

// failureOf is why the first of the peers that were tried cannot be reached, or nil.
func failureOf(peers []*peer) *driver.Error {
	for _, p := range peers {
		if p.failed != nil {
			return driver.AsError(p.failed)
		}
	}
	return nil
}

// strandedBy is why none of the addresses answers, nil when there are none or one does.
func (n *Node) strandedBy() *driver.Error {
	var first *driver.Error
	for _, a := range n.addresses {
		if a.failed == nil {
			return nil
		}
		first = driver.AsError(a.failed)
	}
	return first
}

func countLinked(peers []*peer) int {
	count := 0
	for _, p := range peers {
		if p.local || len(p.links) > 0 {
			count++
		}
	}
	return count
}

// lapse ends the parcels of a queue that have waited long enough. It returns when the next of
// them may have.
func (n *Node) lapse(q *queue[*parcel], now time.Time) time.Time {
	var next time.Time
	q.keep(func(pc *parcel) bool {
		err := n.verdict(pc, now)
		if err == nil {
			next = earlier(next, n.nextVerdict(pc, now))
			return true
		}
		n.waits--
		if pc.report == nil && pc.to.kind != driver.SourceReplies {
			n.log.Warn("a message that was taken before is given up", "message", describe(&pc.message), "err", err.Error())
		}
		if pc.to.kind == driver.SourceReplies && !pc.message.Mandatory {
			n.log.Debug("a reply that nobody waits for is dropped", "reply", pc.to.server)
			n.tell(pc, nil)
		}
		n.tell(pc, err)
		n.drop(pc)
		return false
	})
	return next
}

// nextVerdict is when a parcel's fate may change by time alone.
func (n *Node) nextVerdict(pc *parcel, now time.Time) time.Time {
	next := pc.expires
	for _, after := range []time.Duration{n.o.RouteWait, n.o.HoldTime, pc.message.MonitorTimeout} {
		if at := pc.entered.Add(after); at.After(now) {
			next = earlier(next, at)
		}
	}
	if pc.again.After(now) {
		next = earlier(next, pc.again)
	}
	return next
}

// earlier is the earlier of two times, of which a zero one is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
