// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"fmt"
	"sync"
)

// ordering lets the requests of one key run one after another. What waits in it is bounded by
// the slots of its server.
type ordering struct {
	keyOf func(*ServerRequest) string // nil when there is no order

	mu    sync.Mutex         // guards lines, and next of every job
	lines map[string]jobLine // by key; only keys that have a job
}

// jobLine is the jobs of a key: first is being handled, the others wait, linked by next.
type jobLine struct{ first, last *job }

// enter reports whether a job may begin at once; otherwise next will return it.
func (o *ordering) enter(j *job) bool {
	if o.keyOf == nil {
		return true
	}
	j.read()
	if j.problem != nil {
		return true
	}
	o.findKey(j)
	if j.key == "" {
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	line, busy := o.lines[j.key]
	if !busy {
		o.lines[j.key] = jobLine{j, j}
		return true
	}
	line.last.next = j
	o.lines[j.key] = jobLine{line.first, j}
	return false
}

// findKey asks the application. A request whose key cannot be had is answered with the panic: to
// run it in any order would break a promise in silence.
func (o *ordering) findKey(j *job) {
	defer func() {
		if v := recover(); v != nil {
			j.key, j.problem = "", fmt.Errorf("the key of its order cannot be had: panic: %v", v)
		}
	}()
	j.key = o.keyOf(j.request())
}

// next returns the job whose turn it is now that j has ended; nil when there is none.
func (o *ordering) next(j *job) *job {
	if j.key == "" {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	n := j.next
	if n == nil {
		delete(o.lines, j.key)
		return nil
	}
	j.next = nil
	o.lines[j.key] = jobLine{n, o.lines[j.key].last}
	return n
}

// takeWaiting removes the jobs that wait for their turn and returns them.
func (o *ordering) takeWaiting() []*job {
	o.mu.Lock()
	defer o.mu.Unlock()
	var taken []*job
	for key, line := range o.lines {
		for j := line.first.next; j != nil; j = j.next {
			taken = append(taken, j)
		}
		line.first.next = nil
		o.lines[key] = jobLine{line.first, line.first}
	}
	return taken
}
