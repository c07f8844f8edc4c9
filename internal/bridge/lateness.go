// SPDX-License-Identifier: Apache-2.0

package bridge

import "time"

// Some results and settlements nobody waits for: that the broker took a call, whose sender
// waits for the answer; that a reply was received, which the broker may learn any time. Each
// would cost a frame of its own while little is going on. They are kept until there are
// several, until something else is written, or for lateDelay, whichever comes first.
const (
	lateDelay      = 20 * time.Millisecond
	maxLateResults = 64
)

// lateness decides when what can wait is written. Its owner guards it.
type lateness struct {
	count int
	timer *time.Timer
	armed bool
}

// wait counts one more that can wait, and reports whether it may: not above limit. It sees to
// it that wake is notified in time.
func (l *lateness) wait(limit int, wake chan struct{}) bool {
	if l.count++; l.count > limit {
		return false
	}
	if !l.armed {
		l.armed = true
		if l.timer == nil {
			l.timer = time.AfterFunc(lateDelay, func() { notify(wake) })
		} else {
			l.timer.Reset(lateDelay)
		}
	}
	return true
}

// over is called when everything has been written.
func (l *lateness) over() {
	l.count, l.armed = 0, false
	if l.timer != nil {
		l.timer.Stop()
	}
}
