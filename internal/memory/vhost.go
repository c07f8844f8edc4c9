// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"sync"
	"time"
)

// vhost is one virtual host: the space in which names mean the same to everybody.
type vhost struct {
	// mu guards everything below and everything in the queues, the listeners and the conns
	// of this vhost. One lock for all keeps a fanout whole and the code short; a broker in
	// memory is not where time is spent.
	mu sync.Mutex

	queues map[address]*queue
	// copies are the fanout queues of a topic, one for each listener.
	copies map[fanoutName]map[*listener]*queue
	// pools are the notification queues of a topic and priority, by pool.
	pools map[topicName]map[string]*queue
	// replies are the addresses of reply names; see NewDynamic.
	replies map[*replyAddress]struct{}

	// room is closed, and replaced, when a queue may have got room; senders wait for it.
	// It is nil while none does.
	room chan struct{}
}

func newVhost() *vhost {
	return &vhost{
		queues: make(map[address]*queue),
		copies: make(map[fanoutName]map[*listener]*queue),
		pools:  make(map[topicName]map[string]*queue),

		replies: make(map[*replyAddress]struct{}),
	}
}

// waitRoom returns a channel that is closed when a queue may have got room. mu must be held.
func (v *vhost) waitRoom() <-chan struct{} {
	if v.room == nil {
		v.room = make(chan struct{})
	}
	return v.room
}

// madeRoom wakes the senders that wait. They all look again: which of them fits is for them
// to find out. mu must be held.
func (v *vhost) madeRoom() {
	if v.room != nil {
		close(v.room)
		v.room = nil
	}
}

// sweep forgets reply queues that nobody came back for. mu must be held.
func (v *vhost) sweep(now time.Time) {
	for a, q := range v.queues {
		if q.abandoned(now) {
			delete(v.queues, a)
			v.madeRoom()
		}
	}
}
