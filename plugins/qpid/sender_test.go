// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/outbound"
	"github.com/parleymq/parley/plugins/internal/testkit"
	"github.com/parleymq/parley/plugins/qpid/internal/scripted"
)

const longEnough = time.Minute // for what a busy machine may take its time for

// openSender opens a Conn to the broker at addr.
func openSender(t testing.TB, addr string, options map[string]string) (*conn, *testkit.States) {
	t.Helper()
	st := testkit.NewStates()
	cfg := testkit.Config(t, newDriver(), addr, "", &testkit.Logs{}, options)
	cfg.Logger, cfg.Report = nil, st.Report
	return testkit.Open(t, newDriver(), cfg, longEnough).(*conn), st
}

// rawSession is a session of the library alone.
func rawSession(t testing.TB, addr string) *amqp.Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), longEnough)
	defer cancel()
	var d net.Dialer
	socket, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c, err := amqp.NewConn(ctx, socket, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	s, err := c.NewSession(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func rawReceiver(t testing.TB, addr, source string, o *amqp.ReceiverOptions) *amqp.Receiver {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), longEnough)
	defer cancel()
	if o == nil {
		o = &amqp.ReceiverOptions{Credit: 500}
	}
	r, err := rawSession(t, addr).NewReceiver(ctx, source, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// receiveIDs takes n messages and returns how often each message-id came.
func receiveIDs(t testing.TB, r *amqp.Receiver, n int) map[string]int {
	t.Helper()
	seen := make(map[string]int)
	ctx, cancel := context.WithTimeout(t.Context(), longEnough)
	defer cancel()
	for i := range n {
		m, err := r.Receive(ctx, nil)
		if err != nil {
			t.Fatalf("message %d of %d: %v", i, n, err)
		}
		if err := r.AcceptMessage(ctx, m); err != nil {
			t.Fatal(err)
		}
		id, _ := m.Properties.MessageID.(string)
		seen[id]++
	}
	return seen
}

func castTo(topic, id string) *driver.Message {
	return &driver.Message{
		Kind: driver.Cast, Target: driver.Target{Exchange: "openstack", Topic: topic}, UniqueID: id,
		Body: []byte(`{"method":"note","args":{"id":"` + id + `"}}`),
	}
}

func callTo(topic, id string) *driver.Message {
	m := castTo(topic, id)
	m.Kind, m.CallID, m.ReplyTo, m.TimeLeft = driver.Call, id, "elsewhere", longEnough
	return m
}

func send(t testing.TB, c *conn, m ...*driver.Message) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), longEnough)
	defer cancel()
	return c.Send(ctx, m)
}

// TestSending is what a broker is needed for and can be shared by.
func TestSending(t *testing.T) {
	addr := shared.usual.use(t) // each test has topics of its own
	for name, test := range map[string]func(*testing.T, string){
		"settled and unsettled together":   settledAndUnsettled,
		"a large message":                  largeMessage,
		"the broker drops what is too old": expiryAtTheBroker,
		"idle links are closed":            idleLinks,
		"answers to many":                  answersToMany,
		"an answer to nobody":              answerToNobody,
		"close waits for what is sent":     closeWithSends,
		"ping":                             pinging,
		"the writer looks at its context":  writerLooks,
	} {
		t.Run(name, func(t *testing.T) { test(t, addr) })
	}
}

// settledAndUnsettled is Broker-J's bug: on one link these would cut the connection.
func settledAndUnsettled(t *testing.T, addr string) {
	const n = 10_000
	c, st := openSender(t, addr, nil)
	r := rawReceiver(t, addr, "unicast.openstack.mixed", nil)
	w := outbound.NewResults(n)
	ctx, cancel := context.WithTimeout(t.Context(), longEnough)
	defer cancel()
	go func() {
		for i := range n {
			id := fmt.Sprint("m", i)
			m := castTo("mixed", id)
			if i%2 == 0 {
				m = callTo("mixed", id)
			}
			c.SendAsync(ctx, []*driver.Message{m}, func(_ int, err error) { w.Done(i, err) })
		}
	}()
	seen := receiveIDs(t, r, n)
	<-w.All()
	if err := w.Err(); err != nil {
		t.Error(err)
	}
	if len(seen) != n {
		t.Errorf("%d of %d arrived", len(seen), n)
	}
	for _, s := range st.All() {
		if s.Phase == driver.Connecting && s.Err != nil {
			t.Errorf("the connection was lost: %v", s.Err)
		}
	}
	lanes := 0
	for key := range c.out.lanes {
		if key.topic == "mixed" {
			lanes++
		}
	}
	if lanes != 2 {
		t.Errorf("%d links instead of one for settled and one for unsettled messages", lanes)
	}
}

func largeMessage(t *testing.T, addr string) {
	c, _ := openSender(t, addr, nil)
	r := rawReceiver(t, addr, "unicast.openstack.large", nil)
	m := callTo("large", "big")
	m.Body = []byte(`{"method":"note","args":{"x":"` + strings.Repeat("x", 8<<20) + `"}}`)
	if err := send(t, c, m, castTo("large", "small")); err != nil {
		t.Fatal(err)
	}
	if seen := receiveIDs(t, r, 2); seen["big"] != 1 || seen["small"] != 1 {
		t.Errorf("got %v", seen)
	}
}

// TestMessageTooLarge: the others are not harmed (SEND-8).
func TestMessageTooLarge(t *testing.T) {
	t.Parallel()
	p := scripted.Run(t, scripted.Options{MaxMessageSize: 1000})
	c, st := openSender(t, p.Addr(), nil)
	batch := make([]*driver.Message, 100)
	for i := range batch {
		batch[i] = castTo("large", fmt.Sprint("c", i))
		if i%2 == 1 {
			batch[i] = callTo("large", fmt.Sprint("c", i))
		}
		if i == 50 || i == 51 {
			batch[i].Body = []byte(`{"method":"note","args":{"x":"` + strings.Repeat("x", 1000) + `"}}`)
		}
	}
	err := send(t, c, batch...)
	for i := range batch {
		large := i == 50 || i == 51
		e := driver.AsError(driver.MessageErr(err, i))
		if (e != nil) != large || large && (e.Reason != driver.ReasonMessageTooLarge || e.InDoubt) {
			t.Errorf("message %d: %v", i, e)
		}
	}
	if got := st.Len(); got != 2 {
		t.Errorf("%d states: %v", got, st.All())
	}
}

func expiryAtTheBroker(t *testing.T, addr string) {
	c, _ := openSender(t, addr, nil)
	old := callTo("old", "old")
	old.TimeLeft = 50 * time.Millisecond
	// The first makes the link, which may take longer than 50 ms.
	if err := send(t, c, callTo("old", "first")); err != nil {
		t.Fatal(err)
	}
	err := send(t, c, old)
	if err != nil && driver.ReasonOf(err) != driver.ReasonExpired {
		t.Fatal(err)
	}
	passed := time.NewTimer(200 * time.Millisecond)
	<-passed.C
	if err := send(t, c, callTo("old", "last")); err != nil {
		t.Fatal(err)
	}
	seen := receiveIDs(t, rawReceiver(t, addr, "unicast.openstack.old", nil), 2)
	if seen["first"] != 1 || seen["last"] != 1 {
		t.Errorf("got %v", seen)
	}
}

func idleLinks(t *testing.T, addr string) {
	c, _ := openSender(t, addr, map[string]string{"default_sender_link_timeout": "1"})
	for range 2 { // a lane that was closed is made again
		if err := send(t, c, callTo("idle", "1"), castTo("idle", "2")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "no lane", func() bool {
			c.out.mu.Lock()
			defer c.out.mu.Unlock()
			return len(c.out.lanes) == 0
		})
	}
}

// answers come over links of their own, or over the relay when there are many clients.
func answersToMany(t *testing.T, addr string) {
	for _, own := range []int{fewAnswerLanes, 5, 0} {
		c, _ := openSender(t, addr, nil)
		c.out.maxAnswerLanes = own
		sendAnswers(t, addr, c, 20)
		c.out.mu.Lock()
		if want := min(own, 20) + 1; len(c.out.lanes) > want {
			t.Errorf("%d links for the answers to 20 clients, want at most %d", len(c.out.lanes), want)
		}
		c.out.mu.Unlock()
	}
}

func sendAnswers(t *testing.T, addr string, c *conn, n int) {
	t.Helper()
	s := rawSession(t, addr)
	ctx, cancel := context.WithTimeout(t.Context(), longEnough)
	defer cancel()
	receivers := make([]*amqp.Receiver, n)
	for i := range receivers {
		r, err := s.NewReceiver(ctx, "", &amqp.ReceiverOptions{DynamicAddress: true, Credit: 10})
		if err != nil {
			t.Fatal(err)
		}
		receivers[i] = r
		m := &driver.Message{Kind: driver.Reply, ReplyTo: r.Address(), CallID: strconv.Itoa(i), UniqueID: fmt.Sprint("u", i), Body: []byte(`1`)}
		beat := &driver.Message{Kind: driver.Heartbeat, ReplyTo: r.Address(), CallID: strconv.Itoa(i), TimeLeft: longEnough}
		if err := send(t, c, beat, m); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range receivers {
		for _, empty := range []bool{true, false} {
			m, err := r.Receive(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			if m.Properties.CorrelationID != strconv.Itoa(i) || (m.Value == nil) != empty {
				t.Errorf("client %d got %v of %v", i, m.Value, m.Properties.CorrelationID)
			}
		}
	}
}

// answerToNobody is for a client that is gone. The answers to others are not harmed.
func answerToNobody(t *testing.T, addr string) {
	for _, own := range []int{fewAnswerLanes, 0} {
		c, st := openSender(t, addr, nil)
		c.out.maxAnswerLanes = own
		r := rawReceiver(t, addr, "", &amqp.ReceiverOptions{DynamicAddress: true, Credit: 500})
		const n = 200
		batch := make([]*driver.Message, n)
		for i := range batch {
			batch[i] = &driver.Message{Kind: driver.Reply, ReplyTo: r.Address(), CallID: strconv.Itoa(i), UniqueID: fmt.Sprint("u", i), Body: []byte(`1`)}
			if i%10 == 5 {
				batch[i].ReplyTo = "TempQueue-of-nobody"
			}
		}
		err := send(t, c, batch...)
		for i, m := range batch {
			lost := m.ReplyTo != r.Address()
			e := driver.AsError(driver.MessageErr(err, i))
			if (e != nil) != lost || lost && (e.Reason != driver.ReasonNoRoute || e.InDoubt) {
				t.Fatalf("%d links: answer %d: %v", own, i, e)
			}
		}
		if seen := receiveIDs(t, r, n*9/10); len(seen) != n*9/10 {
			t.Errorf("%d answers arrived", len(seen))
		}
		if got := st.Len(); got != 2 {
			t.Errorf("%d states: %v", got, st.All())
		}
	}
}

func closeWithSends(t *testing.T, addr string) {
	const n = 5000
	c, _ := openSender(t, addr, nil)
	r := rawReceiver(t, addr, "unicast.openstack.closing", nil)
	w := outbound.NewResults(n)
	for i := range n {
		m := castTo("closing", fmt.Sprint("c", i))
		if i%2 == 0 {
			m.Kind, m.CallID, m.ReplyTo = driver.Call, m.UniqueID, "elsewhere"
		}
		c.SendAsync(t.Context(), []*driver.Message{m}, func(_ int, err error) { w.Done(i, err) })
	}
	ctx, cancel := context.WithTimeout(t.Context(), longEnough)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case <-w.All():
	default:
		t.Fatal("a message has no result when Close has returned")
	}
	if err := w.Err(); err != nil {
		t.Fatal(err)
	}
	if seen := receiveIDs(t, r, n); len(seen) != n {
		t.Errorf("%d of %d arrived", len(seen), n)
	}
	if err := send(t, c, castTo("closing", "late")); driver.ReasonOf(err) != driver.ReasonClosed {
		t.Errorf("after Close: %v", err)
	}
}

func pinging(t *testing.T, addr string) {
	c, _ := openSender(t, addr, nil)
	ctx, cancel := context.WithTimeout(t.Context(), longEnough)
	defer cancel()
	for range 300 { // more than the sessions of a connection
		if err := c.Ping(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// writerLooks pins what the library does: what its writer has not asked for its time has not left.
// A message that left for sure is never called unsent by that.
func writerLooks(t *testing.T, addr string) {
	s := rawSession(t, addr)
	snd, err := s.NewSender(t.Context(), "unicast.openstack.pinned", nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &writeContext{Context: t.Context()}
	if err := snd.Send(c, amqp.NewMessage([]byte("x")), nil); err != nil {
		t.Fatal(err)
	}
	if !c.touched.Load() {
		t.Fatal("the writer does not look at the context of what it writes: messages would be sent twice")
	}
}
