// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// NotificationTopic is that of all notifications.
	NotificationTopic = "bench_events"
	// NotificationQueue is where the broker keeps them.
	NotificationQueue = NotificationTopic + ".info"
	// pipelined is how many notifications of one goroutine are unconfirmed at most: Parley's default.
	pipelined = 4096
	eventType = "bench.event"
	publisher = "bench.host1"
)

// Pipelined runs the loads that do not wait for each notification. begin sends one; what it was
// given is called when the broker has it, from any goroutine.
type Pipelined func(ctx context.Context, done func(error))

// RunPipelined sends for load.Seconds, or load.Count times, from one goroutine, and waits for what
// is under way. begin has to wait when too many are.
func RunPipelined(ctx context.Context, load Load, begin Pipelined) Result {
	var (
		accepted, failed atomic.Int64
		first            atomic.Pointer[string]
		underWay         sync.WaitGroup
	)
	done := func(err error) {
		if err == nil {
			accepted.Add(1)
		} else {
			failed.Add(1)
			text := err.Error()
			first.CompareAndSwap(nil, &text)
		}
		underWay.Done()
	}
	start := time.Now()
	end := start.Add(time.Duration(load.Seconds * float64(time.Second)))
	for i := 0; load.Count > 0 && i < load.Count || load.Count == 0 && time.Now().Before(end); i++ {
		underWay.Add(1)
		begin(ctx, done)
	}
	underWay.Wait()
	r := Result{Calls: int(accepted.Load()), Errors: int(failed.Load()), Seconds: time.Since(start).Seconds()}
	if text := first.Load(); text != nil {
		r.Error = *text
	}
	return r
}

// Topology is the queue of the notifications, as all contenders declare it.
type Topology struct {
	ch *amqp.Channel
	l  *rawLink
}

// NewTopology declares exchange and queue as the drivers do.
func NewTopology(s Setup) (*Topology, error) {
	l, err := dialRaw(s.URL)
	if err != nil {
		return nil, err
	}
	return &Topology{l.ch, l}, declareNotifications(l.ch, s.Durable)
}

func declareNotifications(ch *amqp.Channel, durable bool) error {
	if err := ch.ExchangeDeclare(rawExchange, "topic", durable, false, false, false, nil); err != nil {
		return err
	}
	if _, err := ch.QueueDeclare(NotificationQueue, durable, false, false, false, nil); err != nil {
		return err
	}
	return ch.QueueBind(NotificationQueue, NotificationQueue, rawExchange, false, nil)
}

// Purge empties the queue.
func (t *Topology) Purge() error {
	_, err := t.ch.QueuePurge(NotificationQueue, false)
	return err
}

// Waiting is how many notifications no listener was given yet.
func (t *Topology) Waiting() (int, error) {
	q, err := t.ch.QueueDeclarePassive(NotificationQueue, false, false, false, false, nil)
	return q.Messages, err
}

// Close ends the connection.
func (t *Topology) Close() error { return t.l.conn.Close() }

// handled counts what a listener was given until it is enough.
type handled struct {
	want int64
	got  atomic.Int64
	all  chan struct{} // closed when it is
}

func newHandled(want int) *handled { return &handled{want: int64(want), all: make(chan struct{})} }

func (h *handled) add(n int) {
	if got := h.got.Add(int64(n)); got >= h.want && got-int64(n) < h.want {
		close(h.all)
	}
}

// result waits until it is enough, and since begin tells how long that took.
func (h *handled) result(ctx context.Context, begin time.Time, ended <-chan error) Result {
	r := Result{}
	select {
	case <-h.all:
	case err := <-ended:
		r.Errors, r.Error = 1, "the listener ended: "+fmt.Sprint(err)
	case <-ctx.Done():
		r.Errors, r.Error = 1, ctx.Err().Error()
	}
	r.Calls, r.Seconds = int(min(h.got.Load(), h.want)), time.Since(begin).Seconds()
	return r
}

// notificationText is a notification but for its ids and its time, as it stands in the envelope.
type notificationText struct{ payload string }

func newNotificationText(size int) notificationText {
	escaped := strconv.Quote(string(Request(size)))
	return notificationText{escaped[1 : len(escaped)-1]}
}

// append appends a notification with ids of its own.
func (t notificationText) append(dst []byte) []byte {
	id := rawID()
	dst = append(dst, `{"oslo.version": "2.0", "oslo.message": "{\"message_id\": \"`...)
	dst = append(append(dst, id[:8]...), '-')
	dst = append(append(dst, id[8:12]...), '-')
	dst = append(append(dst, id[12:16]...), '-')
	dst = append(append(dst, id[16:20]...), '-')
	dst = append(dst, id[20:]...)
	dst = append(dst, `\", \"publisher_id\": \"`+publisher+`\", \"event_type\": \"`+eventType+`\", \"priority\": \"INFO\", \"payload\": `...)
	dst = append(dst, t.payload...)
	dst = append(dst, `, \"timestamp\": \"`...)
	dst = time.Now().UTC().AppendFormat(dst, "2006-01-02 15:04:05.000000")
	dst = append(dst, `\", \"_unique_id\": \"`...)
	dst = append(dst, rawID()...)
	return append(dst, `\"}"}`...)
}
