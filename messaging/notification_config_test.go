// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// What is wrong is the error of Serve, before any I/O, and says what to do.
func TestNotificationListenerMistakes(t *testing.T) {
	handler := func(context.Context, *Notification) error { return nil }
	good := on(handler)
	batches := onBatch(func(context.Context, []*Notification) error { return nil })
	with := func(configure func(*NotificationEndpoint)) []*NotificationEndpoint {
		ep := on(handler)
		configure(ep)
		return []*NotificationEndpoint{ep}
	}
	key := func(*Notification) string { return "" }
	type opts = NotificationListenerOptions
	for _, tt := range []struct {
		name    string
		targets []Target
		opts    opts
		eps     []*NotificationEndpoint
		lacks   driver.Capability
		want    error
		text    string
	}{
		{name: "no targets", targets: []Target{}, want: ErrInvalidTarget, text: "needs a target"},
		{name: "no topic", targets: []Target{{}}, want: ErrInvalidTarget},
		{name: "a server", targets: []Target{{Topic: "n", Server: "s"}}, want: ErrInvalidTarget},
		{name: "one of two", targets: []Target{{Topic: "n"}, {Topic: "n", Fanout: true}}, want: ErrInvalidTarget, text: "pool"},
		{name: "no endpoints", eps: []*NotificationEndpoint{}, want: ErrConfig, text: "register"},
		{name: "no handlers", eps: []*NotificationEndpoint{NewNotificationEndpoint(nil)}, want: ErrConfig, text: "register"},
		{name: "a nil endpoint", eps: []*NotificationEndpoint{good, nil}, want: ErrConfig, text: "nil"},
		{name: "a nil handler", eps: with(func(ep *NotificationEndpoint) { ep.Handle(PriorityWarn, nil) }), want: ErrConfig, text: `"warn" is nil`},
		{name: "a nil handler of batches", eps: with(func(ep *NotificationEndpoint) { ep.HandleBatch(PriorityWarn, nil) }), want: ErrConfig},
		{name: "a nil typed handler", eps: with(func(ep *NotificationEndpoint) { Event[int]{Type: "e"}.Handle(ep, nil) }), want: ErrConfig},
		{name: "a priority that is none", eps: with(func(ep *NotificationEndpoint) { ep.Handle("INFO", handler) }), want: ErrConfig, text: "use one of audit"},
		{name: "order with batches", opts: opts{OrderBy: key}, eps: []*NotificationEndpoint{batches}, want: ErrConfig, text: "Concurrency 1"},
		{name: "large batches", opts: opts{Batch: &BatchOptions{Size: maxBatchSize + 1}}, want: ErrConfig, text: "the limit is 10000"},
		{name: "pool is the topic", opts: opts{Pool: "notifications"}, want: ErrConfig, text: "name it after"},
		{name: "pool is a topic's queue", opts: opts{Pool: "notifications.info"}, want: ErrConfig, text: "name it after"},
		{name: "pool is the queue of a priority not listened to", opts: opts{Pool: "notifications.audit"}, want: ErrConfig},
		{name: "pool is a queue of the second topic", targets: []Target{{Topic: "a"}, {Topic: "b"}}, opts: opts{Pool: "b.warn"}, want: ErrConfig},
		{name: "pool is a queue of dead letters", opts: opts{Pool: "dead.info", Failure: deadly}, want: ErrConfig, text: "topic dead"},
		{name: "pool with a control character", opts: opts{Pool: "a\nb"}, want: ErrConfig},
		{name: "pool that is too long", opts: opts{Pool: strings.Repeat("p", 256)}, want: ErrConfig, text: "shorter"},
		{name: "dead letters are listened to", opts: opts{Failure: FailurePolicy{DeadLetterTopic: "notifications"}}, want: ErrConfig, text: "choose another topic"},
		{name: "a topic that cannot be", opts: opts{Failure: FailurePolicy{DeadLetterTopic: "a\x00"}}, want: ErrInvalidTarget},
		{name: "negative delay", opts: opts{Failure: FailurePolicy{Delay: -1}}, want: ErrConfig, text: "negative"},
		{name: "negative delay at most", opts: opts{Failure: FailurePolicy{MaxDelay: -1}}, want: ErrConfig, text: "negative"},
		{name: "no notifications", lacks: driver.CapNotifications, want: ErrUnsupported},
		{name: "no pools", opts: opts{Pool: "p"}, lacks: driver.CapPools, want: ErrUnsupported, text: "pools"},
		{name: "no requeue", opts: opts{Failure: failing(1)}, lacks: driver.CapRequeue, want: ErrUnsupported, text: "giving notifications back"},

		{name: "nothing", text: ""},
		{name: "pool that begins like a topic", opts: opts{Pool: "notificationsinfo"}},
		{name: "pool under a topic", opts: opts{Pool: "notifications.billing"}},
		{name: "pool not needed", lacks: driver.CapPools},
		{name: "requeue not needed", lacks: driver.CapRequeue, opts: opts{Failure: deadly}},
		{name: "a topic twice", targets: []Target{{Topic: "a"}, {Topic: "a"}, {Topic: "a", Exchange: "openstack"}}},
		{name: "two exchanges", targets: []Target{{Topic: "a", Exchange: "x"}, {Topic: "a", Exchange: "y"}}},
		{name: "everything", opts: opts{Pool: "p", Concurrency: -1, DedupeSize: -1, DedupeAge: -1, ShutdownTimeout: -1, OrderBy: key, Failure: failing(-1)}},
		{name: "largest batches", opts: opts{Batch: &BatchOptions{Size: maxBatchSize, Timeout: time.Hour}, Concurrency: 1 << 40}, eps: []*NotificationEndpoint{batches}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, nil, func(f *faults) {
				caps := f.info.Capabilities
				f.info.Capabilities = nil
				for _, c := range caps {
					if c != tt.lacks {
						f.info.Capabilities = append(f.info.Capabilities, c)
					}
				}
			})
			if tt.targets == nil {
				tt.targets = noticeTargets
			}
			if tt.eps == nil {
				tt.eps = []*NotificationEndpoint{good}
			}
			l := NewNotificationListener(r.Transport, tt.targets, &tt.opts, tt.eps...)
			served := make(chan error, 1)
			go func() { served <- l.Serve(context.Background()) }()
			if tt.want == nil {
				select {
				case <-l.Ready():
					if err := l.Shutdown(t.Context()); err != nil {
						t.Error(err)
					}
					<-served //nolint:errcheck // it was shut down
				case err := <-served:
					t.Error(err)
				}
				return
			}
			err := wait(t, served, "Serve")
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) || len(err.Error()) > 600 || r.faults.listens.Load() != 0 || isClosed(l.Ready()) {
				t.Errorf("%v", err)
			}
			if err := l.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// Handlers that are registered after the listener was made, and before it serves, count.
func TestRegisteredLate(t *testing.T) {
	r := newRig(t, nil)
	ep := NewNotificationEndpoint(nil)
	l := NewNotificationListener(r.Transport, noticeTargets, nil, ep)
	got := make(chan int, 1)
	ep.HandleBatch(PriorityInfo, func(_ context.Context, batch []*Notification) error { got <- len(batch); return nil })
	served := make(chan error, 1)
	go func() { served <- l.Serve(context.Background()) }()
	wait(t, l.Ready(), "the listener")
	if l.opts.Concurrency != defaultBatchConcurrency {
		t.Errorf("concurrency %d", l.opts.Concurrency)
	}
	if err := NewNotifier(r.Transport, nil).Info(t.Context(), "e", nil); err != nil {
		t.Fatal(err)
	}
	if n := wait(t, got, "the batch"); n != 1 {
		t.Errorf("%d", n)
	}
	if err := l.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-served //nolint:errcheck // it was shut down
}
