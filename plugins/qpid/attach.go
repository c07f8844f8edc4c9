// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"
	"time"

	amqp "github.com/Azure/go-amqp"
	"github.com/google/uuid"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/qpid/internal/address"
)

const (
	// senderTimeout bounds the wait for the peer's answer to an attach.
	senderTimeout = 10 * time.Second
	// firstBackoff is the wait before a lost or refused link is made anew, if the last one was of
	// no use. It doubles up to link_retry_delay: upstream always waits for that long.
	firstBackoff = 50 * time.Millisecond
	// fallbackRetryDelay stands for a link_retry_delay that is not set.
	fallbackRetryDelay = 10 * time.Second
)

// open sees to it that the lane has a link. It reports whether it has one.
func (l *lane) open(ctx context.Context) bool {
	if l.link.usable() {
		return true
	}
	l.retire()
	ctx, done := l.interruptible(ctx, true)
	defer done()
	s, cause := l.p.link.Await(ctx, false)
	if s == nil {
		if ctx.Err() == nil {
			l.failQueue(cause) // permanent (SEND-4)
		}
		return false
	}
	if !l.pause(ctx, s) {
		return false
	}
	if l.key == relayKey() && !l.spread(s) {
		return false
	}
	to, node, err := l.address(ctx, s)
	if err == nil {
		var capabilities []string
		if node != 0 {
			capabilities = s.addr.Capabilities(node)
		}
		l.link, err = l.attach(ctx, s, to, capabilities)
	}
	if err != nil {
		l.refuse(ctx, s, err)
		return false
	}
	k := l.link
	l.refused = 0
	l.p.mu.Lock()
	l.links = append(l.links, k)
	l.trouble = nil
	l.p.mu.Unlock()
	if !l.key.settled {
		l.p.wg.Go(k.receive)
	}
	return true
}

// pause waits before a link is made anew. It returns false when there is no use in going on.
func (l *lane) pause(ctx context.Context, s *session) bool {
	if l.backoff == 0 {
		return true
	}
	timer := time.NewTimer(l.backoff)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.done:
		l.backoff = 0
		return false
	case <-ctx.Done():
		return false
	}
}

// growing is the wait after one of d.
func (s *settings) growing(d time.Duration) time.Duration {
	limit := s.linkRetryDelay
	if limit <= 0 {
		limit = fallbackRetryDelay
	}
	if d <= 0 {
		return min(firstBackoff, limit)
	}
	return min(2*d, limit)
}

// address is where the lane's link goes: "" for the anonymous relay, which is no node.
func (l *lane) address(ctx context.Context, s *session) (string, address.Node, *driver.Error) {
	if l.key.purpose == answers {
		if l.key.to == "" {
			return "", 0, nil
		}
		to, _, err := l.p.book.address(ctx, s, l.key.to)
		return to, address.Reply, err
	}
	m := l.key.sample()
	node := address.NodeOf(m)
	return s.addr.Message(m), node, s.cannot(node)
}

// attach makes a link on s.
func (l *lane) attach(ctx context.Context, s *session, to string, capabilities []string) (*sendLink, *driver.Error) {
	ctx, cancel := context.WithTimeout(ctx, senderTimeout)
	defer cancel()
	label := to
	if to == "" {
		label = "the anonymous relay"
	}
	what := "open a sender link to " + label
	lease, err := s.lease(ctx, forSender)
	if err != nil {
		return nil, linkError(what, err)
	}
	k := &sendLink{l: l, s: s, lease: lease, address: to, label: label, window: window, changed: make(chan struct{}, 1)}
	if to == "" && s.fragileRelay() {
		k.window = 1
	}
	k.snd, err = lease.NewSender(ctx, to, &amqp.SenderOptions{
		Name:                   "openstack.org/om/sender/[" + to + "]/" + strings.ReplaceAll(uuid.NewString(), "-", ""),
		SourceAddress:          to,
		TargetCapabilities:     capabilities,
		OnDeliveryStateChanged: func(amqp.DeliveryState) { k.told.Add(1) },
	})
	if err != nil {
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), byeTimeout)
		defer cancel()
		lease.release(bye, err)
		return nil, s.attachError(what, to, err)
	}
	return k, nil
}

// refuse judges why there is no link. What waiting does not heal fails what waits in the lane.
func (l *lane) refuse(ctx context.Context, s *session, err *driver.Error) {
	if ctx.Err() != nil {
		return // it was interrupted: nothing is known
	}
	l.backoff = l.p.set.growing(l.backoff)
	if l.settleRefusal(err) {
		l.p.set.log.Debug("a sender link was refused", "host", s.host, "err", err.Error())
		l.failQueue(err)
		return
	}
	l.p.set.log.Warn("a sender link cannot be opened, trying again", "host", s.host, "after", l.backoff, "err", err.Error())
	l.p.mu.Lock()
	l.trouble = err
	l.p.mu.Unlock()
}

// settleRefusal reports whether a refusal is the end of the messages that wait. That of a link for
// answers is tried once more, or as often as default_reply_retry says: the client's link may just be
// made anew.
func (l *lane) settleRefusal(err *driver.Error) bool {
	if !isFinal(err.Reason) {
		return false
	}
	if l.key.purpose != answers {
		return true
	}
	retries := l.p.set.replyRetry
	l.refused++
	return retries >= 0 && l.refused > max(1, retries)
}

// spread gives the messages that need no relay to lanes of their own. It reports whether any is left.
func (l *lane) spread(s *session) bool {
	if s.relay && !s.fragileRelay() {
		return true
	}
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	l.queue.Keep(func(o *outgoing) bool {
		key := l.p.answerKeyLocked(o.m, s)
		if key == l.key {
			return true
		}
		other := l.p.laneLocked(key)
		other.queue.PushBack(o)
		other.used = time.Now()
		signal(other.wake)
		return false
	})
	return l.queue.Len() > 0
}
