// SPDX-License-Identifier: Apache-2.0

package host

import (
	"math/rand/v2"
	"time"
)

// readyBackoffMax bounds the wait after a process that was ready. Its program works, and calls
// wait for the next one: the long waits are for programs that do not start.
const readyBackoffMax = 2 * time.Second

// backoff is the wait before the next start. It doubles with each failure.
type backoff struct {
	min, max time.Duration
	stable   time.Duration // how long a process must live for the wait to begin at min again
	next     time.Duration
}

// after returns how long to wait after a start that failed, or a process that was ready and lived
// for so long. Jitter keeps applications that share a broken binary from starting it in step.
func (b *backoff) after(wasReady bool, lived time.Duration) time.Duration {
	if lived >= b.stable {
		b.next = 0
	}
	limit := b.max
	if wasReady {
		limit = min(limit, readyBackoffMax)
	}
	d := min(max(b.next, b.min), limit)
	b.next = 2 * d
	return d/2 + rand.N(d/2+1) //nolint:gosec // jitter needs no secrecy
}
