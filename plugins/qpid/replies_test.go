// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"testing"
	"time"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
)

// noteSent notes a call that left at once, and reports what writing does.
func noteSent(b *replyBook, s *session, name, addr, callID string, until time.Time) bool {
	return b.writing(s, name, addr, callID, until) && b.left(callID)
}

// replyAddress is what a name stands for now.
func replyAddress(t testing.TB, c *conn, name string) (*session, string) {
	t.Helper()
	s, err := c.link.Await(soon(t), false)
	if err != nil {
		t.Fatal(err)
	}
	addr, known, err := c.book.address(soon(t), s, name)
	if err != nil || !known {
		t.Fatalf("the address of %s: known %v, %v", name, known, err)
	}
	return s, addr
}

// called notes a call as a sender does.
func called(t testing.TB, c *conn, name, id string) string {
	t.Helper()
	s, addr := replyAddress(t, c, name)
	if !noteSent(c.book, s, name, addr, id, time.Now().Add(time.Hour)) {
		t.Fatal("the address ended meanwhile")
	}
	return addr
}

func TestReplies(t *testing.T) {
	addr := shared.usual.use(t)
	for name, f := range map[string]func(*testing.T, string){
		"several names":        severalNames,
		"detached":             detachedReplyLink,
		"late and twice":       lateAndTwice,
		"last answers":         lastAnswers,
		"last answers missing": lastAnswersMissing,
		"more than the credit": moreThanTheCredit,
		"by name":              repliesByName,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, addr)
		})
	}
}

func severalNames(t *testing.T, addr string) {
	p := newPlace(t, addr, nil)
	for _, name := range []string{"r1", "r2"} {
		l := listen(t, p.c, testkit.Replies(name))
		to := called(t, p.c, name, "call-"+name)
		s := p.peer.sender(to)
		beat := &amqp.Message{Properties: &amqp.MessageProperties{CorrelationID: "call-" + name}}
		for _, m := range []*amqp.Message{beat, rawReply("call-" + name)} {
			if err := s.Send(soon(t), m, nil); err != nil {
				t.Fatal(err)
			}
		}
		got := testkit.Poll(soon(t), t, l, 2, 10)
		if got[0].Kind != driver.Heartbeat || got[1].Kind != driver.Reply || got[1].CallID != "call-"+name || got[1].Lost != nil {
			t.Errorf("got %+v and %+v", got[0], got[1])
		}
		testkit.Settle(soon(t), t, l, driver.Accepted, got...)
		if n := p.c.book.outstanding(name); n != 0 {
			t.Errorf("%d calls are open after the answer", n)
		}
	}
}

// detachedReplyLink: the calls of that link are in doubt and nothing else (LOST-1, LOST-2).
func detachedReplyLink(t *testing.T, addr string) {
	p := newPlace(t, addr, nil)
	l, other := listen(t, p.c, testkit.Replies("r1")), listen(t, p.c, testkit.Replies("r2"))
	old := called(t, p.c, "r1", "lost")
	called(t, p.c, "r1", "answered")
	called(t, p.c, "r2", "of another name")
	if err := p.peer.sender(old).Send(soon(t), rawReply("answered"), nil); err != nil {
		t.Fatal(err)
	}
	if got := testkit.Poll(soon(t), t, l, 1, 10); got[0].CallID != "answered" {
		t.Fatalf("got %+v", got[0])
	}
	ll := l.(*listener)
	ll.mu.Lock()
	for a := range ll.links {
		go func() { _ = a.rx.Close(context.Background()) }() // as if the peer had
	}
	ll.mu.Unlock()
	got := testkit.Poll(soon(t), t, l, 1, 10)[0]
	if got.Kind != driver.Reply || got.CallID != "lost" || got.Token != 0 || got.Lost == nil || !got.Lost.InDoubt {
		t.Errorf("got %+v", got)
	}
	var fresh string
	eventually(t, "there is another address", func() bool {
		_, fresh = replyAddress(t, p.c, "r1")
		return fresh != old
	})
	s, _ := p.c.link.Await(soon(t), false)
	if noteSent(p.c.book, s, "r1", old, "x", time.Time{}) {
		t.Error("a call may still be sent with the address that ended")
	}
	called(t, p.c, "r1", "next")
	if err := p.peer.sender(fresh).Send(soon(t), rawReply("next"), nil); err != nil {
		t.Fatal(err)
	}
	if got := testkit.Poll(soon(t), t, l, 1, 10)[0]; got.CallID != "next" || got.Lost != nil {
		t.Errorf("got %+v", got)
	}
	testkit.Nothing(t, other)
}

// lateAndTwice: the core knows what it waits for; here nothing is kept of it.
func lateAndTwice(t *testing.T, addr string) {
	p := newPlace(t, addr, nil)
	l := listen(t, p.c, testkit.Replies("r1"))
	s := p.peer.sender(called(t, p.c, "r1", "a"))
	for _, id := range []string{"a", "a", "unknown"} {
		if err := s.Send(soon(t), rawReply(id), nil); err != nil {
			t.Fatal(err)
		}
	}
	got := testkit.Poll(soon(t), t, l, 3, 10)
	testkit.Settle(soon(t), t, l, driver.Accepted, got...)
	p.c.book.mu.Lock()
	defer p.c.book.mu.Unlock()
	if len(p.c.book.calls) != 0 {
		t.Errorf("calls are kept: %v", p.c.book.calls)
	}
}

// lastAnswers: Stop waits for them (LOST-3).
func lastAnswers(t *testing.T, addr string) {
	p := newPlace(t, addr, nil)
	l := listen(t, p.c, testkit.Replies("r1"))
	to := called(t, p.c, "r1", "a")
	stopped := make(chan error, 1)
	go func() { stopped <- l.(driver.Stopper).Stop(soon(t)) }()
	eventually(t, "Stop waits", func() bool {
		p.c.book.mu.Lock()
		defer p.c.book.mu.Unlock()
		return p.c.book.names["r1"].answers != nil
	})
	if err := p.peer.sender(to).Send(soon(t), rawReply("a"), nil); err != nil {
		t.Fatal(err)
	}
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if got := testkit.Poll(soon(t), t, l, 1, 10)[0]; got.CallID != "a" || got.Lost != nil {
		t.Errorf("got %+v", got)
	}
	if _, err := l.Poll(soon(t), 1); driver.ReasonOf(err) != driver.ReasonClosed {
		t.Errorf("Poll after the last answer: %v", err)
	}
}

func lastAnswersMissing(t *testing.T, addr string) {
	p := newPlace(t, addr, nil)
	l := listen(t, p.c, testkit.Replies("r1"))
	called(t, p.c, "r1", "a")
	if err := l.(driver.Stopper).Stop(testkit.Within(t, 100*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if got := testkit.Poll(soon(t), t, l, 1, 10)[0]; got.CallID != "a" || got.Lost == nil {
		t.Errorf("got %+v, want it to be lost", got)
	}
	if _, err := l.Poll(soon(t), 1); driver.ReasonOf(err) != driver.ReasonClosed {
		t.Errorf("Poll after the last: %v", err)
	}
}

// moreThanTheCredit: nobody polls while Stop waits, and the answers come all the same.
func moreThanTheCredit(t *testing.T, addr string) {
	p := newPlace(t, addr, map[string]string{optReplyCredit: "2"})
	l := listen(t, p.c, testkit.Replies("r1"))
	const calls = 20
	var to string
	for i := range calls {
		to = called(t, p.c, "r1", string(rune('a'+i)))
	}
	s := p.peer.sender(to)
	for i := range calls {
		if err := s.Send(soon(t), rawReply(string(rune('a'+i))), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.(driver.Stopper).Stop(soon(t)); err != nil {
		t.Fatal(err)
	}
	for _, d := range testkit.Poll(soon(t), t, l, calls, 100) {
		if d.Lost != nil {
			t.Errorf("call %s is lost", d.CallID)
		}
	}
}

// repliesByName is the way for peers that make no reply addresses.
func repliesByName(t *testing.T, addr string) {
	p := newPlace(t, addr, nil)
	l := listen(t, p.c, testkit.Replies("r1")).(*listener)
	s, err := p.c.link.Await(soon(t), false)
	if err != nil {
		t.Fatal(err)
	}
	l.spare = "unicast." + p.vhost + ".reply" // a name that this broker's policies let it make
	r := &receiver{sitting: &sitting{l: l, s: s}, named: true}
	a, err := r.attachReplies(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	if a.address != l.spare {
		t.Errorf("the address is %s", a.address)
	}
	a.end(nil)
	l.spare = "nobody.makes.this"
	if _, err := r.attachReplies(soon(t)); err == nil || err.Reason != driver.ReasonNoRoute {
		t.Errorf("neither: %v", err)
	}
}

func TestReplyBookForgets(t *testing.T) {
	b := newReplyBook()
	s := &session{host: "h", done: make(chan struct{})}
	if addr, known, err := b.address(t.Context(), s, "foreign"); addr != "foreign" || known || err != nil {
		t.Errorf("a name of nobody: %s %v %v", addr, known, err)
	}
	b.listen("r", nil)
	why := driver.Errorf(driver.ReasonUnsupported, "it cannot").WithHint("do this")
	b.refused("r", why)
	if _, known, err := b.address(testkit.Within(t, 10*time.Millisecond), s, "r"); !known || err == nil || err.Reason != driver.ReasonUnsupported || err.Hint != why.Hint {
		t.Errorf("a name without a link: %v %v", known, err)
	}
	b.attached("r", s, "a1")
	past := time.Now().Add(-time.Hour)
	for i := range 10 * sweepAtLeast {
		if !noteSent(b, s, "r", "a1", string(rune(i)), past) {
			t.Fatal("the address is there")
		}
	}
	if n := b.outstanding("r"); n > sweepAtLeast {
		t.Errorf("%d calls whose time is over are kept", n)
	}
	b.settled(soon(t), "r") // all are over
	if n := b.outstanding("r"); n != 0 {
		t.Errorf("%d calls are open", n)
	}
	noteSent(b, s, "r", "a1", "x", time.Time{})
	noteSent(b, s, "r", "a1", "y", time.Time{})
	noteSent(b, s, "r", "a1", "y", time.Time{}) // again
	b.failed("x")
	if lost := b.ended("r", s, "a1"); len(lost) != 1 || lost[0] != "y" {
		t.Errorf("lost %v, want y once", lost)
	}
	if lost := b.giveUp(s, "a1"); len(lost) != 0 {
		t.Errorf("lost twice: %v", lost)
	}
	close(s.done)
	if _, _, err := b.address(soon(t), s, "r"); err == nil || err.Reason != driver.ReasonNotConnected {
		t.Errorf("a session that is over: %v", err)
	}
	b.forget("r")
	if _, known, err := b.address(soon(t), s, "r"); !known || err == nil || err.Reason != driver.ReasonClosed {
		t.Errorf("a name nobody listens to any more: %v %v", known, err)
	}
}

// TestReplyBookDoubts is about calls of which it was not known that they had left when their address
// ended: those that may have are lost, once (LOST-1).
func TestReplyBookDoubts(t *testing.T) {
	b := newReplyBook()
	s := &session{host: "h", done: make(chan struct{})}
	var lost []string
	b.listen("r", func(calls []string) { lost = append(lost, calls...) })
	b.attached("r", s, "a1")
	for _, id := range []string{"before", "after", "unsent", "left"} {
		b.writing(s, "r", "a1", id, time.Time{})
	}
	b.doubted("before")
	if told := b.ended("r", s, "a1"); len(told) != 1 || told[0] != "before" {
		t.Errorf("the end tells %v, want the one that may have left", told)
	}
	b.doubted("before")
	b.doubted("after")
	b.doubted("after")
	b.failed("unsent")
	b.doubted("unsent")
	if b.left("left") {
		t.Error("a call left with an address that had ended")
	}
	b.doubted("left")
	if len(lost) != 2 || lost[0] != "after" || lost[1] != "left" {
		t.Errorf("lost afterwards: %v", lost)
	}
	if n := b.outstanding("r"); n != 0 {
		t.Errorf("%d calls are open", n)
	}
}

// TestBrokerKilledWhileCalling: the calls under way are in doubt, once, and the next go with the next
// address.
func TestBrokerKilledWhileCalling(t *testing.T) {
	t.Parallel()
	broker := peertest.RunBrokerJ(t, nil)
	p := newPlace(t, broker.Addr(), nil)
	l := listen(t, p.c, testkit.Replies("r1"))
	called(t, p.c, "r1", "a")
	called(t, p.c, "r1", "b")
	if err := broker.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, d := range testkit.Poll(soon(t), t, l, 2, 10) {
		if d.Lost == nil || !d.Lost.InDoubt || d.Kind != driver.Reply {
			t.Errorf("got %+v", d)
		}
	}
	if err := broker.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	to := called(t, p.c, "r1", "c")
	if err := newPeer(t, broker.Addr()).sender(to).Send(soon(t), rawReply("c"), nil); err != nil {
		t.Fatal(err)
	}
	if got := testkit.Poll(soon(t), t, l, 1, 10)[0]; got.CallID != "c" || got.Lost != nil {
		t.Errorf("got %+v", got)
	}
}
