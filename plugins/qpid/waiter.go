// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sync"

	"github.com/parleymq/parley/plugin/driver"
)

// waiter collects the results of a batch.
type waiter struct {
	all chan struct{}
	n   int

	mu   sync.Mutex
	left int     // guarded by mu
	errs []error // nil while all is well; guarded by mu
}

func newWaiter(n int) *waiter { return &waiter{all: make(chan struct{}), left: n, n: n} }

func (w *waiter) done(i int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		if w.errs == nil {
			w.errs = make([]error, w.n)
		}
		w.errs[i] = err
	}
	if w.left--; w.left == 0 {
		close(w.all)
	}
}

// result is nil, the error of a batch of one, or a *driver.BatchError.
func (w *waiter) result() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.errs == nil {
		return nil
	}
	if w.n == 1 {
		return w.errs[0]
	}
	return &driver.BatchError{Errs: w.errs}
}
