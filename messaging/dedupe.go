// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"sync"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// Defaults of the window in which repeated messages are recognised. Upstream remembers 16
// (oslo_messaging/_drivers/amqp.py, DUP_MSG_CHECK_SIZE), which a busy server overruns in a
// moment.
const (
	defaultDedupeSize = 4096
	defaultDedupeAge  = 10 * time.Minute
)

// Bounds of the answers that are kept for repeated calls.
const (
	maxKeptAnswer  = 16 << 10
	maxKeptAnswers = 4 << 20
)

// firstDedupeSize is how many entries there is room for at first.
const firstDedupeSize = 64

// dedupe knows the unique ids of the messages that a server is handling, and of those it has
// handled lately: a window bounded by count and age. A request is in it from its admission, is
// done when its reply is with the broker, and is forgotten when it goes back there. It may be
// used by many goroutines at once.
type dedupe struct {
	size int // entries at most
	age  time.Duration

	mu      sync.Mutex // guards the rest, and duplicates of all in running
	running map[string]*inProgress
	done    map[string]int64 // id to its number in ring
	ring    []doneRequest
	next    int64 // number of the next entry; entry n stands at n modulo len(ring)
	old     int64 // number of the oldest entry that may still count
	kept    int   // bytes of all answers in ring
	keptOld int64 // number of the oldest entry that may have an answer
}

// inProgress is a message that is being handled.
type inProgress struct {
	delivery *driver.Delivery
	// duplicates are the tokens of repeated deliveries of it; guarded by dedupe.mu.
	duplicates []uint64
}

// doneRequest is a request that was handled, and the answer when it is kept.
type doneRequest struct {
	id     string
	at     time.Time
	answer keptAnswer
}

// keptAnswer is what a repeated call is answered with. It is for that caller alone.
type keptAnswer struct {
	replyTo, callID, uniqueID string
	body, failure             []byte
}

func (a *keptAnswer) size() int { return len(a.body) + len(a.failure) }

// fits reports whether a is the answer to d.
func (a *keptAnswer) fits(d *driver.Delivery) bool {
	return a.size() > 0 && a.replyTo == d.ReplyTo && a.callID == d.CallID
}

func newDedupe(size int, age time.Duration) *dedupe {
	return &dedupe{
		size: size, age: age, running: make(map[string]*inProgress), done: make(map[string]int64),
		ring: make([]doneRequest, min(size, firstDedupeSize)),
	}
}

// seenState is what dedupe knows of a message.
type seenState uint8

const (
	seenNever seenState = iota
	seenRunning
	seenDone
)

// lookUp tells whether a message was received before, and the answer it got, if that is kept. A
// message without an id is always new. The token of a repeated delivery of what is being handled
// is settled together with the first.
func (d *dedupe) lookUp(m *driver.Delivery, now time.Time) (seenState, keptAnswer) {
	if m.UniqueID == "" {
		return seenNever, keptAnswer{}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if j := d.running[m.UniqueID]; j != nil {
		if m.Token != 0 {
			j.duplicates = append(j.duplicates, m.Token)
		}
		return seenRunning, keptAnswer{}
	}
	d.dropOld(now)
	n, ok := d.done[m.UniqueID]
	if !ok {
		return seenNever, keptAnswer{}
	}
	if a := d.at(n).answer; a.fits(m) {
		return seenDone, a
	}
	return seenDone, keptAnswer{}
}

// begin remembers that a job is being handled.
func (d *dedupe) begin(j *inProgress) {
	if j.delivery.UniqueID == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running[j.delivery.UniqueID] = j
}

// end remembers that a job is done, with its answer, and returns the tokens of its duplicates.
func (d *dedupe) end(j *inProgress, answer keptAnswer, now time.Time) []uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	duplicates := d.leave(j)
	id := j.delivery.UniqueID
	if id == "" {
		return duplicates
	}
	if d.next-d.old == int64(len(d.ring)) && !d.grow() {
		d.dropOldest()
	}
	*d.at(d.next) = doneRequest{id: id, at: now}
	d.done[id] = d.next
	d.next++
	d.keep(answer)
	return duplicates
}

// grow makes the ring larger and reports whether it may be. Most servers of a program are never
// busy, and a ring of full size is half a megabyte.
func (d *dedupe) grow() bool {
	if len(d.ring) >= d.size {
		return false
	}
	larger := make([]doneRequest, min(4*len(d.ring), d.size))
	for n := d.old; n < d.next; n++ {
		larger[n%int64(len(larger))] = *d.at(n)
	}
	d.ring = larger
	return true
}

// forget makes a job's id new again: its message goes back to the broker and will be seen once
// more. It returns the tokens of its duplicates.
func (d *dedupe) forget(j *inProgress) []uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.leave(j)
}

func (d *dedupe) leave(j *inProgress) []uint64 {
	if id := j.delivery.UniqueID; id != "" && d.running[id] == j {
		delete(d.running, id)
	}
	duplicates := j.duplicates
	j.duplicates = nil
	return duplicates
}

// keep adds an answer to the newest entry, at the cost of the oldest answers.
func (d *dedupe) keep(a keptAnswer) {
	if a.size() == 0 || a.size() > maxKeptAnswer {
		return
	}
	d.at(d.next - 1).answer = a
	for d.kept += a.size(); d.kept > maxKeptAnswers; d.keptOld++ {
		d.dropAnswer(d.keptOld)
	}
}

func (d *dedupe) dropAnswer(n int64) {
	e := d.at(n)
	d.kept -= e.answer.size()
	e.answer = keptAnswer{}
}

func (d *dedupe) at(n int64) *doneRequest { return &d.ring[n%int64(len(d.ring))] }

func (d *dedupe) dropOld(now time.Time) {
	for d.old < d.next && now.Sub(d.at(d.old).at) > d.age {
		d.dropOldest()
	}
}

// dropOldest forgets the oldest entry, unless its id is that of a newer one too.
func (d *dedupe) dropOldest() {
	d.dropAnswer(d.old)
	if e := d.at(d.old); d.done[e.id] == d.old {
		delete(d.done, e.id)
	}
	*d.at(d.old) = doneRequest{}
	d.old++
	d.keptOld = max(d.keptOld, d.old)
}
