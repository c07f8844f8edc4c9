// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/parleymq/parley/internal/foundation/contract"
)

// The numbers of the contract.
const (
	kindCall      = 1
	kindCast      = 2
	kindReply     = 3
	kindHeartbeat = 4

	sourceServer  = 1
	sourceReplies = 2

	settleOnDone = 2

	resultRequeued = 2
)

// broker is the queues of this process.
type broker struct {
	mu     sync.Mutex
	queues map[string]*queue // guarded by mu
	feeds  uint64            // listeners so far; guarded by mu
}

// queue is made by its first listener and stays. A fanout's queue goes with its listener.
type queue struct {
	items   []entry
	readers []*feed
}

type entry struct {
	message *pb.Message
	until   time.Time // zero is without limit
}

func newBroker() *broker { return &broker{queues: make(map[string]*queue)} }

// name joins what a queue is known by. The zero byte is in no name.
func name(parts ...string) string { return strings.Join(parts, "\x00") }

// number names a listener.
func (b *broker) number() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.feeds++
	return b.feeds
}

// send puts a message into its queues.
func (b *broker) send(m *pb.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	targets, err := b.targets(m)
	if err != nil {
		return err
	}
	if len(targets) == 0 && m.GetMandatory() {
		return failure("NO_ROUTE", "no queue for topic %q, server %q", m.GetTopic(), m.GetServer())
	}
	e := entry{message: m}
	if us := m.GetTimeLeftUs(); us > 0 {
		e.until = time.Now().Add(time.Duration(us) * time.Microsecond)
	}
	for _, q := range targets {
		q.items = append(q.items, e)
		q.wake()
	}
	return nil
}

func (b *broker) targets(m *pb.Message) ([]*queue, error) {
	switch {
	case m.GetKind() == kindReply || m.GetKind() == kindHeartbeat:
		return b.named(name("replies", m.GetReplyTo())), nil
	case m.GetKind() != kindCall && m.GetKind() != kindCast:
		return nil, failure("UNSUPPORTED", "messages of kind %d", m.GetKind())
	case m.GetFanout():
		var all []*queue
		for key, q := range b.queues {
			if strings.HasPrefix(key, name("fanout", m.GetTopic(), "")) {
				all = append(all, q)
			}
		}
		return all, nil
	default:
		return b.named(name("topic", m.GetExchange(), m.GetTopic(), m.GetServer())), nil
	}
}

func (b *broker) named(key string) []*queue {
	if q, ok := b.queues[key]; ok {
		return []*queue{q}
	}
	return nil
}

// listen makes the queues of a source and lets f read them.
func (b *broker) listen(f *feed, s *pb.Source) error {
	var keys []string
	switch s.GetKind() {
	case sourceServer:
		keys = []string{
			name("topic", s.GetExchange(), s.GetTopic(), ""),
			name("topic", s.GetExchange(), s.GetTopic(), s.GetServer()),
			name("fanout", s.GetTopic(), f.id),
		}
	case sourceReplies:
		keys = []string{name("replies", s.GetReplyName())}
	default:
		return failure("UNSUPPORTED", "sources of kind %d", s.GetKind())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range keys {
		q, ok := b.queues[key]
		if !ok {
			q = new(queue)
			b.queues[key] = q
		}
		q.readers = append(q.readers, f)
		f.queues = append(f.queues, q)
	}
	return nil
}

// forget ends a listener. What it was given and did not settle goes back.
func (b *broker) forget(f *feed) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, q := range f.queues {
		q.readers = slices.DeleteFunc(q.readers, func(r *feed) bool { return r == f })
	}
	for _, o := range f.open {
		o.from.items = append(o.from.items, o.entry)
		o.from.wake()
	}
	for key, q := range b.queues {
		if strings.HasPrefix(key, "fanout\x00") && len(q.readers) == 0 {
			delete(b.queues, key)
		}
	}
}

// wake tells the readers that there is something.
func (q *queue) wake() {
	for _, f := range q.readers {
		f.notify()
	}
}

// take returns the next delivery that f has credit for, or nil.
func (b *broker) take(f *feed) *pb.Delivery {
	b.mu.Lock()
	defer b.mu.Unlock()
	if f.stopping || f.credit == 0 || f.bytes <= 0 {
		return nil
	}
	for _, q := range f.queues {
		for len(q.items) > 0 {
			e := q.items[0]
			q.items = q.items[1:]
			if m, ok := e.left(time.Now()); ok {
				return f.deliver(q, e, m)
			}
		}
	}
	return nil
}

// left is the message with the time it has now, or false when that is over.
func (e entry) left(now time.Time) (*pb.Message, bool) {
	m := proto.CloneOf(e.message) // a fanout's is in several queues
	if e.until.IsZero() {
		return m, true
	}
	left := e.until.Sub(now)
	m.TimeLeftUs = uint64(max(0, left.Microseconds()))
	return m, m.TimeLeftUs > 0
}

// settle takes what the host says of deliveries.
func (b *broker) settle(f *feed, outcomes []*pb.Outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, o := range outcomes {
		for token := o.GetToken(); token < o.GetToken()+o.GetCount(); token++ {
			d, ok := f.open[token]
			delete(f.open, token)
			if ok && o.GetResult() == resultRequeued {
				d.from.items = append([]entry{d.entry}, d.from.items...)
				d.from.wake()
			}
		}
	}
}
