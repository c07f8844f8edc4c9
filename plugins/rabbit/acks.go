// SPDX-License-Identifier: Apache-2.0

package main

import "slices"

// ackTracker knows which deliveries of one channel are settled, so that runs of them are
// acknowledged by one frame and none is ever settled twice, which would close the channel.
// It is guarded by consumer.ackMu.
type ackTracker struct {
	base    uint64              // all tags below are settled
	settled map[uint64]struct{} // settled tags from base on
}

func newAckTracker() ackTracker { return ackTracker{base: 1, settled: make(map[uint64]struct{})} }

// open returns the tags that are not settled, sorted and each once, in the memory of tags.
// Tags above highest were never delivered.
func (t *ackTracker) open(tags []uint64, highest uint64) []uint64 {
	slices.Sort(tags)
	tags = slices.Compact(tags)
	return slices.DeleteFunc(tags, func(tag uint64) bool {
		_, done := t.settled[tag]
		return done || tag < t.base || tag > highest
	})
}

// settle marks tags, which are open, and splits them: an acknowledgement of multiple up to
// upTo covers the first n, and the rest needs one each. The n tags are the only ones at or
// below upTo that were not settled before.
func (t *ackTracker) settle(tags []uint64) (n int, upTo uint64) {
	for _, tag := range tags {
		t.settled[tag] = struct{}{}
	}
	for {
		if _, ok := t.settled[t.base]; !ok {
			break
		}
		delete(t.settled, t.base)
		t.base++
	}
	for n < len(tags) && tags[n] < t.base {
		upTo = tags[n]
		n++
	}
	return n, upTo
}
