// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/Azure/go-amqp"
	"github.com/google/uuid"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/outbound"
	"github.com/parleymq/parley/plugins/internal/uplink"
)

const (
	// detachTimeout bounds the good-bye of a link when the caller sets no bound.
	detachTimeout = 5 * time.Second
	// drainTimeout bounds the wait for a peer that takes its credit back. Not all do; what comes
	// later is released.
	drainTimeout = 3 * time.Second
	// firstTryTimeout is how long the links of a listener wait for the one before them, so that they
	// are attached in upstream's order unless the peer is slow.
	firstTryTimeout = 2 * time.Second
)

// listener receives from one Source: by a link for each of its addresses, which are made again after
// each loss (LISTEN-6), together with the session or each alone. What they receive is in ready
// until Poll takes it.
type listener struct {
	owner *listeners
	set   *settings
	link  *link
	src   driver.Source
	spare string        // a reply address of our own, for peers without dynamic nodes
	ended chan struct{} // closed with the last goroutine

	cancel context.CancelFunc // ends the goroutines
	rest   context.CancelFunc // ends taking

	opened chan *driver.Error // of capacity one: the result of the first attaching of all links
	wake   chan struct{}      // of capacity one: Poll has something to look at
	wanted atomic.Int64       // the largest max of Poll, zero before the first (POLL-1)
	finish atomic.Bool        // a SourceReplies takes the last answers (LOST-3)

	batch *batch // what is being accepted for Poll, or nil; Poll's

	mu      sync.Mutex
	cause   *driver.Error            // why the last link could not be attached; guarded by mu
	links   map[*attachment]struct{} // guarded by mu
	ready   outbound.Deque[*held]    // received, and not begun to be settled; guarded by mu
	acked   outbound.Deque[*held]    // accepted, and not returned by Poll yet; guarded by mu
	demand  int                      // how many more Poll waits for now; guarded by mu
	coming  int                      // being accepted by links, and not in acked yet; guarded by mu
	tokens  map[uint64]*held         // those to be settled by Done; guarded by mu
	last    uint64                   // the last token; guarded by mu
	told    bool                     // opened has its value; guarded by mu
	stopped bool                     // no link is attached any more (STOP-1); guarded by mu
	drained bool                     // nothing is put into ready any more; guarded by mu
	closed  bool                     // guarded by mu
	closeBy time.Time                // guarded by mu
}

var (
	_ driver.Listener = (*listener)(nil)
	_ driver.Stopper  = (*listener)(nil)
)

// held is a message that was received.
type held struct {
	d       *driver.Delivery
	from    *attachment   // nil for what no link brought: nothing is to be settled
	msg     *amqp.Message // to be settled; without its payload
	arrived time.Time
	mark    uint64 // of what cannot be decoded, for the memory of rejected messages
	// returned by Poll before it is settled: it is no longer what the peer was asked for ahead. It is
	// set once, before Done can know the token.
	returned bool
}

// newListener starts the goroutines, which end with Close. owner.mu is held.
func newListener(owner *listeners, src driver.Source) *listener {
	l := &listener{
		owner: owner, set: owner.set, link: owner.link, src: src,
		spare:  "openstack.org.om.reply." + uuid.NewString(),
		ended:  make(chan struct{}),
		opened: make(chan *driver.Error, 1), wake: make(chan struct{}, 1),
		links: make(map[*attachment]struct{}), tokens: make(map[uint64]*held),
	}
	running, cancel := context.WithCancel(context.Background())
	taking, rest := context.WithCancel(running)
	l.cancel, l.rest = cancel, rest
	if l.replies() {
		owner.book.listen(src.ReplyName, l.lose)
	}
	go l.run(running, taking)
	return l
}

func (l *listener) replies() bool { return l.src.Kind == driver.SourceReplies }

// awaitOpen waits until all links are attached (LISTEN-1).
func (l *listener) awaitOpen(ctx context.Context) error {
	for {
		_, trouble, changed := l.link.Trouble()
		if uplink.Permanent(trouble) {
			return trouble
		}
		select {
		case err := <-l.opened:
			if err != nil {
				return err
			}
			return nil
		case <-l.ended:
			return uplink.Closed("connection")
		case <-changed:
		case <-ctx.Done():
			return l.notOpened(trouble)
		}
	}
}

// notOpened is why the links were not attached in time.
func (l *listener) notOpened(trouble *driver.Error) *driver.Error {
	if trouble != nil {
		return trouble
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil {
		return l.cause
	}
	return driver.Errorf(driver.ReasonNotConnected, "the peer did not attach the links to receive by in time")
}

// run receives by each session, one after the other, until ctx ends. taking, which ends before, is
// how long messages are wanted.
func (l *listener) run(ctx, taking context.Context) {
	defer close(l.ended)
	for {
		s, _ := l.link.Await(ctx, true)
		if s == nil || ctx.Err() != nil { // a connection is not waited for, whatever ctx is
			return
		}
		l.serve(ctx, taking, s)
	}
}

// serve keeps a link to each address until ctx or the session ends.
func (l *listener) serve(ctx, taking context.Context, s *session) {
	ends := l.endpoints(s)
	life := &sitting{l: l, s: s, missing: len(ends)}
	if len(ends) == 0 { // a listener to no notifications
		life.l.tellOpened(nil)
		select {
		case <-s.done:
		case <-ctx.Done():
		}
		return
	}
	var all sync.WaitGroup
	for _, e := range ends {
		r := &receiver{sitting: life, end: e, tried: make(chan struct{})}
		all.Go(func() { r.run(ctx, taking) })
		order := time.NewTimer(firstTryTimeout)
		select {
		case <-r.tried:
		case <-order.C:
		case <-ctx.Done():
		}
		order.Stop()
	}
	all.Wait()
}

// sitting is what a listener does with one session.
type sitting struct {
	l *listener
	s *session

	mu      sync.Mutex
	missing int // links that were never attached; guarded by mu
}

// attached counts the first attaching of a link.
func (t *sitting) attached() {
	t.mu.Lock()
	t.missing--
	all := t.missing == 0
	t.mu.Unlock()
	if all {
		t.l.tellOpened(nil)
	}
}

// tellOpened says what became of Listen, once.
func (l *listener) tellOpened(err *driver.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.told {
		l.told = true
		l.opened <- err
	}
}

// refused notes why a link could not be attached, and reports whether that is new. What waiting does
// not heal is the error of Listen; once that has succeeded, nothing ends a listener but its Close.
func (l *listener) refused(err *driver.Error) bool {
	l.mu.Lock()
	fresh := l.cause == nil || l.cause.Message != err.Message
	l.cause = err
	l.mu.Unlock()
	if isFinal(err.Reason) {
		l.tellOpened(err)
	}
	return fresh
}

// enter adds a link, unless the listener has stopped.
func (l *listener) enter(a *attachment) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped || l.closed {
		return false
	}
	l.links[a] = struct{}{}
	l.cause = nil
	return true
}

// leave forgets a link that was lost and what came by it: the peer gives that again, and what Done
// says of it means nothing any more (DONE-2). Two kinds stay: answers, which nobody gives again, and
// what Poll has to accept before it returns it, which fails unless the message was settled by its
// sender.
func (l *listener) leave(a *attachment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.links, a)
	for token, h := range l.tokens {
		if h.from == a {
			delete(l.tokens, token)
		}
	}
	if l.src.Settle == driver.SettleOnDone && !l.replies() {
		l.ready.Keep(func(h *held) bool { return h.from != a })
	}
}

// add takes what a link received. It reports whether Poll waits for it, so that the link has to
// accept it, and whether it is wanted at all.
func (l *listener) add(h *held) (accept, wanted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.drained || l.closed {
		return false, false
	}
	if l.src.Settle == driver.SettleOnPoll && l.demand > 0 && l.ready.Len() == 0 {
		l.demand--
		l.coming++
		return true, true
	}
	if l.src.Settle == driver.SettleOnDone && h.from != nil {
		l.last++
		h.d.Token = l.last
		l.tokens[h.d.Token] = h
	}
	l.ready.PushBack(h)
	signal(l.wake)
	return false, true
}

// addAcked takes what a link accepted for the Poll that waits, or nil: it could not be accepted, and
// comes again.
func (l *listener) addAcked(h *held) {
	l.mu.Lock()
	l.coming--
	if h != nil {
		l.acked.PushBack(h)
	}
	l.mu.Unlock()
	signal(l.wake)
}

// Poll implements driver.Listener.
func (l *listener) Poll(ctx context.Context, max int) ([]*driver.Delivery, error) {
	if max <= 0 {
		return nil, driver.Errorf(driver.ReasonDriverBug, "Poll was asked for %d messages", max)
	}
	l.want(max)
	defer l.demandNothing()
	for {
		if !l.accepted(ctx) {
			return nil, ctx.Err()
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		hs, over := l.take(max)
		switch {
		case len(hs) > 0:
			return l.give(hs), nil
		case l.batch != nil: // what was ready is being accepted
			continue
		case over:
			return nil, uplink.Closed("listener")
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
		}
	}
}

// want raises what the peer is asked for ahead to what Poll can take.
func (l *listener) want(max int) {
	if int64(max) <= l.wanted.Load() {
		return
	}
	l.wanted.Store(int64(max))
	l.mu.Lock()
	defer l.mu.Unlock()
	for a := range l.links {
		a.credit.grow()
	}
}

func (l *listener) demandNothing() {
	l.mu.Lock()
	l.demand = 0
	l.mu.Unlock()
}

// accepted waits for the batch that is being accepted, if there is one, and puts what was accepted
// where Poll takes it from. What could not be accepted comes again, so that it must not be returned
// (POLL-5). It returns false when ctx ended first.
func (l *listener) accepted(ctx context.Context) bool {
	if l.batch == nil {
		return true
	}
	select {
	case <-l.batch.done:
	case <-ctx.Done():
		return false
	}
	good, err := l.batch.result()
	lost := len(l.batch.all) - len(good)
	l.batch = nil
	if lost > 0 {
		l.set.log.Debug("messages not taken: they could not be accepted", "count", lost, "err", foreign(err.Error()))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range good {
		l.acked.PushBack(h)
	}
	return true
}

// take returns up to max messages that Poll may return now, or that there will be none. With
// SettleOnPoll what is not accepted yet becomes the batch instead.
func (l *listener) take(max int) (_ []*held, over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, true
	}
	if l.src.Settle != driver.SettleOnPoll {
		hs := popUpTo(&l.ready, max)
		for _, h := range hs {
			h.returned = true
		}
		return hs, len(hs) == 0 && l.drained
	}
	if hs := popUpTo(&l.acked, max); len(hs) > 0 {
		return hs, false
	}
	l.demand = 0
	if l.coming >= max { // accepted for a Poll that returned before: no more than max may be (POLL-9)
		return nil, false
	}
	if hs := popUpTo(&l.ready, max-l.coming); len(hs) > 0 {
		l.batch = settleAll(hs, accept)
		return nil, false
	}
	l.demand = max - l.coming
	return nil, l.drained && l.coming == 0
}

func popUpTo(q *outbound.Deque[*held], n int) []*held {
	n = min(n, q.Len())
	if n == 0 {
		return nil
	}
	hs := make([]*held, n)
	for i := range hs {
		hs[i] = q.PopFront()
	}
	return hs
}

// give makes room for more of what Done settles, and takes off what the messages waited here (POLL-8).
func (l *listener) give(hs []*held) []*driver.Delivery {
	ds := make([]*driver.Delivery, len(hs))
	for i, h := range hs {
		ds[i] = h.d
		if h.d.TimeLeft != 0 {
			h.d.Waited(time.Since(h.arrived))
		}
		if h.returned && h.from != nil {
			h.from.credit.freed()
		}
	}
	return ds
}

// Done implements driver.Listener.
func (l *listener) Done(ctx context.Context, outcomes []driver.Outcome) error {
	var hs []*held
	var hows []verdict
	l.mu.Lock()
	for _, o := range outcomes {
		h, ok := l.tokens[o.Token]
		if !ok {
			continue // settled already, or its link is gone: the peer gives it again
		}
		delete(l.tokens, o.Token)
		if o.Result == driver.Requeued && h.from.own {
			l.again(h)
			continue
		}
		hs, hows = append(hs, h), append(hows, verdictOf(o.Result))
	}
	l.mu.Unlock()
	if len(hs) == 0 {
		return nil
	}
	b := newBatch(hs)
	for i, h := range hs {
		h.from.settle(h, hows[i], b)
	}
	select {
	case <-b.done: // errors are those of a link that is gone, and the messages come again
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// again gives a copy of the listener's own to Poll once more: there is nobody else to give it to, and
// a released copy is gone at Broker-J. l.mu is held.
func (l *listener) again(h *held) {
	l.last++
	d := *h.d
	d.Token, d.Redelivered = l.last, true
	once := *h
	once.d, once.arrived, once.returned = &d, time.Now(), false
	h.from.credit.hold()
	l.tokens[d.Token] = &once
	l.ready.PushBack(&once)
	signal(l.wake)
}

// Stop implements driver.Stopper.
func (l *listener) Stop(ctx context.Context) error {
	if l.replies() {
		l.lastAnswers(ctx)
	}
	l.mu.Lock()
	l.stopped = true
	links := make([]*attachment, 0, len(l.links))
	for a := range l.links {
		links = append(links, a)
	}
	l.mu.Unlock()
	l.rest()
	for _, a := range links {
		select {
		case <-a.drained:
		case <-ctx.Done(): // what comes from now on is released
		}
	}
	back := l.rested()
	if len(back) > 0 {
		select {
		case <-settleAll(back, release).done:
		case <-ctx.Done():
		}
	}
	return nil
}

// rested ends taking, and returns what goes back to the peer: others may want it while this listener
// is drained. What is accepted by Poll is Poll's; answers and
// copies of the listener's own are for nobody else.
func (l *listener) rested() (back []*held) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drained = true
	if l.src.Settle == driver.SettleOnDone && !l.replies() {
		l.ready.Keep(func(h *held) bool {
			if h.from.own {
				return true
			}
			delete(l.tokens, h.d.Token)
			back = append(back, h)
			return false
		})
	}
	signal(l.wake)
	return back
}

// Close implements driver.Listener.
func (l *listener) Close(ctx context.Context) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, detachTimeout)
		defer cancel()
		deadline, _ = ctx.Deadline()
	}
	l.mu.Lock()
	if !l.closed {
		l.closed, l.closeBy = true, deadline
	}
	l.mu.Unlock()
	l.cancel()
	signal(l.wake)
	select {
	case <-l.ended:
		if l.replies() {
			l.owner.book.forget(l.src.ReplyName)
		}
		l.owner.forget(l)
		return nil
	case <-ctx.Done():
		// The peer does not answer. The goroutines end with the connection, when the Conn is closed at
		// the latest, and the peer takes back what it gave.
		return driver.Errorf(driver.ReasonNotConnected, "the peer did not answer in time; its links end with the connection")
	}
}

// unsettled returns what came by a link and is not settled.
func (l *listener) unsettled(a *attachment) (hs []*held) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for token, h := range l.tokens {
		if h.from == a {
			hs = append(hs, h)
			delete(l.tokens, token)
		}
	}
	l.ready.Keep(func(h *held) bool {
		mine := h.from == a
		if mine && h.d.Token == 0 {
			hs = append(hs, h)
		}
		return !mine
	})
	return hs
}

// goodbye is the time that a link has to end in order.
func (l *listener) goodbye() (context.Context, context.CancelFunc) {
	l.mu.Lock()
	by := l.closeBy
	l.mu.Unlock()
	if by.IsZero() {
		by = time.Now().Add(detachTimeout)
	}
	return context.WithDeadline(context.Background(), by)
}

// signal wakes the one who waits, or the next who will.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
