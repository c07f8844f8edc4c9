// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"sync"

	"github.com/parleymq/parley/plugins/zmq/internal/registry"
)

// memory is where the nodes of a test find each other. It can be told to fail.
type memory struct {
	mu      sync.Mutex
	records map[string]*registry.Record // guarded by mu
	changed chan struct{}               // guarded by mu; closed when records change
	err     error                       // guarded by mu
	gate    chan struct{}               // while it is open nobody who refreshes is answered; nil for none
}

func newMemory() *memory {
	return &memory{records: make(map[string]*registry.Record), changed: make(chan struct{})}
}

func (m *memory) open() *memoryRegistry { return &memoryRegistry{m: m} }

// fail makes the registry be away for the reason err, or back when that is nil.
func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// put changes a record, or removes it when rec is nil.
func (m *memory) put(node string, rec *registry.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if rec == nil {
		delete(m.records, node)
	} else {
		m.records[node] = rec
	}
	close(m.changed)
	m.changed = make(chan struct{})
}

// memoryRegistry is what one node has of it.
type memoryRegistry struct {
	m    *memory
	mu   sync.Mutex
	node string // guarded by mu
}

var _ registry.Registry = (*memoryRegistry)(nil)

func (r *memoryRegistry) Publish(_ context.Context, rec registry.Record) error {
	r.mu.Lock()
	r.node = rec.Node
	r.mu.Unlock()
	if err := r.Health(); err != nil {
		return err
	}
	r.m.put(rec.Node, &rec)
	return nil
}

func (r *memoryRegistry) Refresh(ctx context.Context) error {
	if r.m.gate != nil {
		select {
		case <-r.m.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return r.Health()
}

func (r *memoryRegistry) View() *registry.View {
	r.mu.Lock()
	own := r.node
	r.mu.Unlock()
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	v := &registry.View{Records: make(map[string]*registry.Record, len(r.m.records))}
	for id, rec := range r.m.records {
		if id != own {
			v.Records[id] = rec
		}
	}
	return v
}

func (r *memoryRegistry) Changed() <-chan struct{} {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	return r.m.changed
}

func (r *memoryRegistry) Health() error {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	return r.m.err
}

func (r *memoryRegistry) Close(context.Context) error {
	r.mu.Lock()
	own := r.node
	r.mu.Unlock()
	r.m.put(own, nil)
	return nil
}
