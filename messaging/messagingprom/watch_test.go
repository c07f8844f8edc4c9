// SPDX-License-Identifier: Apache-2.0

package messagingprom_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingprom"
	"github.com/parleymq/parley/messaging/messagingtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestLint runs Prometheus's own rules over everything, and registers it.
func TestLint(t *testing.T) {
	m := messagingprom.New(nil)
	tr := messagingtest.NewTransport(t)
	defer m.Watch("main", tr)()
	defer m.WatchServer("host1", messaging.NewRPCServer(tr, messaging.Target{Topic: "t", Server: "host1"}, nil))()
	listener := messaging.NewNotificationListener(tr, []messaging.Target{{Topic: "n"}}, nil)
	defer m.WatchListener("billing", listener)()
	send(t, m.ClientMiddleware(), start(true), nil)
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(m); err != nil {
		t.Fatal(err)
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if n, err := testutil.GatherAndCount(registry); err != nil || n < 30 {
		t.Errorf("%d metrics, %v", n, err)
	}
}

// TestWatch: one number a name, whatever is watched, and none once it is not.
func TestWatch(t *testing.T) {
	m := messagingprom.New(nil)
	broker := messagingtest.NewBroker()
	var stops []func()
	for _, name := range []string{"a", "a", "b\xff"} {
		tr := broker.Transport(t, nil)
		stops = append(stops, m.Watch(name, tr))
		if err := messaging.NewRPCClient(tr, messaging.Target{Topic: "t"}, nil).Cast(t.Context(), "m", nil); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, m, `
# HELP parley_transport_casts_total Casts begun.
# TYPE parley_transport_casts_total counter
parley_transport_casts_total{transport="a"} 2
parley_transport_casts_total{transport="b`+"\uFFFD"+`"} 1
`, "parley_transport_casts_total")
	for _, stop := range stops {
		stop()
		stop() // again is no harm
	}
	if n := testutil.CollectAndCount(m); n != 0 {
		t.Errorf("%d metrics of what is not watched any more", n)
	}
}

// TestWatchListener: what became of notifications, by the listener's own count.
func TestWatchListener(t *testing.T) {
	m := messagingprom.New(nil)
	tr := messagingtest.NewTransport(t)
	ep := messaging.NewNotificationEndpoint(nil)
	ep.Handle(messaging.PriorityInfo, func(_ context.Context, n *messaging.Notification) error {
		if n.EventType == "fails" {
			return errors.New("no")
		}
		return nil
	})
	l := messaging.NewNotificationListener(tr, []messaging.Target{{Topic: messaging.DefaultNotificationTopic}}, nil, ep)
	defer m.WatchListener("billing", l)()
	served := make(chan error, 1)
	go func() { served <- l.Serve(context.Background()) }()
	<-l.Ready()
	n := messaging.NewNotifier(tr, nil)
	for _, event := range []string{"fine", "fails", "fine"} {
		if err := n.Info(t.Context(), event, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Shutdown(t.Context()); err != nil || !errors.Is(<-served, messaging.ErrServerClosed) {
		t.Fatal(err)
	}
	s := l.Stats() // a shutdown gives back what it has not begun
	if s.Received == 0 || s.Running != 0 {
		t.Errorf("%+v", s)
	}
	expect(t, m, fmt.Sprintf(`
# HELP parley_listener_dropped_total Notifications given up without a dead letter.
# TYPE parley_listener_dropped_total counter
parley_listener_dropped_total{listener="billing"} %d
# HELP parley_listener_handled_total Notifications that were done.
# TYPE parley_listener_handled_total counter
parley_listener_handled_total{listener="billing"} %d
# HELP parley_listener_received_total Notifications taken from the broker.
# TYPE parley_listener_received_total counter
parley_listener_received_total{listener="billing"} %d
`, s.Dropped, s.Handled, s.Received), "parley_listener_dropped_total", "parley_listener_handled_total", "parley_listener_received_total")
}
