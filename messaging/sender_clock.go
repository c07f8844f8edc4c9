// SPDX-License-Identifier: Apache-2.0

package messaging

import "time"

const (
	// clockRenewal is how long an offset counts, so that clocks which drift are followed.
	clockRenewal = 10 * time.Minute
	// maxSenders is how many senders one generation remembers; there are two.
	maxSenders = 1024
	// clockStepped is how long all that comes from a sender may seem to be over before its clock
	// is taken for set back.
	clockStepped = 30 * time.Second
)

// senderClocks estimates how long messages waited on their way, without trusting that the clocks
// of two machines agree. A message says when its time is over by its sender's clock, and how much
// time it has left as far as anybody on its way could tell. Where both are right, the one minus
// the other is now; by our own clock now is later, by the difference of the clocks and by the
// waiting that nobody could tell. The smallest such number seen of a sender stands for the
// difference, and what a message has above it, it has certainly waited: a lower bound, which is
// zero for the first message of a sender.
//
// Offsets are kept in two generations, which bounds their age and number: the smallest of the
// last 10 to 20 minutes counts. A sender whose clock is set back looks as if everything it sends
// were late; when nothing of it was in time for half a minute, its clock is learnt anew. A backlog
// looks the same and is over sooner, because what is late is dropped at once.
//
// It is used by one goroutine at a time.
type senderClocks struct {
	start    time.Time // of our own clock, which is not set: wall time then, monotonic since
	renewed  time.Time
	now, old map[string]senderClock
}

// senderClock is what is known of one sender. Zero times are not set.
type senderClock struct {
	offset time.Duration
	// overSince is when the first of its messages in a row came whose time was over.
	overSince time.Time
}

func newSenderClocks(now time.Time) *senderClocks {
	return &senderClocks{start: now, renewed: now, now: make(map[string]senderClock)}
}

// left returns how much of timeLeft a message of a sender has that is received now and whose
// time is over at deadline by the sender's clock: zero or less when that was before.
func (c *senderClocks) left(sender string, deadline, now time.Time, timeLeft time.Duration) time.Duration {
	if sender == "" || deadline.IsZero() {
		return timeLeft
	}
	if now.Sub(c.renewed) >= clockRenewal || len(c.now) >= maxSenders {
		c.renewed, c.old, c.now = now, c.now, make(map[string]senderClock)
	}
	apart := c.start.Round(0).Add(now.Sub(c.start)).Sub(deadline.Add(-timeLeft))
	known, changed := c.learn(sender, apart)
	left := timeLeft - max(0, apart-c.offset(sender, known))
	switch {
	case left > 0 && known.overSince.IsZero():
	case left > 0:
		known.overSince, changed = time.Time{}, true
	case known.overSince.IsZero():
		known.overSince, changed = now, true
	case now.Sub(known.overSince) >= clockStepped:
		known, changed, left = senderClock{offset: apart}, true, timeLeft
		delete(c.old, sender)
	}
	if changed {
		c.now[sender] = known
	}
	return left
}

// learn returns what the present generation knows of a sender, now that one of its messages was
// apart from our clock by apart, and whether that is news.
func (c *senderClocks) learn(sender string, apart time.Duration) (known senderClock, news bool) {
	known, ok := c.now[sender]
	if !ok {
		return senderClock{offset: apart, overSince: c.old[sender].overSince}, true
	}
	if apart < known.offset {
		known.offset, news = apart, true
	}
	return known, news
}

// offset is the smaller one of both generations.
func (c *senderClocks) offset(sender string, known senderClock) time.Duration {
	if before, ok := c.old[sender]; ok {
		return min(known.offset, before.offset)
	}
	return known.offset
}
