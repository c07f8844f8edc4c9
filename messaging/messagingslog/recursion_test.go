// SPDX-License-Identifier: Apache-2.0

package messagingslog_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingslog"
	"github.com/parleymq/parley/messaging/messagingtest"
	"github.com/parleymq/parley/plugin/driver"
)

// counting passes records on, without the context they came with, on another goroutine: the worst
// that a handler in between can do.
type counting struct {
	slog.Handler
	records *atomic.Int64
}

func (c counting) Handle(ctx context.Context, r slog.Record) error {
	c.records.Add(1)
	done := make(chan error)
	go func() { done <- c.Handler.Handle(context.Background(), r.Clone()) }()
	return <-done
}

func (c counting) WithAttrs(a []slog.Attr) slog.Handler {
	return counting{c.Handler.WithAttrs(a), c.records}
}

func (c counting) WithGroup(name string) slog.Handler {
	return counting{c.Handler.WithGroup(name), c.records}
}

// late is a handler that is chosen after the transport was made with it.
type late struct{ h atomic.Pointer[slog.Handler] }

func (l *late) get() slog.Handler {
	if h := l.h.Load(); h != nil {
		return *h
	}
	return slog.DiscardHandler
}

func (l *late) Enabled(ctx context.Context, level slog.Level) bool {
	return l.get().Enabled(ctx, level)
}
func (l *late) Handle(ctx context.Context, r slog.Record) error { return l.get().Handle(ctx, r) }
func (l *late) WithAttrs([]slog.Attr) slog.Handler              { return l }
func (l *late) WithGroup(string) slog.Handler                   { return l }

// TestParleysRecordsAreNoNotifications lets the transport log by the handler that notifies, with a
// broker that fails, an outlet that logs, and an application that hears of the failures.
func TestParleysRecordsAreNoNotifications(t *testing.T) {
	shared := &late{}
	everything := slog.New(shared)
	broker := messagingtest.NewBroker()
	tr := broker.Transport(t, &messaging.Options{Logger: everything})
	never := 0
	n := messaging.NewNotifier(tr, &messaging.NotifierOptions{
		Retry: &never,
		Outlets: []messaging.Outlet{
			messaging.BrokerOutlet(messaging.NotificationV2),
			messaging.LogOutlet(everything), // logs each notification
			messaging.OutletFunc(func(ctx context.Context, n *messaging.Notification) error {
				everything.ErrorContext(ctx, "an outlet logs what it gets", "event", n.EventType)
				return nil
			}),
		},
		OnResult: func(_ *messaging.Notification, err error) {
			if err != nil {
				everything.Error("a notification was lost", "error", err) // for records of the handler it is not called
			}
		},
	})
	h := messagingslog.NewHandler(n, &messagingslog.Options{Level: slog.LevelDebug})
	direct := slog.Handler(h)
	shared.h.Store(&direct)

	const records = 50
	for range 3 * records {
		broker.Fail(messagingtest.Match{}, driver.Errorf(driver.ReasonNotConnected, "the broker is away"))
	}
	for range records {
		everything.Error("the application's")
	}
	deadline := time.After(patience)
	for h.Lost() < records {
		select {
		case <-deadline:
			t.Fatalf("%d of %d are lost", h.Lost(), records)
		case <-time.After(time.Millisecond):
		}
	}
	closeOf(t, tr) // nothing is under way any more
	if sent := broker.Sent(messagingtest.Match{}); len(sent) != records {
		t.Errorf("%d records became %d notifications", records, len(sent))
	}
	if h.Lost() != records {
		t.Errorf("%d are lost", h.Lost())
	}
}

const patience = 20 * time.Second

func closeOf(t *testing.T, tr *messaging.Transport) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := tr.Close(ctx); err != nil {
		t.Error(err)
	}
}

// TestAnyWayToTheHandler has handlers in between that lose the context: a notification logged by
// LogOutlet is Parley's record still.
func TestAnyWayToTheHandler(t *testing.T) {
	shared := &late{}
	broker := messagingtest.NewBroker()
	tr := broker.Transport(t, &messaging.Options{Logger: slog.New(shared)})
	n := messaging.NewNotifier(tr, &messaging.NotifierOptions{
		Outlets: []messaging.Outlet{messaging.BrokerOutlet(messaging.NotificationV2), messaging.LogOutlet(slog.New(shared))},
	})
	var seen atomic.Int64
	chain := slog.Handler(counting{slog.NewMultiHandler(messagingslog.NewHandler(n, &messagingslog.Options{Level: slog.LevelDebug})), &seen})
	shared.h.Store(&chain)
	slog.New(shared).Error("the application's")
	if err := n.Info(t.Context(), "some.event", nil); err != nil {
		t.Fatal(err)
	}
	broker.Expect(t, messagingtest.Match{EventType: "logrecord"})
	closeOf(t, tr)
	if sent := broker.Sent(messagingtest.Match{EventType: "logrecord"}); len(sent) != 1 {
		t.Errorf("one record became %d notifications: %v", len(sent), sent)
	}
	if seen.Load() < 2 { // the application's, and that of LogOutlet about the event
		t.Errorf("the handler saw %d records: nothing is proven", seen.Load())
	}
}

// TestLoggingDoesNotWait has a broker that holds everything.
func TestLoggingDoesNotWait(t *testing.T) {
	broker := messagingtest.NewBroker()
	tr := broker.Transport(t, &messaging.Options{Logger: slog.New(slog.DiscardHandler)})
	n := messaging.NewNotifier(tr, &messaging.NotifierOptions{MaxPending: 2, Timeout: 2 * time.Second})
	h := messagingslog.NewHandler(n, nil)
	for range 2 {
		broker.Delay(messagingtest.Match{}, time.Hour)
	}
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		for range 10 {
			slog.New(h).Error("x")
		}
	}()
	select {
	case <-logged:
	case <-time.After(patience):
		t.Fatal("logging waits")
	}
	if h.Lost() != 8 {
		t.Errorf("%d of 8 are counted as lost", h.Lost())
	}
}
