// SPDX-License-Identifier: Apache-2.0

package host

import (
	"slices"
	"time"
)

// breaker decides when a driver that keeps failing is left alone for a while. It belongs to the
// supervisor, not to a process: what is restarted must not forget that it failed before.
type breaker struct {
	limit  int // failures within window that open it; negative: never
	window time.Duration
	stable time.Duration // how long a process must live for the failures to be forgotten

	failures []time.Time
	open     bool
}

// failed notes a start that failed, or a process that ended after it lived for so long. It
// reports whether the breaker is open then.
func (b *breaker) failed(now time.Time, lived time.Duration) bool {
	if lived >= b.stable {
		b.reset()
	}
	if b.limit < 0 {
		return false
	}
	if b.open {
		return true // the one that was tried failed as well
	}
	b.failures = slices.DeleteFunc(b.failures, func(at time.Time) bool { return now.Sub(at) >= b.window })
	b.failures = append(b.failures, now)
	b.open = len(b.failures) >= b.limit
	return b.open
}

// reset forgets all failures.
func (b *breaker) reset() { b.failures, b.open = b.failures[:0], false }
