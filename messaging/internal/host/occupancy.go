// SPDX-License-Identifier: Apache-2.0

package host

import (
	"sync"
	"time"
)

// occupancy counts the connections in a process.
type occupancy struct {
	mu    sync.Mutex
	count int           // guarded by mu
	empty chan struct{} // closed when count gets zero; nil while nobody waits; guarded by mu
}

func (o *occupancy) enter() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.count++
}

func (o *occupancy) leave() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.count--; o.count == 0 && o.empty != nil {
		close(o.empty)
		o.empty = nil
	}
}

// awaitEmpty waits until all connections have left the process, or it is gone, or the limit is
// over.
func (p *process) awaitEmpty(limit time.Duration) {
	p.occupants.mu.Lock()
	if p.occupants.count == 0 {
		p.occupants.mu.Unlock()
		return
	}
	if p.occupants.empty == nil {
		p.occupants.empty = make(chan struct{})
	}
	empty := p.occupants.empty
	p.occupants.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-empty:
	case <-p.gone:
	case <-timer.C:
	}
}
