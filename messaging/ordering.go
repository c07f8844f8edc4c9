// SPDX-License-Identifier: Apache-2.0

package messaging

import "fmt"

// ordering lets the requests of one key run one after another.
type ordering struct {
	keyOf func(*ServerRequest) string // nil when there is no order
	lines *lines[*job]
}

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
	return o.lines.enter(j.key, j)
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
	n, _ := o.lines.next(j.key)
	return n
}

// takeWaiting removes the jobs that wait for their turn and returns them.
func (o *ordering) takeWaiting() []*job { return o.lines.takeWaiting() }
