// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// TestGiveBack: what a listener does not want goes to another, and comes again when there is none.
func TestGiveBack(t *testing.T) {
	w := newWorld(t)
	n, a, b := w.open(), w.open(), w.open()
	la := w.listen(a, server("t", "a"))
	w.knows(n, "t", 1)
	w.mustSend(n, cast("t", "m"))
	d := w.poll(la)
	if d.Redelivered {
		t.Error("the first time it is called redelivered")
	}
	w.done(la, d, driver.Requeued)
	d = w.poll(la)
	if d.UniqueID != "m" || !d.Redelivered {
		t.Errorf("requeued and alone: %s, redelivered %v", d.UniqueID, d.Redelivered)
	}
	w.done(la, d, driver.Rejected)
	w.idle(n)

	for i := range 10 {
		w.mustSend(n, cast("t", strconv.Itoa(i)))
	}
	first := w.accept(la, "0")
	w.done(la, first, driver.Accepted) // twice is no error
	taken := w.poll(la)
	lb := w.listen(b, server("t", "b"))
	if err := la.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	for i := 2; i < 10; i++ {
		w.accept(lb, strconv.Itoa(i))
	}
	if _, err := la.Poll(w.soon(), 1); driver.ReasonOf(err) != driver.ReasonClosed {
		t.Errorf("Poll after Stop: %v", err)
	}
	w.done(la, taken, driver.Accepted)
	if err := errors.Join(la.Stop(t.Context()), la.Close(t.Context()), la.Close(t.Context())); err != nil {
		t.Error(err)
	}
	w.wantNothing(lb, 10*time.Millisecond)
	w.idle(n)
}

// TestRecall: work that waits at one server goes to one that has nothing to do.
func TestRecall(t *testing.T) {
	w := newWorld(t)
	n, a, b := w.open(), w.open(), w.open()
	la := w.listen(a, server("t", "a"))
	w.knows(n, "t", 1)
	w.mustSend(n, cast("t", "0"))
	if _, err := la.Poll(w.soon(), 2); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < 10; i++ {
		w.mustSend(n, cast("t", strconv.Itoa(i)))
	}
	lb := w.listen(b, server("t", "b"))
	got := map[string]bool{}
	for len(got) < 8 { // one is under way at a, and one may wait there: it asks for two at a time
		d := w.poll(lb)
		got[d.UniqueID] = true
		w.done(lb, d, driver.Accepted)
	}
	w.wantNothing(lb, 300*time.Millisecond)
	w.accept(la, "9")
}

// TestRoom: above PendingMessages senders wait, and learn why when they cannot.
func TestRoom(t *testing.T) {
	w := newWorld(t)
	n, other := w.open(func(o *Options) { o.PendingMessages = 5 }), w.open()
	l := w.listen(other, server("t", "s"))
	w.knows(n, "t", 1)
	for i := range 5 {
		w.mustSend(n, cast("t", strconv.Itoa(i)))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	w.wantError(n.Send(ctx, []*driver.Message{cast("t", "late")}), driver.ReasonBrokerBlocked, false)
	sent := make(chan error, 1)
	go func() { sent <- w.send(n, cast("t", "5")) }()
	for i := range 5 {
		w.accept(l, strconv.Itoa(i))
	}
	if err := w.fate(sent); err != nil {
		t.Error(err)
	}
	w.accept(l, "5")
	w.idle(n)
}

// TestQueueFull: a receiver that has no room is asked again until it has.
func TestQueueFull(t *testing.T) {
	w := newWorld(t)
	n, other := w.open(), w.open(func(o *Options) { o.QueueMessages = 2; o.QueueBytes = 10_000 })
	l := w.listen(other, server("t", "s"))
	w.knows(n, "t", 1)
	var fates []<-chan error
	for i := range 10 {
		fates = append(fates, w.begin(n, cast("t", strconv.Itoa(i))))
	}
	big := cast("t", "big")
	big.Body = []byte(fmt.Sprintf("%100000d", 1)) // alone it is taken, however large
	fates = append(fates, w.begin(n, big))
	got := map[string]int{}
	for range fates {
		d := w.poll(l)
		got[d.UniqueID]++
		w.done(l, d, driver.Accepted)
		other.mu.Lock()
		if l.ready.len() > 2 {
			t.Errorf("%d wait, the limit is 2", l.ready.len())
		}
		other.mu.Unlock()
	}
	if len(got) != 11 {
		t.Errorf("got %v", got)
	}
	for _, fate := range fates {
		if err := w.fate(fate); err != nil {
			t.Error(err)
		}
	}
	w.idle(n)
}

// TestSettleOnPoll: senders are not kept waiting by what a Poll had no use for.
func TestSettleOnPoll(t *testing.T) {
	w := newWorld(t)
	n, other := w.open(), w.open()
	src := server("t", "s")
	src.Settle, src.AtMostOnce = driver.SettleOnPoll, false
	l := w.listen(other, src)
	w.knows(n, "t", 1)
	polled := make(chan []*driver.Delivery, 1)
	polls := func() {
		ds, _ := l.Poll(w.soon(), 1)
		polled <- ds
	}
	go polls()
	w.until("Poll waits", func() bool {
		other.mu.Lock()
		defer other.mu.Unlock()
		return l.polling
	})
	batch := []*driver.Message{cast("t", "1"), cast("t", "2"), cast("t", "3")}
	if err := n.Send(w.soon(), batch); err != nil {
		t.Error(err)
	}
	if ds := <-polled; len(ds) != 1 || ds[0].UniqueID != "1" || ds[0].Token != 0 {
		t.Errorf("got %v", ds)
	}
	// A Poll whose ctx ends just when a message comes leaves it for the next one.
	for _, id := range []string{"2", "3"} {
		if d := w.poll(l); d.UniqueID != id {
			t.Errorf("got %s, want %s", d.UniqueID, id)
		}
	}
	other.mu.Lock()
	l.polling = true
	other.mu.Unlock()
	fate := w.begin(n, cast("t", "4"))
	w.until("it is there", func() bool {
		other.mu.Lock()
		defer other.mu.Unlock()
		return l.ready.len() == 1
	})
	l.unpoll()
	if err := w.fate(fate); err != nil {
		t.Error(err)
	}
	if d := w.poll(l); d.UniqueID != "4" {
		t.Errorf("got %s", d.UniqueID)
	}
	w.idle(n)
}

// TestExpiresInQueue: what is over before Poll asks for it is dropped.
func TestExpiresInQueue(t *testing.T) {
	w := newWorld(t)
	n, other := w.open(), w.open()
	l := w.listen(other, server("t", "s"))
	w.knows(n, "t", 1)
	m := cast("t", "old")
	m.TimeLeft = 50 * time.Millisecond
	w.mustSend(n, m)
	w.idle(n)
	w.mustSend(n, cast("t", "new"))
	w.accept(l, "new")
	w.idle(n)
}

// TestAdopt: what a sender left behind goes to another server when its first one gives it back.
func TestAdopt(t *testing.T) {
	w := newWorld(t)
	n, a, b := w.open(), w.open(), w.open()
	la := w.listen(a, server("t", "a"))
	w.knows(n, "t", 1)
	for _, id := range []string{"read", "requeued", "unread"} {
		w.mustSend(n, cast("t", id))
	}
	read, requeued := w.poll(la), w.poll(la)
	_ = read
	w.close(n)
	w.until("its sender is gone", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.peers[n.id] == nil || a.peers[n.id].gone
	})
	lb := w.listen(b, server("t", "b"))
	w.done(la, requeued, driver.Requeued)
	got := map[string]bool{}
	if err := la.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	for range 2 {
		d := w.poll(lb)
		got[d.UniqueID] = true
		if !d.Redelivered {
			t.Errorf("%s is not called redelivered", d.UniqueID)
		}
		w.done(lb, d, driver.Accepted)
	}
	if !got["requeued"] || !got["unread"] {
		t.Errorf("got %v", got)
	}
	if err := la.Close(t.Context()); err != nil {
		t.Error(err)
	}
	w.wantNothing(lb, 20*time.Millisecond)
	if w.log.has("a message is lost: its sender has gone") != 1 {
		t.Error("it is not logged that what had been read is lost")
	}
	w.idle(a)
}

// TestListenRefused: a listener that cannot be announced is no listener.
func TestListenRefused(t *testing.T) {
	w := newWorld(t)
	n := w.open()
	w.memory.fail(errors.New("gone fishing"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := n.Listen(ctx, server("t", "s"))
	w.wantError(err, driver.ReasonNotConnected, false)
	if err := n.Ping(w.soon()); err == nil {
		t.Error("Ping says that all is well")
	}
	w.memory.fail(nil)
	if err := n.Ping(w.soon()); err != nil {
		t.Error(err)
	}
	m := cast("t", "m")
	m.FailFast = true
	w.wantError(w.send(n, m), driver.ReasonNoRoute, false)
}
