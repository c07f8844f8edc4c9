// SPDX-License-Identifier: Apache-2.0

package driverlog

import "time"

// rateLimit lets so many events through in each second and counts the rest. It belongs to
// one goroutine.
type rateLimit struct {
	perSecond int
	now       func() time.Time

	since   time.Time // start of the second that is counted
	used    int
	dropped int
}

func newRateLimit(perSecond int, now func() time.Time) *rateLimit {
	return &rateLimit{perSecond: perSecond, now: now}
}

// allow reports whether one more event may pass; first is true for the first that may not.
func (l *rateLimit) allow() (allowed, first bool) {
	now := l.now()
	if passed := now.Sub(l.since); passed >= time.Second || passed < 0 {
		l.since, l.used = now, 0
	}
	if l.used < l.perSecond {
		l.used++
		return true, false
	}
	l.dropped++
	return false, l.dropped == 1
}

// takeDropped returns how many events were dropped since it was last called.
func (l *rateLimit) takeDropped() int {
	n := l.dropped
	l.dropped = 0
	return n
}
