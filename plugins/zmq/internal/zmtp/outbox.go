// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// keptOutbox bounds the buffers that are kept for the next messages.
const keptOutbox = 64 * kib

// outbox is what waits for the socket. Whoever sends adds to it, one flusher takes all that is
// there and writes it at once.
type outbox struct {
	mu       sync.Mutex
	wake     sync.Cond // something to write, or the end
	pending  []byte    // guarded by mu
	spare    []byte    // guarded by mu; the buffer of the write before
	sleeping bool      // guarded by mu; the flusher waits
	sealed   bool      // guarded by mu; nothing is added any more
	stopped  bool      // guarded by mu; nothing is written any more
	taken    int       // guarded by mu; bytes that the flusher took since the last trim

	queued atomic.Int64 // bytes that are not written
	wrote  atomic.Int64 // when bytes were written last, in nanoseconds since 1970
}

func newOutbox() *outbox {
	o := &outbox{}
	o.wake.L = &o.mu
	return o
}

// add runs encode, which appends about size bytes to pending. It refuses when more than limit would
// be queued.
func (o *outbox) add(size, limit int, encode func() error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sealed || o.stopped {
		return ErrClosed
	}
	if int(o.queued.Load())+size > limit {
		return ErrBacklog
	}
	before := len(o.pending)
	if err := encode(); err != nil {
		o.pending = o.pending[:before]
		return err
	}
	o.queued.Add(int64(len(o.pending) - before))
	if o.sleeping {
		o.sleeping = false
		o.wake.Signal()
	}
	return nil
}

// next waits for bytes to write. It returns none when there will be no more.
func (o *outbox) next() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.pending) == 0 && !o.sealed && !o.stopped {
		o.sleeping = true
		o.wake.Wait()
	}
	o.sleeping = false
	if o.stopped {
		return nil
	}
	o.wrote.Store(time.Now().UnixNano()) // nobody can have taken them before
	batch := o.pending
	o.taken += len(batch)
	o.pending, o.spare = o.spare, nil
	return batch
}

// wroteSome counts n bytes as written.
func (o *outbox) wroteSome(n int) {
	o.queued.Add(-int64(n))
	o.wrote.Store(time.Now().UnixNano())
}

// progress is when the peer last took bytes, or was offered them; zero when none wait for it.
func (o *outbox) progress() time.Time {
	if o.queued.Load() == 0 {
		return time.Time{}
	}
	return time.Unix(0, o.wrote.Load())
}

// recycle keeps a written buffer for the messages after the next.
func (o *outbox) recycle(batch []byte) {
	if cap(batch) > keptOutbox {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.spare = batch[:0]
}

// trim lets the buffers go when next to nothing was written since the last trim.
func (o *outbox) trim() {
	const nothing = 512 // PING and PONG, no more
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.taken < nothing && len(o.pending) == 0 && cap(o.pending)+cap(o.spare) > 4*nothing {
		o.pending, o.spare = nil, nil
	}
	o.taken = 0
}

// seal lets the flusher end when it has written everything.
func (o *outbox) seal() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sealed = true
	o.wake.Signal()
}

// stop lets the flusher end now.
func (o *outbox) stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stopped = true
	o.pending, o.spare = nil, nil
	o.wake.Signal()
}

// flushTo writes everything. It is for the handshake, when nobody else uses the outbox.
func (o *outbox) flushTo(w io.Writer) error {
	if len(o.pending) == 0 {
		return nil
	}
	_, err := w.Write(o.pending)
	o.pending = o.pending[:0]
	return err
}
