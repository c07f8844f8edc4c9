// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"bytes"
	"maps"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// entry is a message while it is in a queue or with a listener that has not settled it.
type entry struct {
	message     driver.Message // ours alone: cloned on the way in and on the way out
	received    time.Time      // when message.TimeLeft counted
	expires     time.Time      // zero when the message is wanted for ever
	redelivered bool
}

// newEntry takes a copy of m, because the sender gets m back (LIFE-6).
func newEntry(m *driver.Message, now time.Time) *entry {
	e := &entry{message: clone(m), received: now}
	if m.TimeLeft > 0 {
		e.expires = now.Add(m.TimeLeft)
	}
	return e
}

// copyFor returns an entry of its own for one more queue. The bytes are shared: nobody
// changes them, and each delivery gets a clone.
func (e *entry) copyFor() *entry {
	other := *e
	return &other
}

func (e *entry) expired(now time.Time) bool {
	return !e.expires.IsZero() && !now.Before(e.expires)
}

// delivery returns what Poll hands out. It is a clone, because the core may change what it
// was given while this entry can still go back to its queue.
func (e *entry) delivery(token uint64, now time.Time) *driver.Delivery {
	d := &driver.Delivery{Message: clone(&e.message), Token: token, Redelivered: e.redelivered}
	d.Waited(now.Sub(e.received))
	return d
}

func clone(m *driver.Message) driver.Message {
	c := *m
	c.Context = bytes.Clone(m.Context)
	c.Body = bytes.Clone(m.Body)
	c.Failure = bytes.Clone(m.Failure)
	c.Headers = maps.Clone(m.Headers)
	return c
}
