// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/outbound"
	"github.com/parleymq/parley/plugins/qpid/internal/scripted"
)

func TestSendingWhereTheBrokerIsAway(t *testing.T) {
	var l net.ListenConfig
	gone, err := l.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := gone.Addr().String()
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	c, _ := openSender(t, addr, nil)
	fast := castTo("away", "1")
	fast.FailFast = true
	if err := send(t, c, fast); driver.ReasonOf(err) != driver.ReasonNotConnected || driver.AsError(err).InDoubt {
		t.Errorf("fail fast: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := c.Send(ctx, []*driver.Message{castTo("away", "2")}); driver.ReasonOf(err) != driver.ReasonNotConnected {
		t.Errorf("until its ctx ends: %v", err)
	}
	short := castTo("away", "3")
	short.TimeLeft = 100 * time.Millisecond
	if err := send(t, c, short); driver.ReasonOf(err) != driver.ReasonNotConnected {
		t.Errorf("until its time is over: %v", err)
	}
	if !c.out.room.Empty() {
		t.Error("messages are left")
	}
}

func TestSendingWithoutPolicies(t *testing.T) {
	c, _ := openSender(t, shared.bare.use(t), nil)
	for _, m := range []*driver.Message{castTo("none", "1"), callTo("none", "2")} {
		err := send(t, c, m)
		if e := driver.AsError(err); e == nil || e.Reason != driver.ReasonNoRoute || e.InDoubt || e.Hint == "" {
			t.Errorf("%s: %v", m.Kind, err)
		}
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestNoCredit is a peer that takes no messages for one address.
func TestNoCredit(t *testing.T) {
	t.Parallel()
	p := scripted.Run(t, scripted.Options{})
	p.HoldCredit("unicast.openstack.full", true)
	c, st := openSender(t, p.Addr(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const n = 200
	kept := outbound.NewResults(n)
	for i := range n {
		m := callTo("full", fmt.Sprint("k", i))
		c.SendAsync(ctx, []*driver.Message{m}, func(_ int, err error) { kept.Done(i, err) })
	}
	blocked := st.Await(t, 0, driver.Blocked)
	if driver.ReasonOf(blocked.Err) != driver.ReasonBrokerBlocked {
		t.Errorf("state %v", blocked)
	}
	fast := callTo("full", "fast")
	fast.FailFast = true
	if err := send(t, c, fast); driver.ReasonOf(err) != driver.ReasonBrokerBlocked || driver.AsError(err).InDoubt {
		t.Errorf("fail fast: %v", err)
	}
	short := callTo("full", "short")
	short.TimeLeft = 100 * time.Millisecond
	if err := send(t, c, short); driver.ReasonOf(err) != driver.ReasonBrokerBlocked || driver.AsError(err).InDoubt {
		t.Errorf("until its time is over: %v", err)
	}
	if err := send(t, c, callTo("other", "1")); err != nil {
		t.Errorf("to another address: %v", err)
	}
	from := st.Len()
	p.HoldCredit("unicast.openstack.full", false)
	st.Await(t, from, driver.Ready)
	select {
	case <-kept.All():
	case <-time.After(longEnough):
		t.Fatal("the messages that waited were not sent")
	}
	if err := kept.Err(); err != nil {
		t.Error(err)
	}
}

// TestAFullQueue is Broker-J's way to grant no credit, some messages late.
func TestAFullQueue(t *testing.T) {
	t.Parallel()
	b := peertest.RunBrokerJ(t, &peertest.BrokerJOptions{Queue: map[string]any{
		"maximumQueueDepthMessages": 10, "overflowPolicy": "PRODUCER_FLOW_CONTROL",
	}})
	c, st := openSender(t, b.Addr(), nil)
	ctx, cancel := context.WithTimeout(t.Context(), longEnough)
	defer cancel()
	var err error
	for i := 0; err == nil; i++ {
		m := callTo("full", fmt.Sprint("k", i))
		if i > 0 { // the first makes the queue
			m.TimeLeft = 10 * time.Second
		}
		err = c.Send(ctx, []*driver.Message{m})
	}
	if driver.ReasonOf(err) != driver.ReasonBrokerBlocked || driver.AsError(err).InDoubt {
		t.Fatal(err)
	}
	st.Await(t, 0, driver.Blocked)
	if err := send(t, c, callTo("other", "1")); err != nil {
		t.Errorf("to another address: %v", err)
	}
}

// TestBrokerKilledWhileSending: each message arrives at most once, and has a result.
func TestBrokerKilledWhileSending(t *testing.T) {
	t.Parallel()
	b := peertest.RunBrokerJ(t, nil)
	c, st := openSender(t, b.Addr(), nil)
	first := rawReceiver(t, b.Addr(), "unicast.openstack.killed", nil)
	st.Await(t, 0, driver.Ready)
	const n = 20_000
	w := outbound.NewResults(n)
	ctx, cancel := context.WithTimeout(t.Context(), longEnough)
	defer cancel()
	go func() {
		for i := range n {
			c.SendAsync(ctx, []*driver.Message{callTo("killed", fmt.Sprint("k", i))}, func(_ int, err error) { w.Done(i, err) })
		}
	}()
	seen := receiveIDs(t, first, n/10)
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := first.Receive(ctx, nil)
		if err != nil {
			break
		}
		id, _ := m.Properties.MessageID.(string)
		seen[id]++
	}
	if err := b.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	<-w.All()
	second := rawReceiver(t, b.Addr(), "unicast.openstack.killed", nil)
	if err := send(t, c, callTo("killed", "last")); err != nil {
		t.Fatal(err)
	}
	for seen["last"] == 0 {
		for id, count := range receiveIDs(t, second, 1) {
			seen[id] += count
		}
	}
	doubts, taken := 0, 0
	for i := range n {
		switch err := driver.AsError(driver.MessageErr(w.Err(), i)); {
		case err == nil:
			taken++
		case !err.InDoubt:
			t.Fatalf("message %d: %v", i, err)
		default:
			doubts++
		}
	}
	twice := make([]string, 0)
	for id, count := range seen {
		if count > 1 {
			twice = append(twice, id)
		}
	}
	slices.Sort(twice)
	if len(twice) > 0 {
		t.Errorf("%d came twice: %v", len(twice), twice[:min(10, len(twice))])
	}
	t.Logf("%d taken, %d in doubt, %d seen", taken, doubts, len(seen))
}
