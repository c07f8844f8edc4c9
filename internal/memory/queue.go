// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"container/list"
	"slices"
	"time"
)

// queue holds messages in order and gives each to one of its consumers. Every method needs
// the lock of the queue's vhost.
type queue struct {
	entries   list.List   // of *entry, the oldest in front
	consumers []*listener // who takes from the queue
	next      int         // index of the consumer whose turn it is

	// ttl and idleSince are for reply queues: how long the queue is kept without consumers,
	// and since when it has none. Zero stands for never and for "it has some".
	ttl       time.Duration
	idleSince time.Time
}

// push adds an entry at the end and passes on what somebody waits for.
func (q *queue) push(e *entry) {
	q.entries.PushBack(e)
	q.dispatch()
}

// unpop puts an entry back to the front. Whoever puts back several starts with the latest,
// and calls dispatch after the last.
func (q *queue) unpop(e *entry) { q.entries.PushFront(e) }

// pop takes the oldest entry that is still wanted, or returns nil.
func (q *queue) pop(now time.Time) *entry {
	for front := q.entries.Front(); front != nil; front = q.entries.Front() {
		q.entries.Remove(front)
		if e := asEntry(front); !e.expired(now) {
			return e
		}
	}
	return nil
}

// dispatch gives entries to the consumers that wait in Poll, one each in turn, so that a
// quick listener does not starve a slow one.
func (q *queue) dispatch() {
	now := time.Now()
	for q.entries.Len() > 0 {
		l := q.nextWaiting()
		if l == nil {
			return
		}
		if e := q.pop(now); e != nil {
			l.give(q, e)
		}
	}
}

// nextWaiting returns the next consumer in turn that waits for a message, or nil.
func (q *queue) nextWaiting() *listener {
	for range q.consumers {
		l := q.consumers[q.next%len(q.consumers)]
		q.next = (q.next + 1) % len(q.consumers)
		if l.wants() {
			return l
		}
	}
	return nil
}

func (q *queue) attach(l *listener) {
	q.consumers = append(q.consumers, l)
	q.idleSince = time.Time{}
}

func (q *queue) detach(l *listener, now time.Time) {
	q.consumers = slices.DeleteFunc(q.consumers, func(c *listener) bool { return c == l })
	if len(q.consumers) == 0 {
		q.next, q.idleSince = 0, now
	}
}

// full reports whether a queue of at most limit entries has no room, after dropping what has
// expired. A limit of zero is none.
func (q *queue) full(limit int, now time.Time) bool {
	if limit == 0 || q.entries.Len() < limit {
		return false
	}
	for el := q.entries.Front(); el != nil; {
		following := el.Next()
		if asEntry(el).expired(now) {
			q.entries.Remove(el)
		}
		el = following
	}
	return q.entries.Len() >= limit
}

// firstExpiry returns when the first of the entries expires; zero when none does.
func (q *queue) firstExpiry() time.Time {
	var first time.Time
	for el := q.entries.Front(); el != nil; el = el.Next() {
		first = earlier(first, asEntry(el).expires)
	}
	return first
}

// abandoned reports whether a reply queue has been without a listener for its whole TTL.
func (q *queue) abandoned(now time.Time) bool {
	return q.ttl > 0 && !q.idleSince.IsZero() && now.Sub(q.idleSince) >= q.ttl
}

// earlier returns the earlier of two times, where zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// asEntry reads a list element. The lists hold nothing else.
func asEntry(el *list.Element) *entry {
	e, _ := el.Value.(*entry)
	return e
}
