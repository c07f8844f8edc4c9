// SPDX-License-Identifier: Apache-2.0

package scripted

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	amqp "github.com/Azure/go-amqp"
)

// TestBroker is what the peer does without a script.
func TestBroker(t *testing.T) {
	for name, test := range map[string]func(*testing.T, *client){
		"queue": func(_ *testing.T, c *client) {
			s := c.sender("unicast.q")
			for _, body := range []string{"one", "two"} {
				c.wantOutcome(s, body, &amqp.StateAccepted{})
			}
			r := c.receiver("unicast.q", 1)
			for _, want := range []string{"one", "two"} {
				c.wantNext(r, want)
			}
		},
		"takes turns": func(_ *testing.T, c *client) {
			s := c.sender("unicast.q")
			a, b := c.receiver("unicast.q", 10), c.receiver("unicast.q", 10)
			eventually(c.t, "both have credit", func() bool { return len(c.peer.Named("flow")) == 2 })
			c.wantOutcome(s, "one", &amqp.StateAccepted{})
			c.wantOutcome(s, "two", &amqp.StateAccepted{})
			_, _ = c.receive(a)
			_, _ = c.receive(b)
		},
		"multicast": func(_ *testing.T, c *client) {
			s := c.sender("broadcast.q.all")
			a, b := c.receiver("broadcast.q.all", 1), c.receiver("broadcast.q.all", 1)
			eventually(c.t, "both listen", func() bool { return len(c.peer.Named("attach")) == 3 })
			c.wantOutcome(s, "one", &amqp.StateAccepted{})
			c.wantNext(a, "one")
			c.wantNext(b, "one")
		},
		"dynamic and anonymous": func(_ *testing.T, c *client) {
			r := c.receiver("", 10)
			relay := c.sender("")
			m := text("reply")
			to := r.Address()
			m.Properties = &amqp.MessageProperties{To: &to}
			if err := relay.Send(soon(c.t), m, nil); err != nil {
				c.t.Fatal(err)
			}
			c.wantNext(r, "reply")
			if got := c.peer.Messages(to); len(got) != 1 || got[0].Settled || !got[0].Attach.Anonymous {
				c.t.Errorf("recorded %+v", got)
			}
		},
		"settled": func(_ *testing.T, c *client) {
			s := c.sender("unicast.q")
			if err := s.Send(soon(c.t), text("one"), &amqp.SendOptions{Settled: true}); err != nil {
				c.t.Fatal(err)
			}
			c.wantNext(c.receiver("unicast.q", 1), "one")
			if m := c.peer.Messages("unicast.q"); !m[0].Settled {
				c.t.Errorf("recorded %+v", m[0])
			}
		},
		"credit goes round": func(_ *testing.T, c *client) {
			s, r := c.sender("unicast.q"), c.receiver("unicast.q", 10)
			for range 300 {
				c.wantOutcome(s, "x", &amqp.StateAccepted{})
				c.wantNext(r, "x")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := Run(t, Options{})
			test(t, connect(t, p))
			clean(t, p)
		})
	}
}

func (c *client) wantNext(r *amqp.Receiver, want string) {
	c.t.Helper()
	m, body := c.receive(r)
	if body != want {
		c.t.Errorf("received %q, want %q", body, want)
	}
	if err := r.AcceptMessage(soon(c.t), m); err != nil {
		c.t.Error(err)
	}
}

func (c *client) wantOutcome(s *amqp.Sender, body string, want amqp.DeliveryState) {
	c.t.Helper()
	state, err := c.send(s, body)
	if err != nil || describe(state) != describe(want) {
		c.t.Errorf("the outcome is %s, %v, want %s", describe(state), err, describe(want))
	}
}

func describe(state amqp.DeliveryState) string {
	switch s := state.(type) {
	case *amqp.StateAccepted:
		return "accepted"
	case *amqp.StateReleased:
		return "released"
	case *amqp.StateRejected:
		return "rejected " + string(s.Error.Condition) + " " + s.Error.Description
	case *amqp.StateModified:
		text := "modified"
		if s.DeliveryFailed {
			text += " failed"
		}
		if s.UndeliverableHere {
			text += " undeliverable"
		}
		return text
	default:
		return "none"
	}
}

func TestOutcomes(t *testing.T) {
	p := Run(t, Options{})
	c := connect(t, p)
	p.OnMessage("unicast.q",
		Action{Do: Release}, Action{Do: Release}, Action{},
		Action{Do: Modify}, Action{Do: Modify, Modified: Modified{Failed: true}},
		Action{Do: Modify, Modified: Modified{Undeliverable: true}}, Action{Do: Modify, Modified: Modified{true, true}},
		Action{Do: Reject, Err: &Error{Precondition, "no"}})
	s := c.sender("unicast.q")
	for _, want := range []amqp.DeliveryState{
		&amqp.StateReleased{}, &amqp.StateReleased{}, &amqp.StateAccepted{},
		&amqp.StateModified{}, &amqp.StateModified{DeliveryFailed: true},
		&amqp.StateModified{UndeliverableHere: true}, &amqp.StateModified{DeliveryFailed: true, UndeliverableHere: true},
		&amqp.StateRejected{Error: &amqp.Error{Condition: amqp.ErrCondPreconditionFailed, Description: "no"}},
		&amqp.StateAccepted{},
	} {
		c.wantOutcome(s, "m", want)
	}
	if n := len(p.Stored("unicast.q")); n != 2 {
		t.Errorf("%d messages are stored, want those that were accepted", n)
	}
	clean(t, p)
}

// TestForever and what a script without actions does.
func TestForever(t *testing.T) {
	p := Run(t, Options{})
	c := connect(t, p)
	s := c.sender("unicast.q")
	p.OnMessage("unicast.q", append(Times(2, Action{Do: Release}), Action{Do: Modify, Forever: true})...)
	for i := range 6 {
		want := amqp.DeliveryState(&amqp.StateModified{})
		if i < 2 {
			want = &amqp.StateReleased{}
		}
		c.wantOutcome(s, "m", want)
	}
	p.OnMessage("unicast.q")
	c.wantOutcome(s, "m", &amqp.StateAccepted{})
}

// TestGivenBack is what becomes of messages that a client did not accept.
func TestGivenBack(t *testing.T) {
	p := Run(t, Options{})
	c := connect(t, p)
	if !p.Publish("unicast.q", encode(nil, Described{uint64(0x77), "one"})) {
		t.Fatal("there is no node")
	}
	r := c.receiver("unicast.q", 10)
	attempts := func(m *amqp.Message) uint32 {
		if m.Header == nil {
			return 0
		}
		return m.Header.DeliveryCount
	}
	m, _ := c.receive(r)
	if err := r.ReleaseMessage(soon(t), m); err != nil || attempts(m) != 0 {
		t.Fatal(err, attempts(m))
	}
	m, _ = c.receive(r)
	if err := r.ModifyMessage(soon(t), m, &amqp.ModifyMessageOptions{DeliveryFailed: true}); err != nil || attempts(m) != 0 {
		t.Fatal(err, attempts(m))
	}
	m, _ = c.receive(r)
	if attempts(m) != 1 {
		t.Errorf("the delivery count is %d, want 1", attempts(m))
	}
	if n := p.Detach(Receives("unicast.q"), &Error{DetachForced, "go"}, true); n != 1 {
		t.Errorf("detached %d links", n)
	}
	if _, err := r.Receive(soon(t), nil); condition(err) != DetachForced {
		t.Errorf("the link ended with %v", err)
	}
	r = c.receiver("unicast.q", 10)
	m, body := c.receive(r)
	if attempts(m) != 2 || body != "one" {
		t.Errorf("the delivery count is %d, want 2", attempts(m))
	}
	if err := r.ModifyMessage(soon(t), m, &amqp.ModifyMessageOptions{UndeliverableHere: true}); err != nil {
		t.Fatal(err)
	}
	other := c.receiver("unicast.q", 10)
	m, _ = c.receive(other)
	if err := other.RejectMessage(soon(t), m, &amqp.Error{Condition: "amqp:decode-error"}); err != nil {
		t.Fatal(err)
	}
	last, err := p.Wait(soon(t), func(e Event) bool { return e.Disposition != nil && e.Disposition.Outcome == "rejected" })
	if err != nil || last.Disposition.Error.Condition != "amqp:decode-error" || !last.Disposition.Settled {
		t.Errorf("recorded %+v, %v", last.Disposition, err)
	}
	if n := len(p.Stored("unicast.q")); n != 0 {
		t.Errorf("%d messages are left", n)
	}
	clean(t, p)
}

func TestLargeInSmallFrames(t *testing.T) {
	p := Run(t, Options{MaxFrameSize: 512})
	c, err := dial(t, p, &amqp.ConnOptions{MaxFrameSize: 700})
	if err != nil {
		t.Fatal(err)
	}
	if c.ses, err = c.conn.NewSession(soon(t), nil); err != nil {
		t.Fatal(err)
	}
	body := strings.Repeat("0123456789", 2000)
	c.wantOutcome(c.sender("unicast.q"), body, &amqp.StateAccepted{})
	if m := p.Messages("unicast.q")[0]; m.Frames < 40 {
		t.Errorf("it came in %d frames", m.Frames)
	}
	c.wantNext(c.receiver("unicast.q", 1), body)
	clean(t, p)
}

func TestTooLarge(t *testing.T) {
	p := Run(t, Options{MaxMessageSize: 1000})
	c := connect(t, p)
	s := c.sender("unicast.q")
	if s.MaxMessageSize() != 1000 {
		t.Errorf("the limit is %d", s.MaxMessageSize())
	}
	if _, err := c.send(s, strings.Repeat("x", 2000)); condition(err) != "amqp:link:message-size-exceeded" {
		t.Errorf("got %v", err)
	}
	clean(t, p)
}

func TestCredit(t *testing.T) {
	p := Run(t, Options{Credit: 4})
	p.HoldCredit("unicast.q", true)
	c := connect(t, p)
	s := c.sender("unicast.q")
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Send(short, text("early"), nil); condition(err) != "amqp:link:transfer-limit-exceeded" {
		t.Errorf("got %v", err)
	}
	p.HoldCredit("unicast.q", false)
	for range 20 {
		c.wantOutcome(s, "m", &amqp.StateAccepted{})
	}
	p.HoldCredit("unicast.q", true)
	done := make(chan error, 1)
	go func() { done <- s.Send(soon(t), text("late"), nil) }()
	p.HoldCredit("unicast.q", false)
	if err := <-done; err != nil {
		t.Error(err)
	}
	clean(t, p)
}

func TestDrain(t *testing.T) {
	p := Run(t, Options{})
	c := connect(t, p)
	r, err := c.ses.NewReceiver(soon(t), "unicast.q", &amqp.ReceiverOptions{Credit: -1})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.IssueCredit(5); err != nil {
		t.Fatal(err)
	}
	if err := r.DrainCredit(soon(t), nil); err != nil {
		t.Fatal(err)
	}
	p.Publish("unicast.q", encode(nil, Described{uint64(0x77), "late"}))
	if m := r.Prefetched(); m != nil || len(p.Stored("unicast.q")) != 1 {
		t.Errorf("delivered %v without credit", m)
	}
	if err := r.IssueCredit(1); err != nil {
		t.Fatal(err)
	}
	c.wantNext(r, "late")
	clean(t, p)
}

// TestAttachFaults is each way not to attach a link.
func TestAttachFaults(t *testing.T) {
	no := &Error{NotImplemented, "no dynamic sources"}
	for name, tt := range map[string]struct {
		act      Action
		attaches bool // before the fault
		session  bool // is over
		conn     bool
	}{
		"refused":         {act: Action{Do: Refuse, Err: no}},
		"detached":        {act: Action{Do: Detach, Err: no}, attaches: true},
		"session ended":   {act: Action{Do: EndSession, Err: no}, session: true},
		"connection over": {act: Action{Do: CloseConn, Err: no}, session: true, conn: true},
	} {
		for _, dynamic := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				p := Run(t, Options{})
				c := connect(t, p)
				var err error
				attach := func() (err error) {
					if !dynamic {
						_, err = c.ses.NewSender(soon(t), "unicast.q", nil)
						return err
					}
					r, err := c.ses.NewReceiver(soon(t), "", &amqp.ReceiverOptions{DynamicAddress: true})
					if err == nil {
						_, err = r.Receive(soon(t), nil)
					}
					return err
				}
				p.OnReceiver(DynamicSource, tt.act)
				p.OnSender("unicast.q", tt.act)
				if err := attach(); condition(err) != NotImplemented && (dynamic || !tt.attaches) {
					t.Fatalf("got %v", err)
				}
				select {
				case <-c.conn.Done():
					if !tt.conn {
						t.Errorf("the connection is over: %v", c.conn.Err())
					}
				default:
				}
				// The library may use the handle again before it has answered the detach, so this needs
				// a session of its own; the first one is not to end of it.
				if !tt.conn {
					ended := len(p.Named("end"))
					first := c.ses
					if c.ses, err = c.conn.NewSession(soon(t), nil); err != nil {
						t.Fatal(err)
					}
					_ = c.receiver("unicast.other", 1)
					if !tt.session && ended > 0 {
						t.Error("the session is over")
					}
					_ = first.Close(soon(t))
				}
				clean(t, p)
			})
		}
	}
}

// TestMessageFaults is each way not to answer a message.
func TestMessageFaults(t *testing.T) {
	for name, tt := range map[string]struct {
		act    Action
		stored int
		fails  func(error) bool
	}{
		"ignored": {Action{Do: Ignore}, 1, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
		"lost":    {Action{Do: Ignore, Lose: true}, 0, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
		"detached": {
			Action{Do: Detach, Err: &Error{InternalError, "x"}}, 1,
			func(err error) bool { return condition(err) == InternalError },
		},
		"ended": {
			Action{Do: EndSession, Err: &Error{InternalError, "x"}}, 1,
			func(err error) bool { return condition(err) == InternalError },
		},
		"closed": {
			Action{Do: CloseConn, Err: &Error{ConnectionForced, "x"}, Lose: true}, 0,
			func(err error) bool { return condition(err) == ConnectionForced },
		},
		"cut": {Action{Do: Cut}, 1, func(err error) bool { _, ok := errors.AsType[*amqp.ConnError](err); return ok }},
	} {
		t.Run(name, func(t *testing.T) {
			p := Run(t, Options{})
			c := connect(t, p)
			p.OnMessage("unicast.q", tt.act)
			receipt, err := c.sender("unicast.q").SendWithReceipt(soon(t), text("m"), nil)
			if err != nil {
				t.Fatal(err)
			}
			happens(t, p, 0, "message")
			wait := patience
			if tt.act.Do == Ignore {
				wait = 50 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			if _, err := receipt.Wait(ctx); !tt.fails(err) {
				t.Errorf("got %v", err)
			}
			if n := len(p.Stored("unicast.q")); n != tt.stored {
				t.Errorf("%d messages are stored, want %d", n, tt.stored)
			}
			clean(t, p)
		})
	}
}

// TestLiveFaults is what happens when a test says so.
func TestLiveFaults(t *testing.T) {
	p := Run(t, Options{})
	c := connect(t, p)
	s := c.sender("unicast.q")
	p.EmptyFrames(true)
	if p.Stray(Sends("unicast.q")) != 1 {
		t.Error("no link")
	}
	c.wantOutcome(s, "m", &amqp.StateAccepted{})
	p.EmptyFrames(false)

	r, err := c.ses.NewReceiver(soon(t), "unicast.over", &amqp.ReceiverOptions{Credit: -1})
	if err != nil {
		t.Fatal(err)
	}
	p.Publish("unicast.over", encode(nil, Described{uint64(0x77), "m"}))
	if n := p.Overrun(Receives("unicast.over"), 2); n != 1 {
		t.Errorf("delivered %d", n)
	}
	_, _ = c.receive(r)

	p.EndSessions(Sends("unicast.q"), &Error{InternalError, "enough"})
	if _, err := c.send(s, "m"); condition(err) != InternalError {
		t.Errorf("got %v", err)
	}
	if c.ses, err = c.conn.NewSession(soon(t), nil); err != nil {
		t.Fatal(err)
	}
	s = c.sender("unicast.q")
	p.CloseConns(&Error{ConnectionForced, "enough"})
	<-c.conn.Done()
	if err := c.conn.Err(); condition(err) != ConnectionForced {
		t.Errorf("got %v", err)
	}
	if _, err := c.send(s, "m"); condition(err) != ConnectionForced {
		t.Errorf("got %v", err)
	}
	eventually(t, "the connection is over", func() bool { return p.Conns() == 0 })
	clean(t, p)
}

// TestDynamicNodeEnds with its connection, at whoever sends to it.
func TestDynamicNodeEnds(t *testing.T) {
	p := Run(t, Options{})
	caller, server := connect(t, p), connect(t, p)
	address := caller.receiver("", 1).Address()
	s := server.sender(address)
	_ = caller.conn.Close()
	eventually(t, "the sender is detached", func() bool { _, err := server.send(s, "m"); return condition(err) == ResourceDeleted })
	late, err := server.ses.NewSender(soon(t), address, nil)
	if err == nil {
		_, err = server.send(late, "m")
	}
	if condition(err) != NotFound {
		t.Errorf("got %v", err)
	}
	relay := server.sender("")
	m := text("reply")
	m.Properties = &amqp.MessageProperties{To: &address}
	if err := relay.Send(soon(t), m, nil); condition(err) != NotFound {
		t.Errorf("got %v", err)
	}
	clean(t, p)
}

func TestSilence(t *testing.T) {
	t.Run("of the client", func(t *testing.T) {
		p := Run(t, Options{IdleTimeout: 200 * time.Millisecond})
		c := connect(t, p) // which sends empty frames
		happens(t, p, 0, "empty")
		clean(t, p)
		_ = c.conn.Close()
		raw := rawClient(t, p)
		raw.open()
		eventually(t, "the silent client is closed", func() bool { return len(p.Violations()) == 1 })
	})
	t.Run("of the peer", func(t *testing.T) {
		p := Run(t, Options{})
		c, err := dial(t, p, &amqp.ConnOptions{IdleTimeout: 300 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-c.conn.Done():
			t.Fatalf("the peer was silent: %v", c.conn.Err())
		case <-time.After(700 * time.Millisecond):
		}
		p.Mute(true)
		<-c.conn.Done()
		p.Mute(false)
		clean(t, p)
	})
}
