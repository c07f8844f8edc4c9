// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"sync"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/plugin/driver"
)

const (
	// maxRejections is how often a message is rejected before it is accepted to be rid of it: more
	// often than a broker's limit of attempts, which then has its effect, is likely to be.
	maxRejections = 20
	// maxRemembered bounds the memory of rejected messages.
	maxRemembered = 1024
)

// rejections remembers what was rejected lately, and how often.
type rejections struct {
	seed maphash.Seed

	mu    sync.Mutex
	times map[uint64]int // guarded by mu
	order []uint64       // the keys of times, a ring from next on; guarded by mu
	next  int            // guarded by mu
}

func newRejections() *rejections {
	return &rejections{seed: maphash.MakeSeed(), times: make(map[uint64]int)}
}

// add counts a rejection, and returns how many there were.
func (r *rejections) add(mark uint64) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rememberLocked(mark)
	r.times[mark]++
	return r.times[mark]
}

// first remembers a message that is about to be rejected, and reports whether it is a new one.
func (r *rejections) first(mark uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rememberLocked(mark)
}

func (r *rejections) rememberLocked(mark uint64) (isNew bool) {
	if _, ok := r.times[mark]; ok {
		return false
	}
	if len(r.order) < maxRemembered {
		r.order = append(r.order, mark)
	} else {
		delete(r.times, r.order[r.next])
		r.order[r.next] = mark
		r.next = (r.next + 1) % maxRemembered
	}
	r.times[mark] = 0
	return true
}

// known reports whether a message with that mark was rejected before.
func (r *rejections) known(mark uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.times[mark] > 0
}

// seen reports whether a decoded message was rejected before and is here again. One without a unique id
// is known by what it says, and only when the broker says that it comes again: peers in Python send no
// ids, and may mean to say the same twice.
func (r *rejections) seen(address string, d *driver.Delivery) bool {
	r.mu.Lock()
	some := len(r.times) > 0
	r.mu.Unlock()
	if !some || d.UniqueID == "" && !d.Redelivered {
		return false
	}
	return r.known(r.markOf(address, d))
}

// markOf tells a decoded message from others.
func (r *rejections) markOf(address string, d *driver.Delivery) uint64 {
	if d.UniqueID != "" {
		return maphash.Comparable(r.seed, [2]string{address, d.UniqueID})
	}
	return maphash.Comparable(r.seed, [3]string{address, string(d.Context), string(d.Body)})
}

// markOfRaw tells a message that cannot be decoded from others, by its content.
func (r *rejections) markOfRaw(address string, m *amqp.Message) uint64 {
	var ids string
	if p := m.Properties; p != nil {
		ids = fmt.Sprint(p.MessageID, p.CorrelationID)
	}
	text, ok := m.Value.(string)
	if !ok {
		text = fmt.Sprintf("%T", m.Value)
	}
	return maphash.Comparable(r.seed, [4]string{address, ids, text, string(bytes.Join(m.Data, nil))})
}
