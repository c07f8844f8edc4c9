// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"math"
	"time"
)

// maxDeadlineMillis is in the year 2248. What is later is no time that a clock showed, and
// differences to it could overflow.
const maxDeadlineMillis = 1 << 43

// DeadlineMillis is Deadline as a wire carries it: milliseconds since 1970, zero when it is not known.
func (m *Message) DeadlineMillis() int64 {
	if m.Deadline.IsZero() {
		return 0
	}
	ms := m.Deadline.UnixMilli()
	if ms < 0 || ms > maxDeadlineMillis {
		return 0
	}
	return ms
}

// DeadlineTime is the Deadline of milliseconds that came by a wire: the zero time for zero and for
// what no clock shows.
func DeadlineTime(ms int64) time.Time {
	if ms <= 0 || ms > maxDeadlineMillis {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// Waited takes d off TimeLeft: who held the message for d calls it. What has no limit keeps
// none, and what has run out is negative, never zero.
func (m *Message) Waited(d time.Duration) {
	if m.TimeLeft == 0 {
		return
	}
	left := m.TimeLeft - d
	switch {
	case d > 0 && left > m.TimeLeft:
		left = math.MinInt64
	case d < 0 && left < m.TimeLeft:
		left = math.MaxInt64
	case left == 0:
		left = -1
	}
	m.TimeLeft = left
}
