// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"slices"
	"sync"
	"time"
)

// batches gathers the notices of each batched priority until there are enough, or the first has
// waited long enough and somebody is free to handle them. It is how a listener with handlers of
// batches handles everything: what is for no batch is one of its own.
type batches struct {
	v    *notifying
	opts BatchOptions

	mu      sync.Mutex // guards the rest
	filling map[Priority]*batch
	queue   []*batch // wait for a goroutine, in order; the last of a priority may be filling still
	running int      // goroutines
}

// batch is what is handled together. It is guarded by batches.mu until it leaves the queue.
type batch struct {
	all    []*notice
	timer  *time.Timer // nil for one that never fills
	queued bool
}

func newBatches(v *notifying, opts BatchOptions) *batches {
	return &batches{v: v, opts: opts, filling: make(map[Priority]*batch)}
}

// add puts a notice into the batch of its priority, or has it handled by itself when no handler of
// batches is for it.
func (b *batches) add(n *notice) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.ContainsFunc(n.next, func(h *notificationHandler) bool { return h.batch != nil }) {
		b.enqueue(&batch{all: []*notice{n}})
		return
	}
	p := n.n.Priority
	f := b.filling[p]
	if f == nil {
		f = &batch{}
		f.timer = time.AfterFunc(b.opts.Timeout, func() { b.due(p, f) })
		b.filling[p] = f
	}
	f.all = append(f.all, n)
	if len(f.all) >= b.opts.Size {
		f.timer.Stop()
		delete(b.filling, p)
		b.enqueue(f)
	}
}

// due lets a batch be handled whose first notice has waited long enough. While nobody is free it
// goes on to fill.
func (b *batches) due(p Priority, f *batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.filling[p] == f {
		b.enqueue(f)
	}
}

// enqueue lets a batch be handled, behind those before it.
func (b *batches) enqueue(f *batch) {
	if f.queued {
		return
	}
	f.queued = true
	b.queue = append(b.queue, f)
	if b.running < b.v.l.opts.Concurrency {
		b.running++
		b.v.handlers.Go(b.work)
	}
}

// work handles the batches of the queue until there is none.
func (b *batches) work() {
	ended := false
	defer func() {
		if !ended { // a handler ended its goroutine: another goes on
			b.v.handlers.Go(b.work)
		}
	}()
	for all := b.next(); all != nil; all = b.next() {
		b.v.handle(all)
	}
	ended = true
}

// next takes the first batch of the queue; nil when there is none, and the goroutine is to end.
func (b *batches) next() []*notice {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		b.running--
		return nil
	}
	f := b.queue[0]
	b.queue[0] = nil
	b.queue = b.queue[1:]
	if p := f.all[0].n.Priority; b.filling[p] == f {
		delete(b.filling, p)
	}
	return f.all
}

// takeWaiting removes what was not begun and returns it. Nothing is added any more.
func (b *batches) takeWaiting() []*notice {
	b.mu.Lock()
	defer b.mu.Unlock()
	var taken []*notice
	for _, f := range b.queue {
		taken = append(taken, f.all...)
	}
	b.queue = nil
	for _, f := range b.filling {
		f.timer.Stop()
		if !f.queued {
			taken = append(taken, f.all...)
		}
	}
	clear(b.filling)
	return taken
}
