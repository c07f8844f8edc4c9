// SPDX-License-Identifier: Apache-2.0

package messaging_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingtest"
)

// listen serves until the test ends.
func listen(t *testing.T, tr *messaging.Transport, opts *messaging.NotificationListenerOptions, endpoints ...*messaging.NotificationEndpoint) *messaging.NotificationListener {
	t.Helper()
	l := messaging.NewNotificationListener(tr, []messaging.Target{{Topic: "notifications"}}, opts, endpoints...)
	served := make(chan error, 1)
	go func() { served <- l.Serve(context.Background()) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := l.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, messaging.ErrServerClosed) {
			t.Error(err)
		}
	})
	select {
	case <-l.Ready():
	case err := <-served:
		t.Fatal(err)
	}
	return l
}

func TestNotificationArrives(t *testing.T) {
	broker := messagingtest.NewBroker()
	tr, other := broker.Transport(t, nil), broker.Transport(t, nil)
	got := make(chan *messaging.Notification, 1)
	ep := messaging.NewNotificationEndpoint(nil)
	ep.Handle(messaging.PriorityInfo, func(_ context.Context, n *messaging.Notification) error {
		got <- n
		return nil
	})
	listen(t, tr, nil, ep)
	notifier := messaging.NewNotifier(other, &messaging.NotifierOptions{PublisherID: "compute.host1"})
	if err := notifier.Info(t.Context(), "instance.create", map[string]any{"id": 7}); err != nil {
		t.Fatal(err)
	}
	n := <-got
	if n.EventType != "instance.create" || n.PublisherID != "compute.host1" || string(n.Payload) != `{"id":7}` && string(n.Payload) != `{"id": 7}` || n.Timestamp.IsZero() {
		t.Errorf("%+v", n)
	}
}
