// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
	"github.com/parleymq/parley/plugins/qpid/internal/scripted"
)

// The addresses of the tests' messages at a peer without a product, which is legacy.
const (
	toAny   = "unicast.openstack.v"
	toOne   = "exclusive.openstack.v.s1"
	toAll   = "broadcast.openstack.v.all"
	toEvent = "unicast.openstack.notifs.info"
)

// faults is a Conn at a scripted peer.
type faults struct {
	t    *testing.T
	peer *scripted.Peer
	conn *conn
	st   *testkit.States
	logs *testkit.Logs
}

// faultOptions make the driver quick, and its casts wait for the peer's word.
func faultOptions(options map[string]string) map[string]string {
	all := map[string]string{optLinkRetryDelay: "0.1", optRetryInterval: "0.1", optIntervalMax: "0.2", optReliableCasts: "true"}
	maps.Copy(all, options)
	return all
}

// newFaults opens a Conn to a peer. What the driver must not do at a peer fails the test.
func newFaults(t *testing.T, peer scripted.Options, options map[string]string) *faults {
	t.Helper()
	return atPeer(t, scripted.Run(t, peer), options, nil)
}

// atPeer opens a Conn to a peer that there is, with a Config that change may change.
func atPeer(t *testing.T, p *scripted.Peer, options map[string]string, change func(*driver.Config)) *faults {
	t.Helper()
	f := &faults{t: t, peer: p, st: testkit.NewStates(), logs: &testkit.Logs{}}
	t.Cleanup(func() {
		for _, v := range p.Violations() {
			t.Errorf("the driver must not do that: %s", v)
		}
		if t.Failed() {
			t.Logf("the driver's log:\n%s", f.logs)
		}
	})
	cfg := testkit.Config(t, newDriver(), p.Addr(), "", f.logs, faultOptions(options))
	cfg.Report = f.st.Report
	if change != nil {
		change(&cfg)
	}
	f.conn = open(t, cfg)
	return f
}

// send sends one message and logs what became of it, and how long that took.
func (f *faults) send(ctx context.Context, m *driver.Message) error {
	f.t.Helper()
	started := time.Now()
	err := f.conn.Send(ctx, []*driver.Message{m})
	f.t.Logf("%s: after %v: %v", m.Kind, time.Since(started).Round(time.Millisecond), err)
	return err
}

// sends is send without an error.
func (f *faults) sends(m *driver.Message) {
	f.t.Helper()
	if err := f.send(soon(f.t), m); err != nil {
		f.t.Fatal(err)
	}
}

// fails is send with an error of that reason whose text has all of the texts.
func (f *faults) fails(ctx context.Context, m *driver.Message, want driver.Reason, texts ...string) *driver.Error {
	f.t.Helper()
	return wantError(f.t, f.send(ctx, m), want, texts...)
}

func wantError(t *testing.T, err error, want driver.Reason, texts ...string) *driver.Error {
	t.Helper()
	e, ok := errors.AsType[*driver.Error](err)
	if !ok || e.Reason != want {
		t.Fatalf("got %v, want %s", err, want)
	}
	for _, text := range texts {
		if !strings.Contains(e.Error(), text) {
			t.Errorf("%q does not say %q", e, text)
		}
	}
	return e
}

// checkError is wantError for who has seen enough.
func checkError(t *testing.T, err error, want driver.Reason, texts ...string) {
	t.Helper()
	_ = wantError(t, err, want, texts...)
}

// wantDoubt asserts whether a message may have arrived.
func wantDoubt(t *testing.T, e *driver.Error, want bool) {
	t.Helper()
	if e.InDoubt != want {
		t.Errorf("in doubt is %t, want %t: %v", e.InDoubt, want, e)
	}
}

// transfers is how often the message with an id was sent to an address, over all connections.
func (f *faults) transfers(address, id string) int {
	f.t.Helper()
	n := 0
	for _, m := range f.peer.Messages(address) {
		if f.id(m) == id {
			n++
		}
	}
	return n
}

func (f *faults) id(m *scripted.Message) string {
	f.t.Helper()
	msg, err := m.Decode()
	if err != nil {
		f.t.Fatal(err)
	}
	id, _ := msg.Properties.MessageID.(string)
	return id
}

// happens waits for an event at the peer after the first n.
func (f *faults) happens(n int, what string, match func(scripted.Event) bool) scripted.Event {
	f.t.Helper()
	e, err := f.peer.WaitAfter(soon(f.t), n, match)
	if err != nil {
		f.t.Fatalf("%s: %v", what, err)
	}
	return e
}

// arrives waits until a message with an id was sent to an address.
func (f *faults) arrives(address, id string) *scripted.Message {
	f.t.Helper()
	return f.happens(0, "the message arrives", func(e scripted.Event) bool {
		return e.Message != nil && e.Message.Address == address && f.id(e.Message) == id
	}).Message
}

// server listens as server s1.
func (f *faults) server(settle driver.Settle) driver.Listener {
	f.t.Helper()
	return listen(f.t, f.conn, testkit.Server("s1", settle))
}

// notification is one to toEvent.
func notification() *driver.Message {
	m := testkit.Cast(0)
	m.Kind, m.Priority, m.Format = driver.Notification, "info", driver.NotificationV2
	m.Target = driver.Target{Exchange: "openstack", Topic: "notifs"}
	m.Body = []byte(`{"message_id": "1", "publisher_id": "p", "event_type": "e", "priority": "INFO", "payload": {}, "timestamp": "t"}`)
	return m
}

// TestFaultReleased is a message that the next hop gives back: it is sent again, and delivered once.
func TestFaultReleased(t *testing.T) {
	t.Parallel()
	t.Run("twice", func(t *testing.T) {
		f := newFaults(t, scripted.Options{}, nil)
		l := f.server(driver.SettleOnPoll)
		f.peer.OnMessage(toAny, scripted.Times(2, scripted.Action{Do: scripted.Release})...)
		m := testkit.Cast(1)
		f.sends(m)
		if ds := testkit.Poll(soon(t), t, l, 1, 10); ds[0].UniqueID != m.UniqueID {
			t.Errorf("delivered %q, want %q", ds[0].UniqueID, m.UniqueID)
		}
		testkit.Nothing(t, l)
		if n := f.transfers(toAny, m.UniqueID); n != 3 || len(f.peer.Messages(toAny)) != 3 {
			t.Errorf("%d of %d transfers have the message's id, want 3 of 3", n, len(f.peer.Messages(toAny)))
		}
	})
	t.Run("call keeps its id", func(t *testing.T) {
		f := newFaults(t, scripted.Options{}, nil)
		listen(t, f.conn, testkit.Replies("r"))
		f.peer.OnMessage(toAny, scripted.Times(2, scripted.Action{Do: scripted.Release})...)
		m := testkit.Call("r")
		f.sends(m)
		if n := f.transfers(toAny, m.CallID); n != 3 {
			t.Errorf("%d transfers, want 3", n)
		}
	})
	t.Run("for ever", func(t *testing.T) {
		f := newFaults(t, scripted.Options{}, nil)
		f.peer.OnMessage(toAny, scripted.Action{Do: scripted.Release, Forever: true})
		// Its time ends in the middle between two of its tries; on a busy machine the peer's word on one
		// may be on its way then, which is in doubt, but not three times.
		var err error
		for range 3 {
			err = f.send(testkit.Within(t, 1150*time.Millisecond), testkit.Cast(1))
			if driver.ReasonOf(err) != driver.ReasonExpired {
				break
			}
		}
		wantDoubt(t, wantError(t, err, driver.ReasonNoRoute, toAny, "released"), false)
	})
	t.Run("others go on", func(t *testing.T) {
		f := newFaults(t, scripted.Options{}, nil)
		f.peer.OnMessage(toAny, scripted.Action{Do: scripted.Release}, scripted.Action{}, scripted.Action{}, scripted.Action{})
		batch := []*driver.Message{testkit.Cast(1), testkit.Cast(2), testkit.Cast(3)}
		if err := f.conn.Send(soon(t), batch); err != nil {
			t.Fatal(err)
		}
		if n := len(f.peer.Stored(toAny)); n != 3 {
			t.Errorf("%d are stored, want 3", n)
		}
	})
}

// TestFaultModified is each combination of the two flags of a modified outcome.
func TestFaultModified(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		flags  scripted.Modified
		reason driver.Reason // empty when it is sent again
		text   string
		doubt  bool
	}{
		{"neither", scripted.Modified{}, "", "", false},
		{"delivery-failed", scripted.Modified{Failed: true}, driver.ReasonInternal, "delivery-failed", true},
		{"undeliverable-here", scripted.Modified{Undeliverable: true}, driver.ReasonNoRoute, "undeliverable-here", false},
		{"both", scripted.Modified{Failed: true, Undeliverable: true}, driver.ReasonInternal, "delivery-failed", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFaults(t, scripted.Options{}, nil)
			f.peer.OnMessage(toAny, scripted.Action{Do: scripted.Modify, Modified: tt.flags})
			m, want := testkit.Cast(1), 1
			if tt.reason == "" {
				f.sends(m)
				want = 2
			} else {
				wantDoubt(t, f.fails(soon(t), m, tt.reason, toAny, tt.text), tt.doubt)
			}
			if n := f.transfers(toAny, m.UniqueID); n != want {
				t.Errorf("%d transfers, want %d", n, want)
			}
			f.sends(testkit.Cast(2))
		})
	}
}

// TestFaultRejected is a message that the peer refuses: an error of its own, and no second try.
func TestFaultRejected(t *testing.T) {
	t.Parallel()
	for condition, want := range map[string]driver.Reason{
		scripted.NotFound:                 driver.ReasonNoRoute,
		scripted.Unauthorized:             driver.ReasonAccessRefused,
		scripted.Precondition:             driver.ReasonPrecondition,
		scripted.ResourceLimit:            driver.ReasonBrokerBlocked,
		scripted.NotImplemented:           driver.ReasonUnsupported,
		"amqp:link:message-size-exceeded": driver.ReasonMessageTooLarge,
		"amqp:decode-error":               driver.ReasonInternal,
		"vendor:own":                      driver.ReasonInternal,
	} {
		t.Run(condition, func(t *testing.T) {
			f := newFaults(t, scripted.Options{}, nil)
			f.peer.OnMessage(toAny, scripted.Action{Do: scripted.Reject, Err: &scripted.Error{Condition: condition, Description: "not this one"}})
			m := testkit.Cast(1)
			wantDoubt(t, f.fails(soon(t), m, want, "rejected", "not this one", condition, toAny), false)
			f.sends(testkit.Cast(2))
			if n := f.transfers(toAny, m.UniqueID); n != 1 {
				t.Errorf("%d transfers, want 1", n)
			}
		})
	}
	t.Run("without an error", func(t *testing.T) {
		f := newFaults(t, scripted.Options{}, nil)
		f.peer.OnMessage(toAny, scripted.Action{Do: scripted.Reject})
		wantDoubt(t, f.fails(soon(t), testkit.Cast(1), driver.ReasonInternal, "rejected", toAny), false)
	})
	t.Run("one of a batch", func(t *testing.T) {
		f := newFaults(t, scripted.Options{}, nil)
		f.peer.OnMessage(toAny, scripted.Action{}, scripted.Action{Do: scripted.Reject}, scripted.Action{})
		err := f.conn.Send(soon(t), []*driver.Message{testkit.Cast(1), testkit.Cast(2), testkit.Cast(3)})
		for i := range 3 {
			if failed := driver.MessageErr(err, i) != nil; failed != (i == 1) {
				t.Errorf("message %d: %v", i, driver.MessageErr(err, i))
			}
		}
	})
}

// TestFaultHeldCredit is a peer that grants no credit: the message fails when its time is over, and the
// state says so before.
func TestFaultHeldCredit(t *testing.T) {
	t.Parallel()
	f := newFaults(t, scripted.Options{}, nil)
	f.peer.HoldCredit(toAny, true)
	f.st.Await(t, 0, driver.Ready)
	from := f.st.Len()
	wantDoubt(t, f.fails(testkit.Within(t, 4*time.Second), testkit.Cast(1), driver.ReasonBrokerBlocked, toAny, "credit"), false)
	blocked := f.st.Await(t, from, driver.Blocked)
	t.Logf("state: %v", blocked)
	checkError(t, blocked.Err, driver.ReasonBrokerBlocked, toAny)
	timed := testkit.Cast(2)
	timed.TimeLeft = 4 * time.Second
	if e := driver.AsError(f.send(soon(t), timed)); e == nil || e.InDoubt || e.Reason != driver.ReasonBrokerBlocked && e.Reason != driver.ReasonExpired {
		t.Errorf("got %v", e)
	}
	other := testkit.Cast(3)
	other.Target.Server = "s1"
	f.sends(other) // nothing else is held up
	if n := len(f.peer.Messages(toAny)); n != 0 {
		t.Errorf("%d messages were sent without credit", n)
	}
	from = f.st.Len()
	result := make(chan error, 1)
	go func() { result <- f.conn.Send(soon(t), []*driver.Message{testkit.Cast(4)}) }()
	f.peer.HoldCredit(toAny, false)
	if err := <-result; err != nil {
		t.Error(err)
	}
	f.st.Await(t, from, driver.Ready)
}

// TestFaultFailFastWithoutCredit does not wait.
func TestFaultFailFastWithoutCredit(t *testing.T) {
	t.Parallel()
	f := newFaults(t, scripted.Options{}, nil)
	f.peer.HoldCredit(toAny, true)
	m := testkit.Cast(1)
	m.FailFast = true
	wantDoubt(t, f.fails(soon(t), m, driver.ReasonBrokerBlocked, toAny), false)
}

// TestFaultSettledByOption is which kinds wait for the peer's word, and that the two ways never share a
// link, which the peer would report.
func TestFaultSettledByOption(t *testing.T) {
	t.Parallel()
	kinds := map[string]func() *driver.Message{
		"call": func() *driver.Message { return testkit.Call("r") }, "cast": func() *driver.Message { return testkit.Cast(1) },
		"fanout":       func() *driver.Message { m := testkit.Cast(1); m.Target.Fanout = true; return m },
		"notification": notification,
		"reply": func() *driver.Message {
			return &driver.Message{Kind: driver.Reply, ReplyTo: "peer.replies", CallID: "c", UniqueID: uuid.NewString(), Body: []byte("1")}
		},
		"heartbeat": func() *driver.Message {
			return &driver.Message{Kind: driver.Heartbeat, ReplyTo: "peer.replies", CallID: "c", UniqueID: uuid.NewString()}
		},
	}
	address := map[string]string{
		"call": toAny, "cast": toAny, "fanout": toAll, "notification": toEvent, "reply": "peer.replies", "heartbeat": "peer.replies",
	}
	for _, tt := range []struct {
		name    string
		peer    scripted.Options
		options map[string]string
		settled []string
	}{
		{"default", scripted.Options{}, map[string]string{optReliableCasts: "false"}, []string{"cast", "fanout", "reply", "heartbeat"}},
		{"reliable casts", scripted.Options{}, nil, []string{"reply", "heartbeat"}},
		{"all", scripted.Options{}, map[string]string{optReliableCasts: "false", optPreSettled: "rpc-call,rpc-reply,rpc-cast,notify"}, slices.Collect(maps.Keys(kinds))},
		{"none", scripted.Options{}, map[string]string{optReliableCasts: "false", optPreSettled: ""}, nil},
		{"calls alone", scripted.Options{}, map[string]string{optPreSettled: "rpc-call"}, []string{"call"}},
		{"notifications alone", scripted.Options{}, map[string]string{optPreSettled: "notify"}, []string{"notification"}},
		// On the relay a settled answer to nobody would end the link of all answers.
		{"relay", scripted.Options{Capabilities: []string{"ANONYMOUS-RELAY"}}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFaults(t, tt.peer, tt.options)
			listen(t, f.conn, testkit.Replies("r"))
			for name, make := range kinds {
				before := len(f.peer.Messages(address[name]))
				f.sends(make())
				f.happens(0, name, func(scripted.Event) bool { return len(f.peer.Messages(address[name])) > before })
				m := f.peer.Messages(address[name])[before]
				if want := slices.Contains(tt.settled, name); m.Settled != want {
					t.Errorf("a %s is sent settled: %t, want %t", name, m.Settled, want)
				}
				if relay := len(tt.peer.Capabilities) > 0 && address[name] == "peer.replies"; m.Attach.Anonymous != relay {
					t.Errorf("a %s is sent by the relay: %t, want %t", name, m.Attach.Anonymous, relay)
				}
			}
		})
	}
}
