// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/Azure/go-amqp"
	"github.com/google/uuid"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
)

// peer is a client of the broker that knows nothing of the driver.
type peer struct {
	t    testing.TB
	conn *amqp.Conn
}

func newPeer(t testing.TB, addr string) *peer {
	t.Helper()
	conn, err := amqp.Dial(soon(t), "amqp://"+addr, &amqp.ConnOptions{SASLType: amqp.SASLTypeAnonymous()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // the broker may be gone
	return &peer{t: t, conn: conn}
}

// sender is a link to an address.
func (p *peer) sender(address string) *amqp.Sender {
	p.t.Helper()
	session, err := p.conn.NewSession(soon(p.t), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	s, err := session.NewSender(soon(p.t), address, nil)
	if err != nil {
		p.t.Fatalf("sender to %s: %v", address, err)
	}
	return s
}

// casts sends n casts, unsettled, and returns their ids.
func (p *peer) casts(s *amqp.Sender, n int) []string {
	p.t.Helper()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = uuid.NewString()
		if err := s.Send(soon(p.t), rawCast(ids[i]), nil); err != nil {
			p.t.Fatal(err)
		}
	}
	return ids
}

func rawCast(id string) *amqp.Message {
	return &amqp.Message{
		Properties: &amqp.MessageProperties{MessageID: id},
		Value:      `{"request": {"method": "m", "args": {}}, "context": {}}`,
	}
}

// rawReply answers a call.
func rawReply(id string) *amqp.Message {
	return &amqp.Message{Properties: &amqp.MessageProperties{CorrelationID: id}, Value: `{"response": 1}`}
}

// waiting takes what waits at an address, n messages at least, and gives their ids.
func (p *peer) waiting(address string, n int) []string {
	p.t.Helper()
	session, err := p.conn.NewSession(soon(p.t), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	r, err := session.NewReceiver(soon(p.t), address, &amqp.ReceiverOptions{Credit: 10000})
	if err != nil {
		p.t.Fatal(err)
	}
	var ids []string
	for {
		ctx := soon(p.t)
		if len(ids) >= n {
			ctx = testkit.Within(p.t, 200*time.Millisecond)
		}
		m, err := r.Receive(ctx, nil)
		if err != nil {
			break
		}
		id := "?"
		if m.Properties != nil {
			id = fmt.Sprint(m.Properties.MessageID)
		}
		ids = append(ids, id)
		if err := r.AcceptMessage(soon(p.t), m); err != nil {
			p.t.Fatal(err)
		}
	}
	if len(ids) < n {
		p.t.Errorf("%d messages wait at %s, want %d", len(ids), address, n)
	}
	if err := session.Close(soon(p.t)); err != nil {
		p.t.Fatal(err)
	}
	return ids
}

// place is a broker with a virtual host and a Conn for one test.
type place struct {
	addr, vhost string
	logs        *testkit.Logs
	c           *conn
	peer        *peer
}

func newPlace(t testing.TB, addr string, options map[string]string) *place {
	t.Helper()
	p := &place{addr: addr, vhost: newVhost(), logs: &testkit.Logs{}}
	p.c = open(t, testkit.Config(t, newDriver(), addr, p.vhost, p.logs, options))
	p.peer = newPeer(t, addr)
	return p
}

func (p *place) anycast() string { return "unicast." + p.vhost + ".openstack.v" }
func (p *place) unicast(server string) string {
	return "exclusive." + p.vhost + ".openstack.v." + server
}
func (p *place) multicast() string { return "broadcast." + p.vhost + ".openstack.v.all" }

func uniqueIDs(ds []*driver.Delivery) map[string]int {
	ids := make(map[string]int, len(ds))
	for _, d := range ds {
		ids[d.UniqueID]++
	}
	return ids
}

// TestReceiving is what a listener does while the broker lives.
func TestReceiving(t *testing.T) {
	addr := shared.usual.use(t)
	for name, f := range map[string]func(*testing.T, string){
		"three addresses":          threeAddresses,
		"fanout before a poll":     fanoutBeforeAPoll,
		"nothing before a poll":    nothingBeforeAPoll,
		"no more ahead than asked": noMoreAheadThanAsked,
		"an option bounds it":      anOptionBoundsIt,
		"malformed":                malformedMessages,
		"rejected for good":        rejectedForGood,
		"requeued often":           requeuedOften,
		"requeued fanout":          requeuedFanout,
		"stale tokens":             staleTokens,
		"time left":                timeLeftOfDeliveries,
		"close gives back":         closeGivesBack,
		"stop under load":          stopUnderLoad,
		"pools":                    poolsAreRefused,
		"detached link":            detachedLink,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, addr)
		})
	}
}

func threeAddresses(t *testing.T, addr string) {
	p := newPlace(t, addr, nil)
	l := listen(t, p.c, testkit.Server("s1", driver.SettleOnPoll))
	for _, to := range []string{p.unicast("s1"), p.multicast(), p.anycast()} {
		id := p.peer.casts(p.peer.sender(to), 1)[0]
		if got := testkit.Poll(soon(t), t, l, 1, 10); got[0].UniqueID != id || got[0].Kind != driver.Cast {
			t.Errorf("%s brought %+v, want the cast %s", to, got[0], id)
		}
	}
	if left := p.peer.waiting(p.anycast(), 0); len(left) != 0 {
		t.Errorf("accepted messages are still there: %v", left)
	}
}

// fanoutBeforeAPoll: there is no credit yet, and the copy is the listener's all the same (LISTEN-1).
func fanoutBeforeAPoll(t *testing.T, addr string) {
	p := newPlace(t, addr, nil)
	l := listen(t, p.c, testkit.Server("s1", driver.SettleOnDone))
	other := listen(t, p.c, testkit.Server("s2", driver.SettleOnDone))
	id := p.peer.casts(p.peer.sender(p.multicast()), 1)[0]
	for _, l := range []driver.Listener{l, other} {
		if got := testkit.Poll(soon(t), t, l, 1, 1); got[0].UniqueID != id {
			t.Errorf("got %s, want %s", got[0].UniqueID, id)
		}
	}
}

func nothingBeforeAPoll(t *testing.T, addr string) {
	p := newPlace(t, addr, nil)
	l := listen(t, p.c, testkit.Server("s1", driver.SettleOnDone))
	ids := p.peer.casts(p.peer.sender(p.anycast()), 5)
	p.peer.waiting(p.anycast(), len(ids))
	testkit.Nothing(t, l)
}

func noMoreAheadThanAsked(t *testing.T, addr string) {
	p := newPlace(t, addr, nil)
	l := listen(t, p.c, testkit.Server("s1", driver.SettleOnDone))
	const sent, asked = 40, 4
	p.peer.casts(p.peer.sender(p.anycast()), sent)
	got := testkit.Poll(soon(t), t, l, 1, asked)
	// The broker has what neither was returned nor asked for ahead.
	p.peer.waiting(p.anycast(), sent-len(got)-asked)
}

func anOptionBoundsIt(t *testing.T, addr string) {
	p := newPlace(t, addr, map[string]string{optRPCCredit: "3"})
	l := listen(t, p.c, testkit.Server("s1", driver.SettleOnDone))
	const sent = 40
	p.peer.casts(p.peer.sender(p.anycast()), sent)
	got := testkit.Poll(soon(t), t, l, 1, 1000)
	p.peer.waiting(p.anycast(), sent-len(got)-3)
}

// malformedMessages are rejected, do not come for ever, and hold up nothing (POLL-6).
func malformedMessages(t *testing.T, addr string) {
	p := newPlace(t, addr, map[string]string{optRPCCredit: "2"})
	l := listen(t, p.c, testkit.Server("s1", driver.SettleOnPoll))
	s := p.peer.sender(p.anycast())
	for range 10 {
		if err := s.Send(soon(t), &amqp.Message{Value: `{"request": [1]}`, Properties: &amqp.MessageProperties{MessageID: "bad"}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	id := p.peer.casts(s, 1)[0]
	if got := testkit.Poll(soon(t), t, l, 1, 10); got[0].UniqueID != id {
		t.Errorf("got %+v, want %s", got[0], id)
	}
	testkit.Nothing(t, l)
	if n := strings.Count(p.logs.String(), "cannot be decoded"); n != 1 {
		t.Errorf("the same malformed message was logged %d times, want once", n)
	}
	if left := p.peer.waiting(p.anycast(), 0); len(left) != 0 {
		t.Errorf("still at the broker: %v", left)
	}
}

// rejectedForGood: Broker-J gives what is rejected again and again where nothing limits the attempts,
// as for a server's copy of a fanout.
func rejectedForGood(t *testing.T, addr string) {
	p := newPlace(t, addr, nil)
	l := listen(t, p.c, testkit.Server("s1", driver.SettleOnDone))
	s := p.peer.sender(p.anycast())
	if err := s.Send(soon(t), &amqp.Message{Value: `{"request": {"method": "m", "args": {}}, "context": {}}`}, nil); err != nil {
		t.Fatal(err) // as from Python: without an id
	}
	p.peer.casts(s, 1)
	testkit.Settle(soon(t), t, l, driver.Rejected, testkit.Poll(soon(t), t, l, 2, 10)...)
	testkit.Nothing(t, l)
	ctx := soon(t)
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if left := p.peer.waiting(p.anycast(), 0); len(left) != 0 {
		t.Errorf("still at the broker: %v", left)
	}
}

// requeuedOften: the broker's limit of attempts is not for what an application wants again.
func requeuedOften(t *testing.T, addr string) {
	p := newPlace(t, addr, nil)
	l := listen(t, p.c, testkit.Server("s1", driver.SettleOnDone))
	id := p.peer.casts(p.peer.sender(p.anycast()), 1)[0]
	for i := range 12 {
		got := testkit.Poll(soon(t), t, l, 1, 1)
		if got[0].UniqueID != id {
			t.Fatalf("time %d: got %s", i, got[0].UniqueID)
		}
		testkit.Settle(soon(t), t, l, driver.Requeued, got...)
	}
	testkit.Settle(soon(t), t, l, driver.Accepted, testkit.Poll(soon(t), t, l, 1, 1)...)
	testkit.Nothing(t, l)
}

func requeuedFanout(t *testing.T, addr string) {
	p := newPlace(t, addr, nil)
	l := listen(t, p.c, testkit.Server("s1", driver.SettleOnDone))
	id := p.peer.casts(p.peer.sender(p.multicast()), 1)[0]
	for range 3 {
		got := testkit.Poll(soon(t), t, l, 1, 1)
		if got[0].UniqueID != id {
			t.Fatalf("got %s", got[0].UniqueID)
		}
		testkit.Settle(soon(t), t, l, driver.Requeued, got...)
	}
	got := testkit.Poll(soon(t), t, l, 1, 1)
	if !got[0].Redelivered {
		t.Error("the hint that it comes again is missing")
	}
	testkit.Settle(soon(t), t, l, driver.Accepted, got...)
	testkit.Nothing(t, l)
}

func staleTokens(t *testing.T, addr string) {
	p := newPlace(t, addr, nil)
	l := listen(t, p.c, testkit.Server("s1", driver.SettleOnDone))
	p.peer.casts(p.peer.sender(p.anycast()), 2)
	got := testkit.Poll(soon(t), t, l, 2, 10)
	testkit.Settle(soon(t), t, l, driver.Requeued, got[0])
	testkit.Settle(soon(t), t, l, driver.Accepted, got[0]) // too late: it comes again
	again := testkit.Poll(soon(t), t, l, 1, 10)
	if again[0].UniqueID != got[0].UniqueID {
		t.Errorf("got %s, want %s", again[0].UniqueID, got[0].UniqueID)
	}
	testkit.Settle(soon(t), t, l, driver.Accepted, again[0], again[0], got[1])
	if err := l.Done(soon(t), []driver.Outcome{{Token: 1 << 60, Result: driver.Accepted}, {}}); err != nil {
		t.Errorf("unknown tokens: %v", err)
	}
	testkit.Nothing(t, l)
}

func timeLeftOfDeliveries(t *testing.T, addr string) {
	p := newPlace(t, addr, nil)
	l := listen(t, p.c, testkit.Server("s1", driver.SettleOnDone))
	m := rawCast("x")
	m.Header = &amqp.MessageHeader{TTL: time.Hour, Priority: 4}
	s := p.peer.sender(p.anycast())
	for range 2 {
		if err := s.Send(soon(t), m, nil); err != nil {
			t.Fatal(err)
		}
	}
	got := testkit.Poll(soon(t), t, l, 1, 1)
	eventually(t, "the second message waits in the driver", func() bool {
		l := l.(*listener)
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.ready.Len() == 1
	})
	waited := time.Now()
	eventually(t, "a moment passes", func() bool { return time.Since(waited) > 20*time.Millisecond })
	got = append(got, testkit.Poll(soon(t), t, l, 1, 1)...)
	for i, d := range got {
		if d.TimeLeft <= 0 || d.TimeLeft > time.Hour {
			t.Errorf("TimeLeft %v of an hour", d.TimeLeft)
		}
		if i == 1 && d.TimeLeft > time.Hour-20*time.Millisecond {
			t.Errorf("TimeLeft %v does not count what it waited here", d.TimeLeft)
		}
	}
}

// closeGivesBack: all of it, at once, and without a mark of having been delivered in vain (CLOSE-4).
func closeGivesBack(t *testing.T, addr string) {
	for _, how := range []driver.Settle{driver.SettleOnDone, driver.SettleOnPoll} {
		p := newPlace(t, addr, nil)
		p.peer.casts(p.peer.sender(p.anycast()), 30)
		for range 8 { // more often than Broker-J would deliver it in vain
			l := listen(t, p.c, testkit.Server("s1", how))
			if how == driver.SettleOnDone {
				testkit.Poll(soon(t), t, l, 1, 20)
			} else {
				l.(*listener).want(20)
				eventually(t, "messages come", func() bool {
					l := l.(*listener)
					l.mu.Lock()
					defer l.mu.Unlock()
					return l.ready.Len() > 0
				})
			}
			if err := l.Close(soon(t)); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Poll(soon(t), 1); driver.ReasonOf(err) != driver.ReasonClosed {
				t.Errorf("Poll after Close: %v", err)
			}
		}
		p.peer.waiting(p.anycast(), 30)
	}
}

// stopUnderLoad: each message is returned once, or is at the broker.
func stopUnderLoad(t *testing.T, addr string) {
	for _, how := range []driver.Settle{driver.SettleOnDone, driver.SettleOnPoll} {
		p := newPlace(t, addr, nil)
		l := listen(t, p.c, testkit.Server("s1", how))
		s := p.peer.sender(p.anycast())
		const sent = 2000
		var all sync.WaitGroup
		stop := make(chan struct{})
		all.Go(func() {
			for i := range sent {
				if i == sent/2 {
					close(stop)
				}
				if err := s.Send(soon(t), rawCast(strconv.Itoa(i)), nil); err != nil {
					t.Errorf("send: %v", err)
					return
				}
			}
		})
		all.Go(func() {
			<-stop
			if err := l.(driver.Stopper).Stop(soon(t)); err != nil {
				t.Errorf("Stop: %v", err)
			}
		})
		var got []*driver.Delivery
		for {
			ds, err := l.Poll(soon(t), 50)
			got = append(got, ds...)
			if how == driver.SettleOnDone && len(ds) > 0 {
				testkit.Settle(soon(t), t, l, driver.Accepted, ds...)
			}
			if err != nil {
				if driver.ReasonOf(err) != driver.ReasonClosed {
					t.Fatalf("Poll: %v", err)
				}
				break
			}
		}
		all.Wait()
		ids := uniqueIDs(got)
		for _, id := range p.peer.waiting(p.anycast(), sent-len(ids)) { // before Close: nothing is kept
			ids[id]++
		}
		for i := range sent {
			if n := ids[strconv.Itoa(i)]; n != 1 {
				t.Errorf("message %d came %d times", i, n)
			}
		}
		if err := l.Close(soon(t)); err != nil {
			t.Fatal(err)
		}
	}
}

func poolsAreRefused(t *testing.T, addr string) {
	p := newPlace(t, addr, nil)
	_, err := p.c.Listen(soon(t), driver.Source{
		Kind: driver.SourceNotifications, Settle: driver.SettleOnDone, Pool: "p",
		Notifications: []driver.NotificationTopic{{Exchange: "openstack", Topic: "n", Priority: "info"}},
	})
	if driver.ReasonOf(err) != driver.ReasonUnsupported || !strings.Contains(err.Error(), "without a pool") {
		t.Errorf("a pool: %v", err)
	}
}

// detachedLink: one link is lost, is made again, and the others go on.
func detachedLink(t *testing.T, addr string) {
	p := newPlace(t, addr, nil)
	l := listen(t, p.c, testkit.Server("s1", driver.SettleOnPoll))
	ll := l.(*listener)
	var lost *attachment
	ll.mu.Lock()
	for a := range ll.links {
		if a.address == p.anycast() {
			lost = a
		}
	}
	ll.mu.Unlock()
	if err := lost.rx.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{p.unicast("s1"), p.multicast(), p.anycast()} {
		p.peer.casts(p.peer.sender(to), 1)
		testkit.Poll(soon(t), t, l, 1, 10)
	}
}

func TestPollForNothing(t *testing.T) {
	l := &listener{}
	if _, err := l.Poll(t.Context(), 0); driver.ReasonOf(err) != driver.ReasonDriverBug {
		t.Errorf("Poll for nothing: %v", err)
	}
}

// TestListeningIsRefused: what waiting does not heal is the error of Listen, with what to do.
// TestAcceptedForPoll follows what links accept for a Poll that has returned when they have done so:
// it counts against the next one (POLL-9).
func TestAcceptedForPoll(t *testing.T) {
	l := &listener{wake: make(chan struct{}, 1), src: driver.Source{Settle: driver.SettleOnPoll}}
	add := func(want bool) *held {
		t.Helper()
		h := &held{d: &driver.Delivery{}}
		if accept, wanted := l.add(h); accept != want || !wanted {
			t.Fatalf("a message came: accept it %v, wanted %v; accept it should be %v", accept, wanted, want)
		}
		return h
	}
	take := func(max int, want ...*held) {
		t.Helper()
		if hs, over := l.take(max); !slices.Equal(hs, want) || over {
			t.Fatalf("Poll for %d: %d messages, over %v; want %d", max, len(hs), over, len(want))
		}
	}
	take(2)
	first := add(true)
	l.addAcked(first)
	second := add(true)
	take(2, first)
	take(1) // second is on its way
	add(false)
	l.addAcked(second)
	take(1, second)
	l.ready.PopFront()
	take(2)
	add(true)
	l.addAcked(nil) // its link is gone
	take(1)
	fourth := add(true)
	l.drained = true // Stop did not wait for it
	take(1)
	l.addAcked(fourth)
	take(1, fourth)
	if hs, over := l.take(1); len(hs) > 0 || !over {
		t.Errorf("Poll after Stop: %d messages, over %v", len(hs), over)
	}
}

func TestListeningIsRefused(t *testing.T) {
	p := newPlace(t, shared.bare.use(t), nil)
	_, err := p.c.Listen(soon(t), testkit.Server("s1", driver.SettleOnPoll))
	e, ok := errors.AsType[*driver.Error](err)
	if !ok || e.Reason != driver.ReasonNoRoute || e.Hint == "" || !strings.Contains(e.Message, p.unicast("s1")) {
		t.Errorf("Listen without a node: %v", err)
	}
}

// TestBrokerKilledWhileListening: the listener takes up again by itself (LISTEN-6).
func TestBrokerKilledWhileListening(t *testing.T) {
	t.Parallel()
	broker := peertest.RunBrokerJ(t, nil)
	p := newPlace(t, broker.Addr(), nil)
	onPoll := listen(t, p.c, testkit.Server("s1", driver.SettleOnPoll))
	onDone := listen(t, p.c, driver.Source{
		Kind: driver.SourceNotifications, Settle: driver.SettleOnDone,
		Notifications: []driver.NotificationTopic{{Exchange: "openstack", Topic: "n", Priority: "info"}},
	})
	notes := "unicast." + p.vhost + ".openstack.n.info"
	note := &amqp.Message{Value: `{"request": {"message_id": "1", "publisher_id": "p", "event_type": "e", "priority": "INFO", "payload": {}, "timestamp": "t"}, "context": {}}`}
	send := func() {
		peer := newPeer(t, broker.Addr())
		peer.casts(peer.sender(p.anycast()), 1)
		peer.casts(peer.sender(p.multicast()), 1)
		if err := peer.sender(notes).Send(soon(t), note, nil); err != nil {
			t.Fatal(err)
		}
	}
	send()
	testkit.Poll(soon(t), t, onPoll, 2, 10)
	held := testkit.Poll(soon(t), t, onDone, 1, 10)
	for range 2 {
		if err := broker.Kill(); err != nil {
			t.Fatal(err)
		}
		waiting := make(chan error, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		go func() {
			_, err := onPoll.Poll(ctx, 1)
			waiting <- err
		}()
		if err := <-waiting; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Poll while the broker is away: %v", err)
		}
		cancel()
		testkit.Settle(soon(t), t, onDone, driver.Accepted, held...) // DONE-2
		if err := broker.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the links are there again", func() bool {
			n := 0
			for _, l := range []driver.Listener{onPoll, onDone} {
				l := l.(*listener)
				l.mu.Lock()
				n += len(l.links)
				l.mu.Unlock()
			}
			return n == 4
		})
		send()
		testkit.Poll(soon(t), t, onPoll, 2, 10)
		held = testkit.Poll(soon(t), t, onDone, 1, 10)
	}
}
