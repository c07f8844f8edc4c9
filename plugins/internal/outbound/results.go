// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"sync"

	"github.com/parleymq/parley/plugin/driver"
)

// Results collects the results of a batch.
type Results struct {
	all chan struct{}
	n   int

	mu   sync.Mutex
	left int     // guarded by mu
	errs []error // nil while all is well; guarded by mu
}

// NewResults returns those of n messages.
func NewResults(n int) *Results { return &Results{all: make(chan struct{}), left: n, n: n} }

// Done notes that of message i; it must be called once for each.
func (r *Results) Done(i int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		if r.errs == nil {
			r.errs = make([]error, r.n)
		}
		r.errs[i] = err
	}
	if r.left--; r.left == 0 {
		close(r.all)
	}
}

// All is closed when all are known.
func (r *Results) All() <-chan struct{} { return r.all }

// Err is nil, the error of a batch of one, or a *driver.BatchError.
func (r *Results) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.errs == nil {
		return nil
	}
	if r.n == 1 {
		return r.errs[0]
	}
	return &driver.BatchError{Errs: r.errs}
}
