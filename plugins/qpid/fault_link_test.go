// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
	"github.com/parleymq/parley/plugins/qpid/internal/scripted"
)

// enough is the error of a peer that had enough.
func enough(condition string) *scripted.Error {
	return &scripted.Error{Condition: condition, Description: "had enough"}
}

// queued sends casts one by one without waiting, and returns where their results come.
func (f *faults) queued(n int) ([]*driver.Message, <-chan error) {
	results := make(chan error, n)
	batch := make([]*driver.Message, n)
	for i := range batch {
		batch[i] = testkit.Cast(i)
	}
	f.conn.SendAsync(soon(f.t), batch, func(_ int, err error) { results <- err })
	return batch, results
}

// link waits for a link on which the driver sends to an address, after n events, and for the driver
// to know its credit, as far as that can be seen.
func (f *faults) link(n int, address string) scripted.Event {
	f.t.Helper()
	return f.happens(n, "a link to "+address, func(e scripted.Event) bool {
		return e.Name == "attach" && e.Attach.Sender && e.Attach.Address == address
	})
}

// TestFaultSenderDetachedWhilePending is a sender's link that the peer ends before anything left: what
// waits goes on with a new link.
func TestFaultSenderDetachedWhilePending(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		err  *scripted.Error
	}{
		{"in order", nil},
		{"forced", enough(scripted.DetachForced)},
		{"limit", enough(scripted.ResourceLimit)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFaults(t, scripted.Options{}, nil)
			f.peer.HoldCredit(toAny, true)
			batch, results := f.queued(3)
			first := f.link(0, toAny)
			eventually(t, "the link is there", func() bool { return f.peer.Detach(scripted.Sends(toAny), tt.err, true) == 1 })
			second := f.happens(0, "another link", func(e scripted.Event) bool {
				return e.Name == "attach" && e.Attach.Address == toAny && e.Attach.Name != first.Attach.Name
			})
			f.peer.HoldCredit(toAny, false)
			for range batch {
				if err := <-results; err != nil {
					t.Error(err)
				}
			}
			for _, m := range batch {
				if n := f.transfers(toAny, m.UniqueID); n != 1 {
					t.Errorf("%d transfers, want 1", n)
				}
			}
			t.Logf("the links: %s, and %v later %s", first.Attach.Name, second.At.Sub(first.At).Round(time.Millisecond), second.Attach.Name)
		})
	}
}

// TestFaultSenderDetachedWhileSent is a link that ends between a message and its outcome: the message is
// in doubt, and never sent again.
func TestFaultSenderDetachedWhileSent(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		action scripted.Action
		text   string
		wait   time.Duration
	}{
		{"detached", scripted.Action{Do: scripted.Detach, Err: enough(scripted.InternalError)}, "had enough", patience},
		{"without an error", scripted.Action{Do: scripted.Detach}, toAny, patience},
		// The library has no non-closing detach and waits for another one: the time of the message ends it.
		{"not closed", scripted.Action{Do: scripted.Detach, Err: enough(scripted.InternalError), Unclosed: true}, "", 2 * time.Second},
		{"session ended", scripted.Action{Do: scripted.EndSession, Err: enough(scripted.InternalError)}, "had enough", patience},
		{"session ended in order", scripted.Action{Do: scripted.EndSession}, toAny, patience},
		{"connection closed", scripted.Action{Do: scripted.CloseConn, Err: enough(scripted.ConnectionForced)}, "had enough", patience},
		{"cut", scripted.Action{Do: scripted.Cut}, "the connection was lost", patience},
		{"no answer", scripted.Action{Do: scripted.Ignore}, "did not say", 2 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFaults(t, scripted.Options{}, nil)
			f.peer.OnMessage(toAny, tt.action)
			m := testkit.Cast(1)
			started := time.Now()
			e := driver.AsError(f.send(testkit.Within(t, tt.wait), m))
			if e == nil {
				t.Fatal("no error")
			}
			checkError(t, e, e.Reason, tt.text)
			wantDoubt(t, e, true)
			if took := time.Since(started); tt.wait == patience && took > patience/2 {
				t.Errorf("it took %v", took)
			}
			f.sends(testkit.Cast(2)) // by a new link, session or connection
			if n := f.transfers(toAny, m.UniqueID); n != 1 || len(f.peer.Messages(toAny)) != 2 {
				t.Errorf("it was sent %d times, of %d transfers", n, len(f.peer.Messages(toAny)))
			}
		})
	}
}

// TestFaultReceiverDetached is each link of a server that the peer ends: it is made again at the same
// address, and what was given before is given again.
func TestFaultReceiverDetached(t *testing.T) {
	t.Parallel()
	faults := map[string]func(*scripted.Peer, func(*scripted.Attach) bool) int{
		"closed": func(p *scripted.Peer, m func(*scripted.Attach) bool) int { return p.Detach(m, nil, true) },
		"forced": func(p *scripted.Peer, m func(*scripted.Attach) bool) int {
			return p.Detach(m, enough(scripted.DetachForced), true)
		},
		"deleted": func(p *scripted.Peer, m func(*scripted.Attach) bool) int {
			return p.Detach(m, enough(scripted.ResourceDeleted), true)
		},
		"session": func(p *scripted.Peer, m func(*scripted.Attach) bool) int {
			return p.EndSessions(m, enough(scripted.InternalError))
		},
	}
	for name, fault := range faults {
		for _, address := range []string{toOne, toAll, toAny} {
			t.Run(name+" "+address, func(t *testing.T) {
				f := newFaults(t, scripted.Options{}, nil)
				l := f.server(driver.SettleOnDone)
				m := f.messageFor(address)
				f.sends(m)
				before := testkit.Poll(soon(t), t, l, 1, 10)
				n := len(f.peer.Events())
				if fault(f.peer, scripted.Receives(address)) != 1 {
					t.Fatal("there is no such link")
				}
				started := time.Now()
				f.happens(n, "the link is made again", func(e scripted.Event) bool {
					return e.Name == "attach" && !e.Attach.Sender && e.Attach.Address == address
				})
				t.Logf("the link is back after %v", time.Since(started).Round(time.Millisecond))
				testkit.Settle(soon(t), t, l, driver.Accepted, before...) // late, and no harm (DONE-2)
				if address != toAll {                                     // copies of a fanout end with their link
					again := testkit.Poll(soon(t), t, l, 1, 10)
					if again[0].UniqueID != m.UniqueID || !again[0].Redelivered {
						t.Errorf("delivered again: %+v", again[0])
					}
					testkit.Settle(soon(t), t, l, driver.Accepted, again...)
				}
				f.happens(n, "the new link has credit", func(e scripted.Event) bool { return e.Name == "flow" })
				next := f.messageFor(address)
				f.sends(next)
				if ds := testkit.Poll(soon(t), t, l, 1, 10); ds[0].UniqueID != next.UniqueID {
					t.Errorf("delivered %q, want %q", ds[0].UniqueID, next.UniqueID)
				}
			})
		}
	}
}

// messageFor is a cast that goes to one of a server's addresses.
func (f *faults) messageFor(address string) *driver.Message {
	m := testkit.Cast(1)
	m.Target.Fanout = address == toAll
	if address == toOne {
		m.Target.Server = "s1"
	}
	return m
}

// TestFaultReceiverDetachedForGood is a detach that does not close the link, which RabbitMQ sends.
func TestFaultReceiverDetachedForGood(t *testing.T) {
	t.Parallel()
	f := newFaults(t, scripted.Options{}, nil)
	l := f.server(driver.SettleOnPoll)
	n := len(f.peer.Events())
	f.peer.Detach(scripted.Receives(toAny), enough(scripted.DetachForced), false)
	f.happens(n, "the link is made again", func(e scripted.Event) bool {
		return e.Name == "attach" && !e.Attach.Sender && e.Attach.Address == toAny
	})
	m := testkit.Cast(1)
	f.sends(m)
	testkit.Poll(soon(t), t, l, 1, 10)
}

// answer is what a server sends back to a message.
func (f *faults) answer(m *scripted.Message, body string) {
	f.t.Helper()
	request, err := m.Decode()
	if err != nil {
		f.t.Fatal(err)
	}
	to := *request.Properties.ReplyTo
	reply := &amqp.Message{
		Properties: &amqp.MessageProperties{To: &to, CorrelationID: request.Properties.MessageID},
		Value:      fmt.Sprintf(`{"response": %s}`, body),
	}
	payload, err := reply.MarshalBinary()
	if err != nil {
		f.t.Fatal(err)
	}
	if !f.peer.Publish(to, payload) {
		f.t.Errorf("there is no node %s to answer to", to)
	}
}

// works asserts that a new call is answered.
func (f *faults) works(l driver.Listener) {
	f.t.Helper()
	m := testkit.Call("r")
	f.sends(m)
	f.answer(f.arrives(toAny, m.CallID), "42")
	ds := testkit.Poll(soon(f.t), f.t, l, 1, 10)
	if ds[0].Lost != nil || ds[0].CallID != m.CallID || string(ds[0].Body) != "42" {
		f.t.Errorf("the answer is %+v", ds[0])
	}
	testkit.Settle(soon(f.t), f.t, l, driver.Accepted, ds...)
}

// TestFaultReplyLinkLost is the end of the address for answers: the calls sent with it are lost, once, and
// nothing else is (LOST-1, LOST-2).
func TestFaultReplyLinkLost(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*scripted.Peer){
		"detached":          func(p *scripted.Peer) { p.Detach(scripted.IsDynamic, enough(scripted.ResourceDeleted), true) },
		"detached in order": func(p *scripted.Peer) { p.Detach(scripted.IsDynamic, nil, true) },
		"not closed":        func(p *scripted.Peer) { p.Detach(scripted.IsDynamic, enough(scripted.DetachForced), false) },
		"session ended":     func(p *scripted.Peer) { p.EndSessions(scripted.IsDynamic, enough(scripted.InternalError)) },
		"connection closed": func(p *scripted.Peer) { p.CloseConns(enough(scripted.ConnectionForced)) },
		"cut":               func(p *scripted.Peer) { p.CutAll() },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFaults(t, scripted.Options{}, nil)
			l := listen(t, f.conn, testkit.Replies("r"))
			f.works(l)
			lost := map[string]bool{}
			for range 3 {
				m := testkit.Call("r")
				f.sends(m)
				lost[m.CallID] = true
			}
			// One call waits for credit, and goes with the next address.
			f.peer.HoldCredit(toOne, true)
			waiting, result := testkit.Call("r"), make(chan error, 1)
			waiting.Target.Server = "s1"
			go func() { result <- f.conn.Send(soon(t), []*driver.Message{waiting}) }()
			f.st.Await(t, 0, driver.Blocked) // it does

			started := time.Now()
			fault(f.peer)
			for _, d := range testkit.Poll(soon(t), t, l, len(lost), 10) {
				if d.Lost == nil || !lost[d.CallID] || d.Token != 0 || d.Kind != driver.Reply {
					t.Fatalf("delivered %+v", d)
				}
				delete(lost, d.CallID)
				wantDoubt(t, wantError(t, d.Lost, driver.ReasonNotConnected, "reply"), true)
			}
			t.Logf("lost after %v", time.Since(started).Round(time.Millisecond))
			f.works(l)
			f.peer.HoldCredit(toOne, false)
			if err := <-result; err != nil {
				t.Errorf("the call that was not sent yet: %v", err)
			}
			f.answer(f.arrives(toOne, waiting.CallID), "43")
			if ds := testkit.Poll(soon(t), t, l, 1, 10); ds[0].Lost != nil || ds[0].CallID != waiting.CallID {
				t.Errorf("the answer is %+v", ds[0])
			}
			testkit.Nothing(t, l)
			if n := f.transfers(toOne, waiting.CallID); n != 1 {
				t.Errorf("%d transfers, want 1", n)
			}
		})
	}
}

// TestFaultNoDynamicNodes is a peer that makes no reply addresses: a named one is taken.
func TestFaultNoDynamicNodes(t *testing.T) {
	t.Parallel()
	no := &scripted.Error{Condition: scripted.NotImplemented, Description: "no dynamic sources"}
	for name, act := range map[string]scripted.Action{
		"refused":               {Do: scripted.Refuse, Err: no, Forever: true},
		"detached":              {Do: scripted.Detach, Err: no, Forever: true},
		"session ended":         {Do: scripted.EndSession, Err: no, Forever: true}, // RabbitMQ
		"not found":             {Do: scripted.Refuse, Err: enough(scripted.NotFound), Forever: true},
		"refused without cause": {Do: scripted.Refuse, Forever: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := scripted.Run(t, scripted.Options{})
			p.OnReceiver(scripted.DynamicSource, act)
			f := atPeer(t, p, nil, nil)
			started := time.Now()
			l := listen(t, f.conn, testkit.Replies("r"))
			f.happens(0, "a named address is taken", func(e scripted.Event) bool {
				return e.Name == "attach" && strings.HasPrefix(e.Attach.Address, "openstack.org.om.reply.")
			})
			t.Logf("listening after %v", time.Since(started).Round(time.Millisecond))
			f.works(l)
			f.happens(0, "the answer is accepted", func(e scripted.Event) bool { return e.Disposition != nil })
			n := len(p.Events())
			p.Detach(func(a *scripted.Attach) bool { return !a.Sender }, nil, true)
			f.happens(n, "the reply link is made again", func(e scripted.Event) bool {
				return e.Name == "attach" && e.Attach.Address != "" && !e.Attach.Sender
			})
			f.works(l)
		})
	}
	t.Run("no named one either", func(t *testing.T) {
		p := scripted.Run(t, scripted.Options{})
		p.OnReceiver(scripted.DynamicSource, scripted.Action{Do: scripted.Refuse, Err: no, Forever: true})
		p.OnReceiver(scripted.Anything, scripted.Action{Do: scripted.Refuse, Err: enough(scripted.Unauthorized), Forever: true})
		f := atPeer(t, p, nil, nil)
		started := time.Now()
		_, err := f.conn.Listen(soon(t), testkit.Replies("r"))
		t.Logf("after %v: %v", time.Since(started).Round(time.Millisecond), err)
		checkError(t, err, driver.ReasonAccessRefused, "no dynamic sources", "had enough", "openstack.org.om.reply.")
		f.sends(testkit.Cast(1)) // needs no answer
	})
}

// TestFaultAttachNotAnswered is a peer that says nothing to an attach: others go on, and the time of the
// message ends it.
func TestFaultAttachNotAnswered(t *testing.T) {
	t.Parallel()
	p := scripted.Run(t, scripted.Options{})
	p.OnSender(toAny, scripted.Action{Do: scripted.Ignore, Forever: true})
	f := atPeer(t, p, nil, nil)
	result := make(chan error, 1)
	go func() { result <- f.send(testkit.Within(t, 2*time.Second), testkit.Cast(1)) }()
	f.link(0, toAny)
	f.sends(f.messageFor(toOne))
	e := driver.AsError(<-result)
	if e == nil || e.InDoubt {
		t.Fatalf("got %v", e)
	}
}

// TestFaultSenderRefused is an address that the peer does not take messages for.
func TestFaultSenderRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		act    scripted.Action
		reason driver.Reason
	}{
		"not found":     {scripted.Action{Do: scripted.Refuse, Err: enough(scripted.NotFound), Forever: true}, driver.ReasonNoRoute},
		"unauthorized":  {scripted.Action{Do: scripted.Refuse, Err: enough(scripted.Unauthorized), Forever: true}, driver.ReasonAccessRefused},
		"detached":      {scripted.Action{Do: scripted.Detach, Err: enough(scripted.NotFound), Forever: true}, driver.ReasonNoRoute},
		"session ended": {scripted.Action{Do: scripted.EndSession, Err: enough(scripted.Unauthorized), Forever: true}, driver.ReasonAccessRefused},
	} {
		t.Run(name, func(t *testing.T) {
			p := scripted.Run(t, scripted.Options{})
			p.OnSender(toAny, tt.act)
			p.HoldCredit(toAny, true) // else the message is on its way to a link that was attached
			f := atPeer(t, p, nil, nil)
			wantDoubt(t, f.fails(soon(t), testkit.Cast(1), tt.reason, toAny, "had enough"), false)
			f.sends(f.messageFor(toOne))
			if n := len(p.Messages(toAny)); n != 0 {
				t.Errorf("%d messages were sent", n)
			}
		})
	}
}

// TestFaultServerRefused is an address that the peer gives nothing from: Listen says so.
func TestFaultServerRefused(t *testing.T) {
	t.Parallel()
	p := scripted.Run(t, scripted.Options{})
	p.OnReceiver(toAll, scripted.Action{Do: scripted.Refuse, Err: enough(scripted.Unauthorized), Forever: true})
	f := atPeer(t, p, nil, nil)
	started := time.Now()
	_, err := f.conn.Listen(soon(t), testkit.Server("s1", driver.SettleOnPoll))
	t.Logf("after %v: %v", time.Since(started).Round(time.Millisecond), err)
	checkError(t, err, driver.ReasonAccessRefused, toAll, "had enough")
}

// TestFaultStrayFrames are dispositions for nothing, empty frames, and more messages than asked for: the
// driver goes on.
func TestFaultStrayFrames(t *testing.T) {
	t.Parallel()
	f := newFaults(t, scripted.Options{}, nil)
	f.peer.EmptyFrames(true)
	l := f.server(driver.SettleOnPoll)
	f.sends(testkit.Cast(1))
	testkit.Poll(soon(t), t, l, 1, 1)
	f.peer.Stray(func(*scripted.Attach) bool { return true })
	f.sends(testkit.Cast(2))
	testkit.Poll(soon(t), t, l, 1, 1)
	f.peer.OnReceiver(toAny, scripted.Action{})
	for i := range 50 {
		f.sends(testkit.Cast(i))
	}
	f.peer.Overrun(scripted.Receives(toAny), 50)
	testkit.Poll(soon(t), t, l, 50, 7)
	f.sends(testkit.Cast(3))
	testkit.Poll(soon(t), t, l, 1, 1)
}
