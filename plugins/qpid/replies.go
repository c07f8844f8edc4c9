// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/outbound"
)

const (
	// maxOpenCalls bounds the memory of calls that are not answered, for each Conn. A call beyond it
	// is not reported lost; its time ends it.
	maxOpenCalls = 1 << 17
	// forgetAfter is when a call is forgotten whose sender did not say how long it waits.
	forgetAfter = 24 * time.Hour
	// forgetGrace is how long after its time a call counts as wanted: the clocks of its sender and of
	// this process do not start together.
	forgetGrace = time.Second
	// sweepAtLeast is how many calls there are at least before those that are over are looked for.
	sweepAtLeast = 1024
)

// replyBook knows the addresses that the reply names of a Conn stand for, and the calls that were sent
// with them and are not answered. Senders ask it, and the listeners to replies fill it.
type replyBook struct {
	mu      sync.Mutex
	names   map[string]*replyName // guarded by mu
	calls   map[string]openCall   // by call id; guarded by mu
	ending  func()                // called when an address has ended; set before the book is used, or nil
	sweepAt int                   // how many calls there are before the next sweep; guarded by mu
}

// replyName is what is known of one name. It is guarded by the book's mu.
type replyName struct {
	listeners int            // zero when it was listened to and is not any more
	links     []replyLink    // the last is used
	cause     *driver.Error  // why there is no link, or nil
	changed   chan struct{}  // closed and replaced when links, cause or listeners change
	answers   chan struct{}  // closed and replaced when a call is answered, nil while nobody waits for that
	lose      func([]string) // reports calls lost to the listener (LOST-1); not called under the book's mu
	open      int            // calls
}

// replyLink is a link that replies come by.
type replyLink struct {
	s       *session
	address string
}

type openCall struct {
	name  string
	link  replyLink
	until time.Time
	held  bool // it has not left: it may wait for credit
	gone  bool // its address ended while it was held
}

func newReplyBook() *replyBook {
	return &replyBook{names: make(map[string]*replyName), calls: make(map[string]openCall), sweepAt: sweepAtLeast}
}

// address returns the address of the reply name's link in s, waiting for it until ctx or s ends.
// known is false for a name that nobody of this Conn listened to: it is an address as it came.
func (b *replyBook) address(ctx context.Context, s *session, name string) (addr string, known bool, _ *driver.Error) {
	for {
		b.mu.Lock()
		n := b.names[name]
		if n == nil {
			b.mu.Unlock()
			return name, false, nil
		}
		addr, ok := n.in(s)
		listeners, cause, changed := n.listeners, n.cause, n.changed
		b.mu.Unlock()
		switch {
		case ok:
			return addr, true, nil
		case listeners == 0:
			return "", true, driver.Errorf(driver.ReasonClosed, "nobody listens to the replies of %q any more", name)
		}
		select {
		case <-changed:
		case <-s.done:
			return "", true, driver.Errorf(driver.ReasonNotConnected, "the connection to %s was lost before it gave a reply address", s.host)
		case <-ctx.Done():
			return "", true, noReplyAddress(s, cause)
		}
	}
}

// noReplyAddress is why a call could not be sent for want of an address for its answer.
func noReplyAddress(s *session, cause *driver.Error) *driver.Error {
	if cause != nil {
		return driver.Errorf(cause.Reason, "there is no address for replies: %s", cause.Message).WithHint("%s", cause.Hint)
	}
	return driver.Errorf(driver.ReasonNotConnected, "%s has not given an address for replies yet", s.host)
}

// in returns the name's address in a session.
func (n *replyName) in(s *session) (string, bool) {
	for _, l := range slices.Backward(n.links) {
		if l.s == s {
			return l.address, true
		}
	}
	return "", false
}

// tell wakes those who wait for a change.
func (n *replyName) tell() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// writing notes that a Call is about to be handed to the broker with addr, which address gave for the
// name in s. It returns false when addr has ended meanwhile: the call must ask for the address again.
// Until left or doubted says that it has left it is not lost when the address ends, and the sender is
// woken to ask for another one (LOST-2). until is when nobody waits for the answer any longer; zero
// when that is not known. With a name that is not known a call may always be sent.
func (b *replyBook) writing(s *session, name, addr, callID string, until time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.names[name]
	if n == nil {
		return true
	}
	link := replyLink{s: s, address: addr}
	if !slices.Contains(n.links, link) {
		return false
	}
	if until.IsZero() {
		until = time.Now().Add(forgetAfter)
	}
	if len(b.calls) >= b.sweepAt {
		b.sweep(time.Now())
	}
	if len(b.calls) >= maxOpenCalls {
		return true
	}
	b.forgetCall(callID) // sent again
	b.calls[callID] = openCall{name: name, link: link, until: until.Add(forgetGrace), held: true}
	n.open++
	return true
}

// left notes that a Call which writing noted has left. It returns false when its address has ended
// before: then doubted is to follow.
func (b *replyBook) left(callID string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, ok := b.calls[callID]
	if !ok {
		return true // answered already, or not noted
	}
	if c.gone {
		return false
	}
	c.held = false
	b.calls[callID] = c
	return true
}

// doubted notes that the sender of a Call was told that it may have left. Its answer may come, so that
// it is reported lost when its address ends (LOST-1), or now, when that has ended while it was held.
func (b *replyBook) doubted(callID string) {
	b.mu.Lock()
	c, ok := b.calls[callID]
	if !ok {
		b.mu.Unlock()
		return
	}
	lose := b.names[c.name].lose
	if c.gone {
		b.forgetCall(callID)
	} else {
		c.held = false
		b.calls[callID] = c
	}
	b.mu.Unlock()
	if c.gone && lose != nil && time.Now().Before(c.until) {
		lose([]string{callID})
	}
}

// failed takes a call back that writing noted and that nobody waits for: it has not reached the
// broker, and its sender was told so or sends it again.
func (b *replyBook) failed(callID string) { b.answered(callID) }

// answered notes that the answer of a call has come.
func (b *replyBook) answered(callID string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forgetCall(callID)
}

// forgetCall forgets a call, if it is known. b.mu is held.
func (b *replyBook) forgetCall(callID string) {
	c, ok := b.calls[callID]
	if !ok {
		return
	}
	delete(b.calls, callID)
	n := b.names[c.name]
	n.open--
	if n.answers != nil {
		close(n.answers)
		n.answers = nil
	}
}

// sweep forgets the calls whose time is over. b.mu is held.
func (b *replyBook) sweep(now time.Time) {
	for id, c := range b.calls {
		if now.After(c.until) {
			b.forgetCall(id)
		}
	}
	b.sweepAt = max(sweepAtLeast, min(2*len(b.calls), maxOpenCalls))
}

// listen notes that somebody listens to the replies of a name, whose address is to come. lose, which may
// be nil, reports calls to him whose address has ended before it was known that they had left.
func (b *replyBook) listen(name string, lose func([]string)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.names[name]
	if n == nil {
		n = &replyName{changed: make(chan struct{})}
		b.names[name] = n
	}
	n.listeners++
	n.lose = lose
	n.tell()
}

// forget ends what listen began. The name stays known: it is no address.
func (b *replyBook) forget(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.names[name]
	n.listeners--
	n.tell()
}

// attached notes a link for the replies of a name.
func (b *replyBook) attached(name string, s *session, addr string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.names[name]
	n.links = append(n.links, replyLink{s: s, address: addr})
	n.cause = nil
	n.tell()
}

// refused notes why there is no link for the replies of a name.
func (b *replyBook) refused(name string, why *driver.Error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.names[name]
	n.cause = why
	n.tell()
}

// ended notes the end of a link, and returns the calls that its address was sent with and that are not
// answered: they are lost (LOST-1).
func (b *replyBook) ended(name string, s *session, addr string) []string {
	if b.ending != nil {
		defer b.ending() // when mu is given up
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	n, link := b.names[name], replyLink{s: s, address: addr}
	n.links = slices.DeleteFunc(n.links, func(l replyLink) bool { return l == link })
	n.tell()
	return b.takeCalls(link)
}

// giveUp returns the calls of a session's link that are not answered, once: no answer will be taken.
func (b *replyBook) giveUp(s *session, addr string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.takeCalls(replyLink{s: s, address: addr})
}

// takeCalls forgets the calls of a link. Those whose time is over are not told. b.mu is held.
func (b *replyBook) takeCalls(link replyLink) []string {
	var lost []string
	now := time.Now()
	for id, c := range b.calls {
		if c.link != link {
			continue
		}
		if c.held {
			c.gone, c.link = true, replyLink{}
			b.calls[id] = c
			continue
		}
		if now.Before(c.until) {
			lost = append(lost, id)
		}
		b.forgetCall(id)
	}
	return lost
}

// outstanding is how many calls of a name are not answered, as far as is known.
func (b *replyBook) outstanding(name string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := b.names[name]; n != nil {
		return n.open
	}
	return 0
}

// settled waits until all calls of a name are answered, or are over, or ctx ends (LOST-3).
func (b *replyBook) settled(ctx context.Context, name string) {
	for {
		next, answers := b.nextEnd(name, time.Now())
		if answers == nil {
			return
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-answers:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// nextEnd returns when the time of the first open call of a name is over, and a channel that is closed
// at the next answer, nil when no call is open.
func (b *replyBook) nextEnd(name string, now time.Time) (first time.Time, answers <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.names[name]
	if n == nil || n.open == 0 {
		return time.Time{}, nil
	}
	b.sweep(now)
	for _, c := range b.calls {
		if c.name == name && (first.IsZero() || c.until.Before(first)) {
			first = c.until
		}
	}
	if n.open == 0 {
		return time.Time{}, nil
	}
	if n.answers == nil {
		n.answers = make(chan struct{})
	}
	return first, n.answers
}

// lose reports calls that will not be answered because the reply address has ended (LOST-1).
func (l *listener) lose(calls []string) {
	for _, id := range calls {
		e := driver.Errorf(driver.ReasonNotConnected, "the address for the reply ended before the reply came").
			WithHint("the server may have run the call; call again if that does no harm")
		l.add(&held{
			d:       &driver.Delivery{Message: driver.Message{Kind: driver.Reply, CallID: id}, Lost: outbound.InDoubt(e)},
			arrived: time.Now(),
		})
	}
	if len(calls) > 0 {
		l.set.log.Warn("calls are in doubt: the address for their replies ended", "calls", len(calls))
	}
}

// lastAnswers waits for the answers of the calls under way, and gives the rest up at the end of ctx
// (LOST-3).
func (l *listener) lastAnswers(ctx context.Context) {
	l.finish.Store(true)
	l.mu.Lock()
	links := make([]*attachment, 0, len(l.links))
	for a := range l.links {
		links = append(links, a)
	}
	stopped := l.drained
	l.mu.Unlock()
	if stopped {
		return
	}
	for _, a := range links {
		a.credit.grow()
	}
	l.owner.book.settled(ctx, l.src.ReplyName)
	if ctx.Err() == nil {
		return
	}
	for _, a := range links {
		l.lose(l.owner.book.giveUp(a.s, a.address))
	}
}
