// SPDX-License-Identifier: Apache-2.0

package messagingtest_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingtest"
	"github.com/parleymq/parley/plugin/driver"
)

// complaints is a T that keeps what it is told.
type complaints struct{ said []string }

func (c *complaints) Helper()        {}
func (c *complaints) Cleanup(func()) {}
func (c *complaints) Errorf(format string, args ...any) {
	c.said = append(c.said, fmt.Sprintf(format, args...))
}
func (c *complaints) Fatalf(format string, args ...any) { c.Errorf(format, args...) }

func TestRecorderOutlet(t *testing.T) {
	broker := messagingtest.NewBroker()
	var seen messagingtest.Recorder
	n := messaging.NewNotifier(broker.Transport(t, nil), &messaging.NotifierOptions{PublisherID: "p", Outlets: []messaging.Outlet{&seen}})
	ctx := messaging.WithRequestContext(t.Context(), messaging.RequestContext{"request_id": "r"})
	later := make(chan *messaging.Notification, 1)
	go func() { later <- seen.Expect(t, messagingtest.Event{Type: "b"}) }()
	for _, event := range []string{"a", "b", "c"} {
		if err := n.Warn(ctx, event, map[string]any{"event": event}); err != nil {
			t.Fatal(err)
		}
	}
	if b := <-later; b.EventType != "b" || b.PublisherID != "p" || b.Priority != messaging.PriorityWarn || b.Context["request_id"] != "r" ||
		string(b.Payload) != `{"event": "b"}` {
		t.Errorf("%+v", b)
	}
	var left []string
	for _, n := range seen.Notifications(messagingtest.Event{Priority: messaging.PriorityWarn, PublisherID: "p"}) {
		left = append(left, n.EventType)
	}
	if !slices.Equal(left, []string{"a", "b", "c"}) {
		t.Errorf("%q", left)
	}
	seen.ExpectNone(t, messagingtest.Event{Type: "b"}) // it was returned
	c := &complaints{}
	seen.ExpectNone(c, messagingtest.Event{Type: "c"})
	if len(c.said) != 1 || !strings.Contains(c.said[0], `unexpected: warn c with {"event": "c"}`) {
		t.Errorf("%q", c.said)
	}
	oh := errors.New("oh")
	seen.Fail(oh)
	if err := n.Info(ctx, "d", nil); !errors.Is(err, oh) {
		t.Errorf("got %v", err)
	}
	seen.Reset()
	if got := seen.Notifications(messagingtest.Event{}); len(got) != 0 || len(broker.Sent(messagingtest.Match{})) != 0 {
		t.Errorf("%v", got)
	}
}

func TestRecorderOutletSaysWhatCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen messagingtest.Recorder
		c := &complaints{}
		seen.Expect(c, messagingtest.Event{})
		if err := seen.Notify(t.Context(), &messaging.Notification{EventType: "other", Priority: messaging.PriorityInfo}); err != nil {
			t.Fatal(err)
		}
		seen.Expect(c, messagingtest.Event{Type: "x", Priority: messaging.PriorityInfo, PublisherID: "p"})
		want := []string{
			"no any notification came in 10s; there were none",
			`no notification with type "x", priority "info", publisher id "p" came in 10s; there were info other`,
		}
		if !slices.Equal(c.said, want) {
			t.Errorf("%q", c.said)
		}
	})
}

// TestBrokerShowsNotifications: what a test of a notifier looks at on the wire.
func TestBrokerShowsNotifications(t *testing.T) {
	broker := messagingtest.NewBroker()
	n := messaging.NewNotifier(broker.Transport(t, nil), &messaging.NotifierOptions{PublisherID: "p", Topics: []string{"audit"}})
	ctx := messaging.WithRequestContext(t.Context(), messaging.RequestContext{"request_id": "r"})
	broker.InDoubt(messagingtest.Match{EventType: "e"}, true)
	if err := n.Info(ctx, "e", 7); err != nil {
		t.Fatal(err)
	}
	first := broker.Expect(t, messagingtest.Match{Kind: driver.Notification, Topic: "audit"})
	again := broker.Expect(t, messagingtest.Match{Kind: driver.Notification, Topic: "audit"})
	if first.Err == nil || again.Err != nil || first.UniqueID != again.UniqueID || first.MessageID != again.MessageID || again.MessageID == "" {
		t.Errorf("%+v, %+v", first, again)
	}
	if again.Priority != "info" || again.Format != driver.NotificationV2 || again.PublisherID != "p" || string(again.Payload) != "7" ||
		string(again.Context) != `{"request_id": "r"}` {
		t.Errorf("%+v", again)
	}
}
