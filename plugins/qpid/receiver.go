// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"math/rand/v2"
	"strings"
	"time"

	amqp "github.com/Azure/go-amqp"
	"github.com/google/uuid"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/qpid/internal/address"
	"github.com/parleymq/parley/plugins/qpid/internal/wire"
)

const (
	// attachTimeout bounds the wait for a peer to answer an attach.
	attachTimeout = 15 * time.Second
	// firstLinkRetry is the wait after the first loss of a link; it doubles up to link_retry_delay,
	// which is upstream's wait after each.
	firstLinkRetry = 50 * time.Millisecond
	// maxMessageSize is what a peer may send in one message, in bytes: above what brokers take, and
	// below what would end this process.
	maxMessageSize = 256 << 20
)

// endpoint is an address to receive from.
type endpoint struct {
	address string // "" for a reply address that the peer makes
	node    address.Node
}

// endpoints are the addresses of the source at the peer of s.
func (l *listener) endpoints(s *session) []endpoint {
	if l.replies() {
		return []endpoint{{node: address.Reply}}
	}
	nodes := []address.Node{address.Anycast}
	if l.src.Kind == driver.SourceServer {
		nodes = []address.Node{address.Unicast, address.Multicast, address.Anycast}
	}
	addresses := s.addr.Source(l.src)
	ends := make([]endpoint, len(addresses))
	for i, a := range addresses {
		ends[i] = endpoint{address: a, node: nodes[i%len(nodes)]}
	}
	return ends
}

// receiver keeps a link to one address during one session. The peer may refuse or detach it, or end
// its AMQP session, which does nothing to the other links.
type receiver struct {
	*sitting
	end   endpoint
	tried chan struct{} // closed after the first attempt

	attempted bool // run's
	succeeded bool // run's
	named     bool // the peer makes no reply address: take our own; run's
}

func (r *receiver) run(ctx, taking context.Context) {
	wait := firstLinkRetry
	for {
		started := time.Now()
		a, err := r.attach(ctx)
		if !r.attempted {
			r.attempted = true
			close(r.tried)
		}
		switch {
		case err != nil:
			r.notAttached(ctx, err)
		case a != nil:
			r.receive(ctx, taking, a)
			if time.Since(started) > r.l.set.linkRetryDelay {
				wait = firstLinkRetry
			}
		default: // the listener has stopped
			return
		}
		if !r.pause(ctx, wait) {
			return
		}
		wait = min(2*wait, max(r.l.set.linkRetryDelay, firstLinkRetry))
	}
}

// pause waits for about d. It returns false when ctx or the session ended.
func (r *receiver) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d/2 + rand.N(d/2+1)) //nolint:gosec // jitter
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil && !closed(r.s.done)
	case <-r.s.done:
		return false
	case <-ctx.Done():
		return false
	}
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func (r *receiver) notAttached(ctx context.Context, err *driver.Error) {
	if ctx.Err() != nil || closed(r.s.done) {
		return
	}
	if r.l.replies() {
		r.l.owner.book.refused(r.l.src.ReplyName, err)
	}
	if r.l.refused(err) {
		r.l.set.log.Warn("cannot receive", "source", r.l.src.Kind.String(), "host", r.s.host, "err", err.Error())
	}
}

// attach makes the link. It returns nil without an error when the listener has stopped.
func (r *receiver) attach(ctx context.Context) (*attachment, *driver.Error) {
	ctx, cancel := context.WithTimeout(ctx, attachTimeout)
	defer cancel()
	if r.end.node != address.Reply {
		return r.attachTo(ctx, r.end.address)
	}
	return r.attachReplies(ctx)
}

// attachReplies asks the peer for a reply address, and takes one of our own when it makes none.
// Upstream gives up then.
func (r *receiver) attachReplies(ctx context.Context) (*attachment, *driver.Error) {
	var first *driver.Error
	if !r.named {
		a, err := r.attachTo(ctx, "")
		if err == nil || !isRefusal(err) {
			return a, err
		}
		first = err
		r.l.set.log.Info("the peer makes no reply address; using one by name", "host", r.s.host, "address", r.l.spare, "err", err.Error())
	}
	a, err := r.attachTo(ctx, r.l.spare)
	if err != nil {
		if first != nil {
			err.Message = first.Message + "; and " + err.Message
		}
		return nil, err
	}
	r.named = true
	return a, nil
}

// refusedLate reports whether a link ended because the peer does not make such a node: some say so
// behind the attach.
func refusedLate(err error) bool {
	switch condition(err) {
	case amqp.ErrCondNotImplemented, amqp.ErrCondNotAllowed, amqp.ErrCondUnauthorizedAccess:
		return true
	default:
		return false
	}
}

// isRefusal reports whether the peer said no, rather than that something broke.
func isRefusal(err *driver.Error) bool {
	return err.Reason != driver.ReasonNotConnected && err.Reason != driver.ReasonCancelled
}

// attachTo makes a link to an address, or to one that the peer makes. Names and termini are upstream's
// (oslo_messaging/_drivers/amqp1_driver/controller.py).
func (r *receiver) attachTo(ctx context.Context, addr string) (*attachment, *driver.Error) {
	caps := r.s.addr.Capabilities(r.end.node)
	label, opts := addr, &amqp.ReceiverOptions{
		Credit:             -1, // by hand
		MaxMessageSize:     maxMessageSize,
		SettlementMode:     amqp.ReceiverSettleModeFirst.Ptr(),
		SourceCapabilities: caps,
		TargetAddress:      addr,
	}
	if r.end.node == address.Reply {
		label, opts.TargetAddress = "rpc-response", "rpc-response"
		opts.DynamicAddress = addr == ""
	}
	opts.Name = "openstack.org/om/receiver/[" + label + "]/" + strings.ReplaceAll(uuid.NewString(), "-", "")
	what := "attach a receiver to " + foreign(addr)
	if opts.DynamicAddress {
		what = "attach a receiver to a reply address of the peer's making"
	}
	leased, err := r.s.lease(ctx, forReceiver)
	if err != nil {
		return nil, linkError(what, err)
	}
	rx, err := leased.NewReceiver(ctx, addr, opts)
	if err != nil {
		ctx, cancel := r.l.goodbye()
		defer cancel()
		leased.release(ctx, err)
		return nil, r.s.attachError(what, addr, err)
	}
	a := newAttachment(r, leased, rx)
	if a.address == "" {
		a.end(nil)
		return nil, driver.Errorf(driver.ReasonUnsupported, "%s: the peer did not tell the address", what)
	}
	return a, nil
}

// receive takes messages until the link or ctx ends. It returns after the link is gone.
func (r *receiver) receive(ctx, taking context.Context, a *attachment) {
	if !r.l.enter(a) {
		a.end(nil)
		return
	}
	if r.l.replies() {
		r.l.owner.book.attached(r.l.src.ReplyName, r.s, a.address)
	}
	if !r.succeeded {
		r.succeeded = true
		r.attached()
	}
	a.credit.grow()
	err := a.take(ctx, taking)
	a.credit.halt()
	if ctx.Err() == nil && !closed(r.s.done) {
		r.l.set.log.Warn("a link to receive by was lost; attaching it again",
			"source", r.l.src.Kind.String(), "host", r.s.host, "address", foreign(a.address), "err", linkError("receive", err).Error())
	}
	if ctx.Err() != nil {
		err = nil
		r.l.giveBack(a)
	} else if r.l.replies() && refusedLate(err) {
		r.named = true
	}
	a.end(err)
	r.l.leave(a)
	if r.l.replies() {
		r.l.lose(r.l.owner.book.ended(r.l.src.ReplyName, r.s, a.address))
	}
}

// giveBack releases what came by a link and is not settled (CLOSE-4).
func (l *listener) giveBack(a *attachment) {
	hs := l.unsettled(a)
	if len(hs) == 0 {
		return
	}
	ctx, cancel := l.goodbye()
	defer cancel()
	select {
	case <-settleAll(hs, release).done:
	case <-ctx.Done():
	}
}

// attachment is one link, from its attach to its end.
type attachment struct {
	l       *listener
	s       *session
	lease   *lease
	rx      *amqp.Receiver
	address string
	own     bool // it brings copies of the listener's own, which nobody else wants
	credit  *credit
	settler *settler
	drained chan struct{} // closed when nothing comes any more, or what comes is not wanted
}

// newAttachment starts its settler, which end ends.
func newAttachment(r *receiver, leased *lease, rx *amqp.Receiver) *attachment {
	a := &attachment{
		l: r.l, s: r.s, lease: leased, rx: rx, address: rx.Address(), own: r.end.node == address.Multicast,
		credit:  &credit{limit: r.l.limit, issue: rx.IssueCredit},
		settler: newSettler(), drained: make(chan struct{}),
	}
	go a.settler.run(a)
	return a
}

// limit is what may be on its way on one link and not be settled (POLL-1), bounded by upstream's
// options for it.
func (l *listener) limit() int {
	wanted := int(l.wanted.Load())
	switch l.src.Kind {
	case driver.SourceReplies:
		most := min(wanted, max(l.set.replyCredit, 1))
		if l.finish.Load() { // the core may not be polling, and all that is under way must come
			most = max(most, l.owner.book.outstanding(l.src.ReplyName))
		}
		return most
	case driver.SourceNotifications:
		return min(wanted, max(l.set.notifyCredit, 1))
	default:
		return min(wanted, max(l.set.rpcCredit, 1))
	}
}

// take receives until the link or ctx ends. At the end of taking it gives its credit back, and
// releases what comes all the same.
func (a *attachment) take(ctx, taking context.Context) error {
	defer func() {
		if !closed(a.drained) {
			close(a.drained)
		}
	}()
	for {
		m, err := a.rx.Receive(taking, nil)
		switch {
		case err == nil:
			a.received(m)
		case taking.Err() == nil || closed(a.drained):
			return err
		default:
			a.drain()
			close(a.drained)
			taking = ctx
		}
	}
}

// drain takes the peer's credit back, and what it sent until it knew. What is on its way when a link is
// detached counts as delivered in vain at Broker-J, and its limit of attempts could swallow it.
func (a *attachment) drain() {
	a.credit.halt()
	ctx, cancel := a.l.goodbye()
	defer cancel()
	ctx, stop := context.WithTimeout(ctx, drainTimeout)
	defer stop()
	if err := a.rx.DrainCredit(ctx, nil); err != nil {
		a.l.set.log.Debug("the peer did not give the credit back", "address", foreign(a.address), "err", foreign(err.Error()))
	}
	for {
		m := a.rx.Prefetched()
		if m == nil {
			return
		}
		a.received(m)
	}
}

// received decodes a message and hands it to the listener. One that cannot be decoded is rejected, and
// logged once, without its payload (POLL-6).
func (a *attachment) received(m *amqp.Message) {
	a.credit.came()
	h := &held{d: &driver.Delivery{}, from: a, msg: m, arrived: time.Now()}
	rejected := a.l.owner.rejected
	if err := wire.Decode(h.d, m, a.l.src.Kind); err != nil {
		h.mark = rejected.markOfRaw(a.address, m)
		if rejected.first(h.mark) {
			a.l.set.log.Error("message rejected: it cannot be decoded", "address", foreign(a.address), "err", foreign(err.Error()))
		}
		a.settle(h, refuse, nil)
		return
	}
	if rejected.seen(a.address, h.d) { // the broker gives it again, and nobody wants it (DONE-1)
		a.settle(h, reject, nil)
		return
	}
	m.Data, m.Value, m.Sequence, m.ApplicationProperties = nil, nil, nil, nil // they are in h.d
	if a.l.replies() && h.d.Kind == driver.Reply {
		a.l.owner.book.answered(h.d.CallID)
	}
	acceptNow, wanted := a.l.add(h)
	switch {
	case !wanted:
		a.settle(h, release, nil)
	case acceptNow:
		if err := a.perform(h, accept); err != nil {
			a.l.set.log.Debug("message not taken: it could not be accepted", "err", foreign(err.Error()))
			h = nil
		}
		a.l.addAcked(h)
	}
}

// end closes the link and gives its session back; why is what it ended with, nil when that is our
// doing.
func (a *attachment) end(why error) {
	ctx, cancel := a.l.goodbye()
	defer cancel()
	a.settler.close()
	select {
	case <-a.settler.ended:
	case <-ctx.Done():
	}
	if err := a.rx.Close(ctx); err != nil && why == nil {
		why = err // the peer is silent, or closed it: then the session ends it
	}
	a.lease.release(ctx, why)
	<-a.settler.ended
}
