// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"
	"testing"
	"time"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/outbound"
)

func TestOutcomesOfTheWire(t *testing.T) {
	for _, tt := range []struct {
		name    string
		state   amqp.DeliveryState
		reason  driver.Reason
		doubt   bool
		again   bool
		mention string
	}{
		{name: "accepted", state: &amqp.StateAccepted{}},
		{name: "released", state: &amqp.StateReleased{}, reason: driver.ReasonNoRoute, again: true, mention: "released"},
		{name: "modified", state: &amqp.StateModified{}, reason: driver.ReasonNoRoute, again: true},
		{name: "failed", state: &amqp.StateModified{DeliveryFailed: true}, reason: driver.ReasonInternal, doubt: true, mention: "delivery-failed"},
		{name: "not here", state: &amqp.StateModified{UndeliverableHere: true}, reason: driver.ReasonNoRoute, mention: "undeliverable-here"},
		{name: "failed and not here", state: &amqp.StateModified{DeliveryFailed: true, UndeliverableHere: true}, reason: driver.ReasonInternal, doubt: true},
		{
			name: "no node", state: &amqp.StateRejected{Error: &amqp.Error{Condition: amqp.ErrCondNotFound, Description: "no such node"}},
			reason: driver.ReasonNoRoute, mention: "no such node (amqp:not-found)",
		},
		{
			name: "full", state: &amqp.StateRejected{Error: &amqp.Error{Condition: amqp.ErrCondResourceLimitExceeded}},
			reason: driver.ReasonBrokerBlocked, mention: "amqp:resource-limit-exceeded",
		},
		{name: "rejected without a reason", state: &amqp.StateRejected{}, reason: driver.ReasonInternal, mention: "does not say why"},
		{name: "settled without an outcome", reason: driver.ReasonInternal, doubt: true},
		{name: "an unknown outcome", state: &amqp.StateReceived{}, reason: driver.ReasonInternal, doubt: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err, again := judge("the message to a.b", tt.state)
			if (err == nil) != (tt.reason == "") || again != tt.again {
				t.Fatalf("got %v, again %v", err, again)
			}
			if err == nil {
				return
			}
			if err.Reason != tt.reason || err.InDoubt != tt.doubt || !strings.Contains(err.Error(), tt.mention) {
				t.Errorf("got %v, in doubt %v", err, err.InDoubt)
			}
		})
	}
}

// TestRefusedMessage: only the message that the peer names is known not to have arrived.
func TestRefusedMessage(t *testing.T) {
	k := &sendLink{}
	first, second := k.nextTag(), k.nextTag()
	over := func(info map[string]any) error {
		return &amqp.LinkError{RemoteErr: &amqp.Error{Condition: amqp.ErrCondNotFound, Info: info}}
	}
	for _, tt := range []struct {
		name string
		tag  []byte
		err  error
		want bool
	}{
		{"it is named", first, over(map[string]any{"delivery-tag": first}), true},
		{"another one is", second, over(map[string]any{"delivery-tag": first}), false},
		{"none is", first, over(nil), false},
		{"the name is none", first, over(map[string]any{"delivery-tag": "text"}), false},
		{"a message without a tag", nil, over(nil), false},
		{"an empty name", []byte{}, over(map[string]any{"delivery-tag": []byte{}}), false},
		{"the link was closed by us", first, &amqp.LinkError{}, false},
		{"the connection is lost", first, &amqp.ConnError{}, false},
	} {
		if got := refused(tt.tag, tt.err); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestTheWaitForALinkGrowsToUpstreams(t *testing.T) {
	s := &settings{linkRetryDelay: time.Second}
	var d time.Duration
	for i, want := range []int{50, 100, 200, 400, 800, 1000, 1000} {
		if d = s.growing(d); d != time.Duration(want)*time.Millisecond {
			t.Errorf("wait %d: got %v, want %v ms", i, d, want)
		}
	}
	if d := new(settings).growing(time.Hour); d != fallbackRetryDelay {
		t.Errorf("without an option: %v", d)
	}
}

func TestTimesOfAMessage(t *testing.T) {
	s := &settings{sendTimeout: 20 * time.Second, notifyTimeout: 10 * time.Second, replyTimeout: 5 * time.Second}
	now := time.Now()
	open, stop := context.WithCancel(context.Background())
	defer stop()
	bounded, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	trouble := driver.Errorf(driver.ReasonBrokerBlocked, "full")
	for _, tt := range []struct {
		name    string
		ctx     context.Context
		m       driver.Message
		expiry  time.Duration // zero for none
		answer  time.Duration
		trouble *driver.Error
		want    driver.Reason // of what is over
	}{
		{"a call", open, driver.Message{Kind: driver.Call, TimeLeft: time.Minute}, time.Minute, time.Minute, nil, driver.ReasonExpired},
		{"a short call", open, driver.Message{Kind: driver.Call, TimeLeft: time.Second}, time.Second, 20 * time.Second, nil, driver.ReasonExpired},
		{"a cast", open, driver.Message{Kind: driver.Cast}, 20 * time.Second, 20 * time.Second, nil, driver.ReasonExpired},
		{"a cast of a patient caller", bounded, driver.Message{Kind: driver.Cast}, 0, 20 * time.Second, nil, ""},
		{"a notification", open, driver.Message{Kind: driver.Notification}, 10 * time.Second, 10 * time.Second, nil, driver.ReasonExpired},
		{"a reply", open, driver.Message{Kind: driver.Reply, ReplyTo: "r"}, 5 * time.Second, 5 * time.Second, nil, driver.ReasonExpired},
		{"a cast that is kept", open, driver.Message{Kind: driver.Cast}, 20 * time.Second, 20 * time.Second, trouble, driver.ReasonBrokerBlocked},
		{"a call that is kept", open, driver.Message{Kind: driver.Call, TimeLeft: time.Minute}, time.Minute, time.Minute, trouble, driver.ReasonBrokerBlocked},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := &outgoing{caller: outbound.NewCaller(tt.ctx, false, nil)}
			if err := s.prepare(o, &tt.m, now); err != nil {
				t.Fatal(err)
			}
			if tt.expiry == 0 != o.expiry().IsZero() || tt.expiry > 0 && !o.expiry().Equal(now.Add(tt.expiry)) {
				t.Errorf("expiry %v", o.expiry().Sub(now))
			}
			if !o.answerBy.Equal(now.Add(tt.answer)) {
				t.Errorf("answer by %v", o.answerBy.Sub(now))
			}
			if err := o.overdue(now, tt.trouble); err != nil {
				t.Errorf("overdue at once: %v", err)
			}
			err := o.overdue(now.Add(30*time.Minute), tt.trouble)
			if (err == nil) != (tt.want == "") || err != nil && driver.ReasonOf(err) != tt.want {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestAMessageWhoseCtxEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	trouble := driver.Errorf(driver.ReasonBrokerBlocked, "full")
	s := &settings{}
	for _, tt := range []struct {
		sync    bool
		trouble *driver.Error
		want    driver.Reason
	}{
		{true, nil, driver.ReasonCancelled},
		{false, nil, driver.ReasonCancelled},
		{true, trouble, driver.ReasonBrokerBlocked},
		{false, trouble, driver.ReasonCancelled},
	} {
		o := &outgoing{caller: outbound.NewCaller(ctx, tt.sync, nil)}
		if err := s.prepare(o, &driver.Message{Kind: driver.Cast}, time.Now()); err != nil {
			t.Fatal(err)
		}
		err := o.overdue(time.Now(), tt.trouble)
		if driver.ReasonOf(err) != tt.want || driver.AsError(err).InDoubt {
			t.Errorf("sync %v, trouble %v: %v", tt.sync, tt.trouble, err)
		}
		if err := o.doubtful(time.Now(), tt.trouble); err == nil || !driver.AsError(err).InDoubt {
			t.Errorf("a message that has left: %v", err)
		}
	}
}

func TestWhatCannotBeSent(t *testing.T) {
	s := &settings{}
	for _, tt := range []struct {
		m    driver.Message
		want driver.Reason
	}{
		{driver.Message{}, driver.ReasonUnsupported},
		{driver.Message{Kind: 99}, driver.ReasonUnsupported},
		{driver.Message{Kind: driver.Reply}, driver.ReasonConfig},
		{driver.Message{Kind: driver.Heartbeat}, driver.ReasonConfig},
		{driver.Message{Kind: driver.Cast, TimeLeft: -1}, driver.ReasonExpired},
	} {
		o := &outgoing{caller: outbound.NewCaller(t.Context(), false, nil)}
		if err := s.prepare(o, &tt.m, time.Now()); driver.ReasonOf(err) != tt.want {
			t.Errorf("%v: %v, want %s", tt.m.Kind, err, tt.want)
		}
	}
}
