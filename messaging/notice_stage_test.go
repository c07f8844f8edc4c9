// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// noticeStage is a notification listener whose broker is the test.
type noticeStage struct {
	*stage
	listener *NotificationListener
	// onLetter is asked before a dead letter is taken; nil takes all. Set it before use.
	onLetter func(*driver.Message) error
	letters  []driver.Message // guarded by stage.mu
}

var noticeTargets = []Target{{Topic: "notifications"}}

// newNoticeStage returns a listener that serves; it is shut down at the end of the test. configure
// is called before anything runs.
func newNoticeStage(t testing.TB, opts *NotificationListenerOptions, ep *NotificationEndpoint, configure ...func(*noticeStage, *faults, *Options)) *noticeStage {
	t.Helper()
	s := &noticeStage{stage: &stage{inbox: make(chan []*driver.Delivery, 64), served: make(chan error, 1)}}
	var transport Options
	s.rig = newRig(t, &transport, func(f *faults) {
		f.onSend = s.bury
		f.wrap = s.take(t)
		for _, c := range configure {
			c(s, f, &transport)
		}
	})
	if transport.Logger != nil {
		s.opts.Logger = transport.Logger
	}
	s.listener = NewNotificationListener(s.Transport, noticeTargets, opts, ep)
	go func() { s.served <- s.listener.Serve(context.Background()) }()
	select {
	case <-s.listener.Ready():
	case err := <-s.served:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.listener.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-s.served; !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return s
}

// take is the listener of notifications in place of the driver's.
func (s *noticeStage) take(t testing.TB) func(driver.Source, driver.Listener) driver.Listener {
	return func(src driver.Source, l driver.Listener) driver.Listener {
		if src.Kind != driver.SourceNotifications {
			return l
		}
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
		s.source = src
		if s.receives {
			return stageReceiver{s.stage}
		}
		return s.stage
	}
}

func (s *noticeStage) bury(_ context.Context, m *driver.Message) (bool, error) {
	if m.Kind != driver.Notification {
		return false, nil
	}
	var err error
	if s.onLetter != nil {
		err = s.onLetter(m)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.letters = append(s.letters, *m)
	}
	return true, err
}

// buried returns the dead letters so far.
func (s *noticeStage) buried() []driver.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.letters)
}

// settledIs checks what was told until now.
func (s *noticeStage) settledIs(t testing.TB, want string) {
	t.Helper()
	if got := s.settled(); got != want {
		t.Errorf("settled %q, want %q", got, want)
	}
}

// stats checks the listener's statistics.
func (s *noticeStage) stats(t testing.TB, want NotificationStats) {
	t.Helper()
	if got := s.listener.Stats(); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// rawEvent is a notification as it is received, of any body.
func rawEvent(token uint64, body string) *driver.Delivery {
	return &driver.Delivery{Token: token, Message: driver.Message{
		Kind: driver.Notification, UniqueID: fmt.Sprintf("u%d", token), Body: []byte(body), Format: driver.NotificationV2,
	}}
}

// event is a notification as it is received: info of an event type.
func event(token uint64, eventType string) *driver.Delivery {
	return rawEvent(token, fmt.Sprintf(`{"message_id":"m%d","publisher_id":"compute.host1","event_type":%q,"priority":"INFO","payload":{"n":%d},"timestamp":"2026-01-02 03:04:05.000006"}`,
		token, eventType, token))
}

// again is a delivery of the same notification with another token.
func again(d *driver.Delivery, token uint64) *driver.Delivery {
	c := *d
	c.Token, c.Redelivered = token, true
	return &c
}

// on returns an endpoint with a handler of infos.
func on(fn NotificationHandler) *NotificationEndpoint {
	ep := NewNotificationEndpoint(nil)
	ep.Handle(PriorityInfo, fn)
	return ep
}

// onBatch returns an endpoint with a handler of batches of infos.
func onBatch(fn NotificationBatchHandler) *NotificationEndpoint {
	ep := NewNotificationEndpoint(nil)
	ep.HandleBatch(PriorityInfo, fn)
	return ep
}

// failing is the failure policy of most tests: everything comes again, soon.
func failing(again int) FailurePolicy {
	return FailurePolicy{RequeueErrors: true, MaxRequeues: again, Delay: time.Second, MaxDelay: 4 * time.Second}
}
