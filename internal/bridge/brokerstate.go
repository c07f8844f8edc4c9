// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"sync"

	"github.com/parleymq/parley/plugin/driver"
)

// brokerState is what a driver last said of its broker. It serves SEND-10 where the driver
// cannot: a FailFast message that finds no room must not wait for the messages before it.
type brokerState struct {
	mu      sync.Mutex
	cause   *driver.Error // what keeps messages back, or nil; guarded by mu
	changed chan struct{} // closed and replaced at each change; guarded by mu
}

func newBrokerState() *brokerState { return &brokerState{changed: make(chan struct{})} }

func (b *brokerState) set(s driver.State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cause = nil
	if s.Phase != driver.Ready && s.Err != nil {
		cause := *driver.AsError(s.Err)
		cause.InDoubt = false
		b.cause = &cause
	}
	close(b.changed)
	b.changed = make(chan struct{})
}

// trouble returns what keeps messages back, or nil, and a channel that is closed when that
// changes.
func (b *brokerState) trouble() (*driver.Error, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cause, b.changed
}
