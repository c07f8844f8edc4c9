// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

// onNotifyWires is onWires for notifications: the fake driver has all that they need.
func onNotifyWires(t *testing.T, test func(t *testing.T, w *world), needs ...testbed.Need) {
	t.Helper()
	bed.Broker(t)
	t.Run("fake", func(t *testing.T) {
		t.Parallel()
		test(t, newWorld(t, "fake", "fake:///functional"))
	})
	bed.EachWire(t, func(t *testing.T, wire *testbed.Wire) {
		t.Parallel()
		test(t, wireWorld(t, wire))
	}, append(needs, testbed.Need(driver.CapNotifications))...)
}

// The needs of some tests of notifications.
const (
	needPools   = testbed.Need(driver.CapPools)
	needRequeue = testbed.Need(driver.CapRequeue)
	needHeaders = testbed.Need(driver.CapHeaders)
)

// inbox keeps what a listener is given, each as "priority event payload publisher", in order.
type inbox struct {
	mu  sync.Mutex // guards all
	all []*messaging.Notification
}

func (b *inbox) handle(_ context.Context, n *messaging.Notification) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = append(b.all, n)
	return nil
}

func (b *inbox) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.all)
}

func (b *inbox) notifications() []*messaging.Notification {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.all)
}

// texts are what came, as text.
func (b *inbox) texts() []string {
	var all []string
	for _, n := range b.notifications() {
		all = append(all, fmt.Sprintf("%s %s %s %s", n.Priority, n.EventType, n.Payload, n.PublisherID))
	}
	return all
}

// endpoint has a handler for each of the priorities, by default all.
func (b *inbox) endpoint(priorities ...messaging.Priority) *messaging.NotificationEndpoint {
	if len(priorities) == 0 {
		priorities = messaging.Priorities()
	}
	ep := messaging.NewNotificationEndpoint(nil)
	for _, p := range priorities {
		ep.Handle(p, b.handle)
	}
	return ep
}

// wait waits for n notifications, and fails when there are more.
func (b *inbox) wait(t *testing.T, n int) []string {
	t.Helper()
	testbed.Eventually(t, patience, fmt.Sprintf("%d notifications", n), func() bool { return b.count() >= n })
	all := b.texts()
	if len(all) != n {
		t.Fatalf("%d notifications came, want %d: %v", len(all), n, all)
	}
	return all
}

// listen runs a listener until the test ends.
func listen(t *testing.T, tr *messaging.Transport, targets []messaging.Target, o *messaging.NotificationListenerOptions, endpoints ...*messaging.NotificationEndpoint) *messaging.NotificationListener {
	t.Helper()
	l := messaging.NewNotificationListener(tr, targets, o, endpoints...)
	testbed.Serve(t, l)
	return l
}

// topics are targets of these topics.
func topics(names ...string) []messaging.Target {
	var all []messaging.Target
	for _, name := range names {
		all = append(all, messaging.Target{Topic: name})
	}
	return all
}

// notifier is one with upstream's name for its own.
func notifier(tr *messaging.Transport, publisher string, names ...string) *messaging.Notifier {
	return messaging.NewNotifier(tr, &messaging.NotifierOptions{PublisherID: publisher, Topics: names, Timeout: patience})
}

func mustNotify(t *testing.T, n *messaging.Notifier, p messaging.Priority, event string, payload any) {
	t.Helper()
	if err := n.Notify(soon(t), p, event, payload); err != nil {
		t.Fatal(err)
	}
}

// wantSet compares without order.
func wantSet(t *testing.T, what string, got, want []string) {
	t.Helper()
	if got, want := slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want)); !slices.Equal(got, want) {
		t.Errorf("%s got\n%q, want\n%q", what, got, want)
	}
}
