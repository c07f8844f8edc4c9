// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// topicName is a topic within its exchange. For notifications the priority is part of it.
type topicName struct {
	exchange, topic, priority string
}

// address names a queue that outlives its listeners: of a topic, of one server of a topic, or
// of replies.
type address struct {
	topicName
	server string
	reply  string
}

// fanoutName names the listeners of a fanout. All fanouts stay in their exchange here; those
// that are Scoped are kept apart from the others all the same (LISTEN-8).
type fanoutName struct {
	topicName
	scoped bool
}

func fanoutOf(t driver.Target) fanoutName {
	return fanoutName{topicName: topicOf(t), scoped: t.Scoped}
}

func topicOf(t driver.Target) topicName {
	return topicName{exchange: t.Exchange, topic: t.Topic}
}

// route returns the queues m goes to, possibly none. mu must be held.
func (v *vhost) route(m *driver.Message, now time.Time) []*queue {
	switch {
	case m.Kind == driver.Reply || m.Kind == driver.Heartbeat:
		return v.replyQueue(m.ReplyTo, now)
	case m.Kind == driver.Notification:
		return v.notificationQueues(topicName{m.Target.Exchange, m.Target.Topic, m.Priority})
	case m.Target.Fanout:
		return values(v.copies[fanoutOf(m.Target)])
	default:
		return v.existing(address{topicName: topicOf(m.Target), server: m.Target.Server})
	}
}

func (v *vhost) existing(a address) []*queue {
	if q, ok := v.queues[a]; ok {
		return []*queue{q}
	}
	return nil
}

func (v *vhost) replyQueue(name string, now time.Time) []*queue {
	a := address{reply: name}
	if q, ok := v.queues[a]; ok && q.abandoned(now) {
		delete(v.queues, a)
	}
	return v.existing(a)
}

// notificationQueues returns one queue for each pool. When there is none yet it makes the
// one of the listeners without a pool: notifications wait for their first listener, as they
// do with upstream, where the notifier declares that queue.
func (v *vhost) notificationQueues(name topicName) []*queue {
	if len(v.pools[name]) == 0 {
		v.pool(name, "")
	}
	return values(v.pools[name])
}

// bind finds or makes the queues that src takes from and attaches l to them. mu must be held.
func (v *vhost) bind(src driver.Source, l *listener, ttl time.Duration) {
	switch src.Kind {
	case driver.SourceServer:
		topic := topicOf(src.Target)
		l.add(v.queue(address{topicName: topic}))
		l.add(v.queue(address{topicName: topic, server: src.Target.Server}))
		l.add(v.fanoutCopy(fanoutOf(src.Target), l))
	case driver.SourceReplies:
		q := v.queue(address{reply: src.ReplyName})
		q.ttl = ttl
		l.add(q)
	case driver.SourceNotifications:
		for _, n := range src.Notifications {
			l.add(v.pool(topicName{n.Exchange, n.Topic, n.Priority}, src.Pool))
		}
	}
}

// queue returns the queue at a and makes it when there is none (LISTEN-2).
func (v *vhost) queue(a address) *queue {
	q, ok := v.queues[a]
	if !ok {
		q = &queue{}
		v.queues[a] = q
	}
	return q
}

// fanoutCopy makes the queue in which l gets its copy of the topic's fanout.
func (v *vhost) fanoutCopy(name fanoutName, l *listener) *queue {
	if v.copies[name] == nil {
		v.copies[name] = make(map[*listener]*queue)
	}
	q := &queue{}
	v.copies[name][l] = q
	return q
}

// dropFanoutCopy forgets l's copy with what is in it: the next listener did not exist when
// those messages were sent. mu must be held.
func (v *vhost) dropFanoutCopy(name fanoutName, l *listener) {
	delete(v.copies[name], l)
	if len(v.copies[name]) == 0 {
		delete(v.copies, name)
	}
}

// pool returns the queue of one pool of a notification topic and makes it when there is none.
func (v *vhost) pool(name topicName, pool string) *queue {
	if v.pools[name] == nil {
		v.pools[name] = make(map[string]*queue)
	}
	q, ok := v.pools[name][pool]
	if !ok {
		q = &queue{}
		v.pools[name][pool] = q
	}
	return q
}

func values[K comparable](m map[K]*queue) []*queue {
	queues := make([]*queue, 0, len(m))
	for _, q := range m {
		queues = append(queues, q)
	}
	return queues
}
