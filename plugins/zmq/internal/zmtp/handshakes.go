// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"container/list"
	"net"
	"sync"
	"sync/atomic"
)

// handshakes are the sockets whose handshakes are not finished, the oldest first.
type handshakes struct {
	most int

	mu   sync.Mutex
	open list.List // of *attempt, guarded by mu
}

// attempt is one of them.
type attempt struct {
	conn    net.Conn
	evicted atomic.Bool
	place   *list.Element // nil when it is over, guarded by handshakes.mu
}

// add closes the oldest one when there are too many.
func (h *handshakes) add(conn net.Conn) *attempt {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open.Len() >= h.most {
		oldest := h.open.Front().Value.(*attempt)
		oldest.evicted.Store(true)
		h.drop(oldest)
		_ = oldest.conn.Close() // it is given up
	}
	a := &attempt{conn: conn}
	a.place = h.open.PushBack(a)
	return a
}

func (h *handshakes) remove(a *attempt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(a)
}

// drop takes a out of the list. The caller holds mu.
func (h *handshakes) drop(a *attempt) {
	if a.place != nil {
		h.open.Remove(a.place)
		a.place = nil
	}
}

// closeAll ends them all.
func (h *handshakes) closeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for e := h.open.Front(); e != nil; e = e.Next() {
		_ = e.Value.(*attempt).conn.Close() // it is given up
	}
}
