// SPDX-License-Identifier: Apache-2.0

package node

import (
	"slices"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/wire"
)

// parcel is one copy of a message on its way to one listener. Its node keeps it until the
// listener's application has it.
type parcel struct {
	seq         uint64
	attempt     uint32
	redelivered bool
	typ         wire.Type
	message     driver.Message // our own copy
	pool        string
	pooled      bool // a notification whose pool is known
	to          key
	size        int
	entered     time.Time
	expires     time.Time // zero: without limit

	peer    *peer     // that has it, nil while it waits
	sent    time.Time // to peer
	breaks  int       // of the link to peer, since then
	written bool      // it may have reached peer
	acked   bool      // peer answered that it has it
	anyone  bool      // peer had it for a listener that has left, and whose work others may do again

	avoid   *peer     // refused it
	again   time.Time // until when avoid is avoided
	heirs   string    // the only application that may have it again, see bequeath
	last    *peer     // that had it under seq and is gone, nil when another had it since
	storing bool      // the spooler has it

	report func(error)
	split  *copies // it went out in these
}

// tell reports the fate of a parcel, once; what comes later is not told.
func (n *Node) tell(pc *parcel, err error) {
	if pc.report == nil {
		return
	}
	report := pc.report
	pc.report = nil
	n.pending.told()
	report(err)
}

// drop forgets a parcel that is settled, in whatever way.
func (n *Node) drop(pc *parcel) {
	n.pending.give(pc.size)
	pc.peer = nil
}

func (pc *parcel) expired(now time.Time) bool { return !pc.expires.IsZero() && !now.Before(pc.expires) }

// repeatable says that it harms nobody to have it twice: replies are dropped by their call's id,
// notifications are promised at least once.
func (pc *parcel) repeatable() bool {
	return pc.typ == wire.Reply || pc.typ == wire.Heartbeat || pc.typ == wire.Notify
}

// packet is the parcel as it is sent now.
func (pc *parcel) packet(now time.Time, floor uint64) wire.Packet {
	m := pc.message
	if !pc.expires.IsZero() {
		m.TimeLeft = max(pc.expires.Sub(now), time.Millisecond)
	}
	return wire.Packet{
		Type: pc.typ, Seq: pc.seq, Attempt: pc.attempt, Redelivered: pc.redelivered, Pool: pc.pool,
		Floor: floor, Message: m,
	}
}

// own copies what the sender of a message may change once Send returned.
func own(m *driver.Message) driver.Message {
	c := *m
	buf := make([]byte, 0, len(m.Context)+len(m.Body)+len(m.Failure))
	buf, c.Context = cut(buf, m.Context)
	buf, c.Body = cut(buf, m.Body)
	_, c.Failure = cut(buf, m.Failure)
	if len(m.Headers) > 0 {
		c.Headers = make(map[string]string, len(m.Headers))
		for k, v := range m.Headers {
			c.Headers[k] = v
		}
	}
	return c
}

func cut(buf, b []byte) (rest, copied []byte) {
	if len(b) == 0 {
		return buf, nil
	}
	from := len(buf)
	buf = append(buf, b...)
	return buf, slices.Clip(buf[from:])
}

// typeOf is the packet for a kind of message.
func typeOf(k driver.Kind) wire.Type {
	switch k {
	case driver.Call:
		return wire.Call
	case driver.Cast:
		return wire.Cast
	case driver.Reply:
		return wire.Reply
	case driver.Heartbeat:
		return wire.Heartbeat
	default:
		return wire.Notify
	}
}

// room counts what was sent and is not done.
type room struct {
	messages, bytes int // the limits
	count, size     int
	unreported      int // parcels whose sender waits for their fate
	changed         chan struct{}
}

func (r *room) full() bool { return r.count >= r.messages || r.size >= r.bytes }

func (r *room) take(size int) {
	r.count++
	r.size += size
	r.unreported++
}

func (r *room) told() {
	r.unreported--
	if r.unreported == 0 {
		r.wake()
	}
}

func (r *room) give(size int) {
	was := r.full()
	r.count--
	r.size -= size
	if was && !r.full() {
		r.wake()
	}
}

func (r *room) wake() {
	close(r.changed)
	r.changed = make(chan struct{})
}
