// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// listener implements driver.Listener. All its fields but conn and src are guarded by
// vhost.mu.
type listener struct {
	conn *conn
	src  driver.Source

	address *replyAddress      // see NewDynamic; nil for any other
	lost    []*driver.Delivery // that Poll has to report
	queues  []*queue
	next    int               // index of the queue whose turn it is
	poll    *poll             // the Poll that waits; nil when none does
	held    map[uint64]*taken // returned by Poll and not settled, by token
	token   uint64            // the last token given
	stopped bool
	closed  bool
}

// poll is one call of Poll.
type poll struct {
	max   int
	got   []*taken
	ready chan struct{} // closed with the first entry, and when the listener closes
	awake bool          // ready is closed
}

func (p *poll) wake() {
	if !p.awake {
		p.awake = true
		close(p.ready)
	}
}

// taken is an entry that left its queue, and the way back.
type taken struct {
	token uint64
	entry *entry
	queue *queue
}

var (
	_ driver.Listener = (*listener)(nil)
	_ driver.Stopper  = (*listener)(nil)
)

func newListener(c *conn, src driver.Source) *listener {
	src.Notifications = slices.Clone(src.Notifications)
	return &listener{conn: c, src: src, held: make(map[uint64]*taken)}
}

// add lets l take from q. A source may name a queue twice.
func (l *listener) add(q *queue) {
	if !slices.Contains(l.queues, q) {
		l.queues = append(l.queues, q)
		q.attach(l)
	}
}

// Poll implements driver.Listener.
func (l *listener) Poll(ctx context.Context, max int) ([]*driver.Delivery, error) {
	if max < 1 {
		return nil, driver.Errorf(driver.ReasonUnsupported, "poll for %d messages: want at least 1", max)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p, err := l.startPoll(max)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.ready:
	case <-ctx.Done():
	}
	return l.endPoll(ctx, p)
}

// startPoll takes what is there; whoever sends next gives the rest straight to the poll.
func (l *listener) startPoll(max int) (*poll, error) {
	l.conn.vhost.mu.Lock()
	defer l.conn.vhost.mu.Unlock()
	if l.stopped && len(l.lost) == 0 {
		return nil, errListenerClosed()
	}
	if l.poll != nil {
		// Going on would lose what the other one was given.
		return nil, driver.Errorf(driver.ReasonUnsupported, "poll: another Poll of this listener waits").
			WithHint("poll from one goroutine at a time (POLL-4)")
	}
	p := &poll{max: max, ready: make(chan struct{})}
	l.poll = p
	if len(l.lost) > 0 {
		p.wake()
	}
	l.collect(time.Now())
	return p, nil
}

// collect fills the poll from the queues, one message of each in turn.
func (l *listener) collect(now time.Time) {
	for empty := 0; empty < len(l.queues) && l.wants(); {
		q := l.queues[l.next%len(l.queues)]
		l.next = (l.next + 1) % len(l.queues)
		if e := q.pop(now); e != nil {
			l.give(q, e)
			empty = 0
		} else {
			empty++
		}
	}
	l.conn.vhost.madeRoom()
}

// wants reports whether a Poll waits that has not all it asked for (POLL-1).
func (l *listener) wants() bool {
	return l.poll != nil && !l.stopped && len(l.poll.got) < l.poll.max
}

// give adds an entry to the poll that waits and wakes it.
func (l *listener) give(q *queue, e *entry) {
	p := l.poll
	p.got = append(p.got, &taken{entry: e, queue: q})
	p.wake()
}

// endPoll turns what the poll got into deliveries. What arrived together with the end of ctx
// is returned all the same, so that nothing is lost (POLL-3).
func (l *listener) endPoll(ctx context.Context, p *poll) ([]*driver.Delivery, error) {
	l.conn.vhost.mu.Lock()
	defer l.conn.vhost.mu.Unlock()
	if l.closed {
		return nil, errListenerClosed()
	}
	l.poll = nil
	switch {
	case len(p.got) > 0:
		return l.deliver(p.got), nil
	case len(l.lost) > 0:
		n := min(p.max, len(l.lost))
		lost := l.lost[:n:n]
		l.lost = l.lost[n:]
		return lost, nil
	case l.stopped:
		return nil, errListenerClosed()
	default:
		return nil, ctx.Err()
	}
}

func (l *listener) deliver(got []*taken) []*driver.Delivery {
	now := time.Now()
	deliveries := make([]*driver.Delivery, len(got))
	for i, t := range got {
		if l.src.Settle == driver.SettleOnDone {
			l.token++
			t.token = l.token
			l.held[t.token] = t
		}
		deliveries[i] = t.entry.delivery(t.token, now)
	}
	if l.address != nil {
		l.address.noteAnswered(deliveries)
	}
	return deliveries
}

// Done implements driver.Listener. Tokens it does not know are settled already (DONE-2).
func (l *listener) Done(_ context.Context, outcomes []driver.Outcome) error {
	l.conn.vhost.mu.Lock()
	defer l.conn.vhost.mu.Unlock()
	var back []*taken
	for _, o := range outcomes {
		t, ok := l.held[o.Token]
		if !ok {
			continue
		}
		delete(l.held, o.Token)
		if o.Result == driver.Requeued {
			back = append(back, t)
		}
	}
	l.giveBack(back)
	return nil
}

// Stop implements driver.Stopper. l stays attached to its queues until Close, so that what is
// not settled has a queue to go back to; it is only given nothing more.
func (l *listener) Stop(ctx context.Context) error {
	if l.address != nil {
		l.address.awaitAnswers(ctx)
	}
	l.conn.vhost.mu.Lock()
	defer l.conn.vhost.mu.Unlock()
	l.stop()
	return nil
}

// stop wakes a Poll that waits and was given nothing. One that was given something is awake
// and returns that. vhost.mu must be held.
func (l *listener) stop() {
	l.stopped = true
	if l.poll != nil && len(l.poll.got) == 0 && len(l.lost) == 0 {
		l.poll.wake()
		l.poll = nil
	}
}

// Close implements driver.Listener.
func (l *listener) Close(context.Context) error {
	l.conn.vhost.mu.Lock()
	defer l.conn.vhost.mu.Unlock()
	l.close()
	return nil
}

// close stops receiving and hands back what Poll did not return and what was not settled
// (CLOSE-4). vhost.mu must be held.
func (l *listener) close() {
	if l.closed {
		return
	}
	l.stop()
	l.closed = true
	if l.src.AtMostOnce {
		clear(l.held) // it may have been run, and there is nobody who would know it (RECEIPT-2)
	}
	back := l.takeBack()
	now := time.Now()
	for _, q := range l.queues {
		q.detach(l, now)
	}
	l.giveBack(back)
	if l.src.Kind == driver.SourceServer {
		l.conn.vhost.dropFanoutCopy(fanoutOf(l.src.Target), l)
	}
	if l.address != nil {
		l.address.leave(l)
	}
	delete(l.conn.listeners, l)
	l.conn.vhost.madeRoom()
}

// takeBack returns all that l has of its queues, in the order it was taken.
func (l *listener) takeBack() []*taken {
	back := make([]*taken, 0, len(l.held))
	for _, t := range l.held {
		back = append(back, t)
	}
	slices.SortFunc(back, func(a, b *taken) int { return cmp.Compare(a.token, b.token) })
	clear(l.held)
	if l.poll != nil {
		back = append(back, l.poll.got...)
		l.poll = nil
	}
	return back
}

// giveBack puts entries back where they came from, so that each queue has its old order
// again, and then lets the queues find new takers.
func (l *listener) giveBack(back []*taken) {
	for _, t := range slices.Backward(back) {
		// Without a token Poll never returned it.
		t.entry.redelivered = t.entry.redelivered || t.token != 0
		t.queue.unpop(t.entry)
	}
	if len(back) > 0 {
		for _, q := range l.queues {
			q.dispatch()
		}
	}
}

func errListenerClosed() error {
	return driver.Errorf(driver.ReasonClosed, "poll: the listener is closed")
}
