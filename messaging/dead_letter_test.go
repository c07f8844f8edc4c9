// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// deadly is a policy with a dead-letter topic and no repetition.
var deadly = FailurePolicy{DeadLetterTopic: "dead"}

func TestDeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := deadly
		p.RequeueErrors, p.MaxRequeues = true, 1
		s := newNoticeStage(t, &NotificationListenerOptions{Failure: p}, on(ran(&sequence{}, "", errors.New("disk\xff full "+strings.Repeat("x", 5000)))))
		d := event(1, "e")
		d.Context, d.Headers = []byte(`{"request_id":"r"}`), map[string]string{"traceparent": "t", DeadLetterReason: "an older one"}
		d.Format = driver.NotificationV1
		s.deliver(d)
		time.Sleep(time.Second)
		synctest.Wait()
		s.settledIs(t, "1 requeued")
		s.deliver(again(d, 2))
		synctest.Wait()
		s.settledIs(t, "1 requeued, 2 accepted")
		s.stats(t, NotificationStats{Received: 2, Failed: 2, Requeued: 1, DeadLettered: 1})
		letters := s.buried()
		if len(letters) != 1 {
			t.Fatalf("%d letters", len(letters))
		}
		m := letters[0]
		failure := m.Headers[DeadLetterError]
		delete(m.Headers, DeadLetterError)
		want := map[string]string{"traceparent": "t", DeadLetterReason: "requeued too often", DeadLetterTopic: "notifications", DeadLetterAttempts: "2"}
		if m.Target != (driver.Target{Exchange: "openstack", Topic: "dead"}) || m.Priority != "info" || m.Format != driver.NotificationV1 ||
			string(m.Body) != string(d.Body) || string(m.Context) != string(d.Context) || m.UniqueID == d.UniqueID || !maps.Equal(m.Headers, want) {
			t.Errorf("%+v", m)
		}
		if !strings.HasPrefix(failure, "disk\uFFFD full xxx") || len(failure) > maxDeadLetterError+len("…") {
			t.Errorf("%d bytes: %.30s", len(failure), failure)
		}
	})
}

// The headers of a dead letter always fit.
func TestDeadLetterHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newNoticeStage(t, &NotificationListenerOptions{Failure: deadly}, on(ran(&sequence{}, "", errors.New("no"))))
		d := event(1, "e")
		d.Headers = map[string]string{"big": strings.Repeat("x", driver.MaxHeaderBytes-10), DeadLetterError: ""}
		s.deliver(d)
		synctest.Wait()
		if m := s.buried(); len(m) != 1 || len(m[0].Headers) != 4 || m[0].Headers[DeadLetterError] != "no" || driver.CheckHeaders(m[0].Headers) != nil {
			t.Errorf("%+v", m)
		}
	})
}

// A dead letter that cannot be sent: the notification comes again and is not lost. The letter has
// the same id each time, so that nobody takes it twice.
func TestDeadLetterCannotBeSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refuse atomic.Bool
		refuse.Store(true)
		ids := make(map[string]bool)
		s := newNoticeStage(t, &NotificationListenerOptions{Failure: deadly}, on(ran(&sequence{}, "", errors.New("no"))),
			func(s *noticeStage, _ *faults, _ *Options) {
				s.onLetter = func(m *driver.Message) error {
					ids[m.UniqueID] = true
					if refuse.Load() {
						return driver.Errorf(driver.ReasonAccessRefused, "not allowed")
					}
					return nil
				}
			})
		d := event(1, "e")
		s.deliver(d)
		synctest.Wait()
		s.settledIs(t, "")
		time.Sleep(time.Second)
		synctest.Wait()
		s.settledIs(t, "1 requeued")
		s.deliver(again(d, 2))
		time.Sleep(time.Second)
		synctest.Wait()
		s.settledIs(t, "1 requeued") // the delay grows
		refuse.Store(false)
		time.Sleep(time.Second)
		synctest.Wait()
		s.deliver(again(d, 3))
		synctest.Wait()
		s.settledIs(t, "1 requeued, 2 requeued, 3 accepted")
		s.stats(t, NotificationStats{Received: 3, Failed: 3, Requeued: 2, DeadLettered: 1})
		if len(ids) != 1 || len(s.buried()) != 1 {
			t.Errorf("%v, %d letters", ids, len(s.buried()))
		}
	})
}

// A broker that is away while a dead letter is to be sent: the listener waits, and a shutdown gives
// the notification back.
func TestDeadLetterWhileBrokerIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newNoticeStage(t, &NotificationListenerOptions{Failure: deadly}, on(ran(&sequence{}, "", errors.New("no"))),
			func(_ *noticeStage, f *faults, _ *Options) {
				f.onSend = func(ctx context.Context, m *driver.Message) (bool, error) {
					if m.Kind != driver.Notification {
						return false, nil
					}
					<-ctx.Done()
					return true, driver.Errorf(driver.ReasonNotConnected, "away: %w", ctx.Err())
				}
			})
		s.deliver(event(1, "e"))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.listener.Shutdown(ctx); err != context.DeadlineExceeded {
			t.Error(err)
		}
		if err := s.listener.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		s.settledIs(t, "1 requeued")
		s.stats(t, NotificationStats{Received: 1, Failed: 1, Returned: 1})
	})
}

// Dead letters are notifications that a listener of that topic gets, those of malformed ones too.
func TestDeadLettersAreHeard(t *testing.T) {
	r := newRig(t, nil)
	got := make(chan *Notification, 4)
	dead := NewNotificationListener(r.Transport, []Target{{Topic: "dead"}}, nil, func() *NotificationEndpoint {
		ep := on(func(_ context.Context, n *Notification) error { got <- n; return nil })
		ep.Handle(PriorityError, func(_ context.Context, n *Notification) error { got <- n; return nil })
		return ep
	}())
	served := make(chan error, 1)
	go func() { served <- dead.Serve(context.Background()) }()
	wait(t, dead.Ready(), "the listener of dead letters")
	l := listen(t, r.Transport, &NotificationListenerOptions{Failure: deadly}, on(ran(&sequence{}, "", errors.New("no"))))
	send := func(body string) *Notification {
		t.Helper()
		m := &driver.Message{Kind: driver.Notification, Target: driver.Target{Exchange: "openstack", Topic: "notifications"}, Priority: "info", UniqueID: newID(), Body: []byte(body)}
		if err := r.faults.Send(t.Context(), []*driver.Message{m}); err != nil {
			t.Fatal(err)
		}
		return wait(t, got, "the dead letter of "+body)
	}
	if n := send(`{"event_type":"e","priority":"INFO","payload":[1]}`); n.EventType != "e" || string(n.Payload) != "[1]" || n.Headers[DeadLetterError] != "no" {
		t.Errorf("%+v", n)
	}
	if n := send(`{"event_type":"e","priority":null}`); n.EventType != MalformedEventType || n.Priority != PriorityError ||
		string(n.Payload) != `{"event_type":"e","priority":null}` || n.Headers[DeadLetterError] != "it has no priority" || n.MessageID == "" {
		t.Errorf("%+v", n)
	}
	var text string
	if n := send("not JSON \xff"); n.Decode(&text) != nil || text != "not JSON \uFFFD" {
		t.Errorf("%+v", n)
	}
	eventually(t, "all are counted", func() bool { s := l.Stats(); return s.DeadLettered == 3 && s.Malformed == 2 && s.Running == 0 })
	if err := dead.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-served //nolint:errcheck // it was shut down
}

// What cannot be understood is settled and counted, and goes to the dead-letter topic when there
// is one.
func TestMalformed(t *testing.T) {
	for name, tt := range map[string]struct{ body, context, why string }{
		"null priority":           {`{"priority":null,"event_type":"e"}`, "", "it has no priority"},
		"no priority":             {`{"event_type":"e"}`, "", "it has no priority"},
		"nothing":                 {`{}`, "", "it has no priority"},
		"empty priority":          {`{"priority":""}`, "", "it has no priority"},
		"unknown level":           {`{"priority":"FATAL"}`, "", `there is no priority \"FATAL\"`},
		"long unknown level":      {`{"priority":"` + strings.Repeat("x", 5000) + `"}`, "", "there is no priority"},
		"a number as priority":    {`{"priority":1}`, "", "its priority is not a text"},
		"a list as event type":    {`{"priority":"info","event_type":["a"]}`, "", "its event_type is not a text"},
		"an object as publisher":  {`{"priority":"info","publisher_id":{}}`, "", "its publisher_id is not a text"},
		"a bool as message id":    {`{"message_id":true,"priority":"info"}`, "", "its message_id is not a text"},
		"a number as timestamp":   {`{"priority":"info","timestamp":1.5}`, "", "its timestamp is not a text"},
		"not an object":           {`["info"]`, "", "it is not a JSON object"},
		"a text":                  {`"info"`, "", "it is not a JSON object"},
		"not JSON":                {`{"priority":"info"`, "", "it is not a JSON object"},
		"empty":                   {``, "", "it is not a JSON object"},
		"context is no object":    {`{"priority":"info"}`, `["user"]`, "its request context cannot be understood"},
		"context is not JSON":     {`{"priority":"info"}`, `{"user"`, "its request context cannot be understood"},
		"payload that is no JSON": {`{"priority":"info","payload":nope}`, "", "it is not a JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				never := on(func(context.Context, *Notification) error { t.Error("it was handled"); return nil })
				for _, policy := range []FailurePolicy{{}, failing(-1), deadly} {
					s := newNoticeStage(t, &NotificationListenerOptions{Failure: policy, OrderBy: func(*Notification) string { t.Error("asked for its key"); return "" }}, never)
					d := rawEvent(1, tt.body)
					d.Context = []byte(tt.context)
					s.deliver(d)
					synctest.Wait()
					if log := s.logged(); !strings.Contains(log, tt.why) || len(log) > 4000 {
						t.Error(log)
					}
					if policy.DeadLetterTopic == "" {
						s.settledIs(t, "1 rejected")
						s.stats(t, NotificationStats{Received: 1, Malformed: 1, Dropped: 1})
						continue
					}
					s.settledIs(t, "1 accepted")
					s.stats(t, NotificationStats{Received: 1, Malformed: 1, DeadLettered: 1})
					letters := s.buried()
					if len(letters) != 1 || letters[0].Priority != "error" || letters[0].Headers[DeadLetterReason] != reasonMalformed || !json.Valid(letters[0].Body) {
						t.Errorf("%+v", letters)
					}
				}
			})
		})
	}
}

// Fields that are missing or null are empty; so are strange timestamps. The level is read in any case.
func TestLenient(t *testing.T) {
	for body, want := range map[string]Priority{
		`{"priority":"info"}`: PriorityInfo,
		`{"priority":"WARNING","message_id":null,"publisher_id":null,"event_type":null,"payload":null,"timestamp":null}`: PriorityWarn,
		`{"priority":"Sample","timestamp":"yesterday","more":[{}],"payload":NaN}`:                                        PrioritySample,
		`{ "priority" : "nope" , "priority" : "audit" }`:                                                                 PriorityAudit,
	} {
		n, err := parseNotification(rawEvent(1, body))
		if err != nil || n.Priority != want || n.MessageID+n.PublisherID+n.EventType != "" || !n.Timestamp.IsZero() || n.Context != nil {
			t.Errorf("%s: %+v, %v", body, n, err)
		}
	}
}

// A request in a pool's queue: the pool has the name of a topic.
func TestRequestInAPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newNoticeStage(t, &NotificationListenerOptions{Pool: "compute", Failure: failing(-1)}, on(ran(&sequence{}, "", nil)))
		s.deliver(withToken(castOf("c", "m", "{}"), 1))
		s.deliver(withToken(callOf("d", "m", "{}"), 2))
		synctest.Wait()
		s.settledIs(t, "1 rejected, 2 rejected")
		s.stats(t, NotificationStats{Received: 2, Malformed: 2})
		if !strings.Contains(s.logged(), "a pool must not have the name of a topic") {
			t.Error(s.logged())
		}
	})
}
