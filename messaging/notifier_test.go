// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// wiretap keeps the notifications that reach the driver, and says what becomes of them.
type wiretap struct {
	mu   sync.Mutex // guards the rest
	sent []driver.Message
	fate func(driver.Message) error // nil takes all
}

func (w *wiretap) hook(f *faults) {
	f.onSend = func(_ context.Context, m *driver.Message) (bool, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.sent = append(w.sent, *m)
		if w.fate != nil {
			return true, w.fate(*m)
		}
		return true, nil
	}
}

func (w *wiretap) set(fate func(driver.Message) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fate = fate
}

func (w *wiretap) take() []driver.Message {
	w.mu.Lock()
	defer w.mu.Unlock()
	sent := w.sent
	w.sent = nil
	return sent
}

// tapped is a rig whose notifications are seen and go nowhere.
func tapped(t testing.TB) (*rig, *wiretap) {
	w := &wiretap{}
	return newRig(t, nil, w.hook), w
}

// combination is one row of upstream's table (oslo_messaging/tests/notify/test_notifier.py,
// TestMessagingNotifier).
type combination struct {
	v1, v2               bool
	ctorID, prepareID    string
	topics               []string
	priority             Priority
	retryCase            int // unset, None, 0, 5
	wantID               string
	wantFailFast, noSend bool
}

func combinations() []combination {
	var all []combination
	for _, v1 := range []bool{true, false} {
		for _, v2 := range []bool{true, false} {
			for _, id := range [][3]string{{"test", "", "test"}, {"", "test.localhost", "test.localhost"}, {"test", "test.localhost", "test.localhost"}} {
				for _, topics := range [][]string{{}, {"notifications"}, {"foo", "bar"}} {
					for _, p := range Priorities() {
						for retry := range 4 {
							all = append(all, combination{v1, v2, id[0], id[1], topics, p, retry, id[2], retry >= 2, !v1 && !v2})
						}
					}
				}
			}
		}
	}
	return all
}

func (c combination) notifier(tr *Transport) *Notifier {
	o := NotifierOptions{PublisherID: c.ctorID, Topics: c.topics}
	if c.v1 {
		o.Outlets = append(o.Outlets, BrokerOutlet(NotificationV1))
	}
	if c.v2 {
		o.Outlets = append(o.Outlets, BrokerOutlet(NotificationV2))
	}
	if c.noSend {
		o.Outlets = []Outlet{OutletFunc(func(context.Context, *Notification) error { return nil })}
	}
	n := NewNotifier(tr, &o)
	if c.prepareID != "" {
		n = n.With(PublisherID(c.prepareID))
	}
	switch c.retryCase {
	case 1:
		n = n.With(NotifyRetry(-1))
	case 2:
		n = n.With(NotifyRetry(0))
	case 3:
		n = n.With(NotifyRetry(5))
	}
	return n
}

// call uses the method of the priority.
func (c combination) call(ctx context.Context, n *Notifier) error {
	payload := map[string]any{"foo": "bar"}
	switch c.priority {
	case PriorityAudit:
		return n.Audit(ctx, "test.notify", payload)
	case PriorityDebug:
		return n.Debug(ctx, "test.notify", payload)
	case PriorityInfo:
		return n.Info(ctx, "test.notify", payload)
	case PriorityWarn:
		return n.Warn(ctx, "test.notify", payload)
	case PriorityError:
		return n.Error(ctx, "test.notify", payload)
	case PriorityCritical:
		return n.Critical(ctx, "test.notify", payload)
	default:
		return n.Sample(ctx, "test.notify", payload)
	}
}

// want are the messages of the row: each format to each topic.
func (c combination) want() []string {
	topics := c.topics
	if len(topics) == 0 {
		topics = []string{"notifications"} // upstream then sends nothing at all
	}
	var want []string
	for _, f := range []struct {
		on     bool
		format NotificationFormat
	}{{c.v1, NotificationV1}, {c.v2, NotificationV2}} {
		for _, topic := range topics {
			if f.on {
				want = append(want, fmt.Sprintf("openstack/%s.%s v%d failfast=%v", topic, c.priority, f.format, c.wantFailFast))
			}
		}
	}
	slices.Sort(want)
	return want
}

// TestUpstreamsCombinations are upstream's 1008.
func TestUpstreamsCombinations(t *testing.T) {
	rows := combinations()
	if len(rows) != 1008 {
		t.Fatalf("%d combinations", len(rows))
	}
	r, tap := tapped(t)
	ctx := WithRequestContext(t.Context(), RequestContext{"user": "bob"})
	for _, c := range rows {
		n := c.notifier(r.Transport)
		if err := c.call(ctx, n); err != nil || !n.Enabled() {
			t.Fatalf("%+v: %v, enabled %v", c, err, n.Enabled())
		}
		var got []string
		ids := map[string]bool{}
		for _, m := range tap.take() {
			got = append(got, fmt.Sprintf("%s/%s.%s v%d failfast=%v", m.Target.Exchange, m.Target.Topic, m.Priority, m.Format, m.FailFast))
			ids[m.UniqueID] = true
			checkBody(t, c, m)
		}
		slices.Sort(got)
		if !slices.Equal(got, c.want()) || len(ids) != len(got) {
			t.Fatalf("%+v: sent %q, want %q, %d unique ids", c, got, c.want(), len(ids))
		}
	}
}

// checkBody checks every byte of the body: upstream's keys in upstream's order.
func checkBody(t *testing.T, c combination, m driver.Message) {
	t.Helper()
	var ids struct {
		MessageID string `json:"message_id"`
		Timestamp string `json:"timestamp"`
	}
	if err := json.Unmarshal(m.Body, &ids); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"message_id":"%s","publisher_id":"%s","event_type":"test.notify","priority":"%s","payload":{"foo": "bar"},"timestamp":"%s"}`,
		ids.MessageID, c.wantID, strings.ToUpper(string(c.priority)), ids.Timestamp)
	at := parseTimestamp(ids.Timestamp)
	switch {
	case string(m.Body) != want:
		t.Errorf("body %s, want %s", m.Body, want)
	case len(ids.MessageID) != 36 || strings.Count(ids.MessageID, "-") != 4:
		t.Errorf("message id %q", ids.MessageID)
	case time.Since(at).Abs() > time.Minute || at.Location() != time.UTC:
		t.Errorf("timestamp %q", ids.Timestamp)
	case string(m.Context) != `{"user": "bob"}`:
		t.Errorf("context %s", m.Context)
	}
}

func TestBodyBytes(t *testing.T) {
	at := time.Date(2024, 2, 29, 23, 59, 58, 70_000, time.UTC)
	for _, tc := range []struct {
		name string
		n    Notification
		want string
	}{
		{"empty texts are None", Notification{MessageID: "m", Priority: PriorityWarn, Timestamp: at},
			`{"message_id":"m","publisher_id":null,"event_type":null,"priority":"WARN","payload":null,"timestamp":"2024-02-29 23:59:58.000070"}`},
		{"whole second", Notification{MessageID: "m", PublisherID: "p", EventType: "e", Priority: PrioritySample, Payload: []byte(`[1.0]`), Timestamp: at.Truncate(time.Second)},
			`{"message_id":"m","publisher_id":"p","event_type":"e","priority":"SAMPLE","payload":[1.0],"timestamp":"2024-02-29 23:59:58"}`},
		{"another zone", Notification{MessageID: "m", PublisherID: "p", EventType: "e", Priority: PriorityInfo, Payload: []byte(`"x"`), Timestamp: at.In(time.FixedZone("", 3600))},
			`{"message_id":"m","publisher_id":"p","event_type":"e","priority":"INFO","payload":"x","timestamp":"2024-02-29 23:59:58.000070"}`},
		{"not ASCII", Notification{MessageID: "m", PublisherID: "é", EventType: `"`, Priority: PriorityInfo, Payload: []byte(`NaN`), Timestamp: at},
			`{"message_id":"m","publisher_id":"é","event_type":"\"","priority":"INFO","payload":NaN,"timestamp":"2024-02-29 23:59:58.000070"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := string(tc.n.appendBody(nil)); got != tc.want {
				t.Errorf("\n%s, want\n%s", got, tc.want)
			}
		})
	}
}

func TestTimestamps(t *testing.T) {
	for text, want := range map[string]string{
		"2024-02-29 23:59:58.000070":       "2024-02-29T23:59:58.00007Z",
		"2024-02-29 23:59:58":              "2024-02-29T23:59:58Z",
		"2024-02-29T23:59:58.5":            "2024-02-29T23:59:58.5Z",
		"2024-02-29T23:59:58+01:00":        "2024-02-29T22:59:58Z",
		"2024-02-29T23:59:58.123456+00:00": "2024-02-29T23:59:58.123456Z",
		"yesterday":                        "0001-01-01T00:00:00Z",
		"":                                 "0001-01-01T00:00:00Z",
	} {
		if got := parseTimestamp(text).Format(time.RFC3339Nano); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	now := time.Now()
	if got := parseTimestamp(formatTimestamp(now)); !got.Equal(now.Truncate(time.Microsecond)) {
		t.Errorf("%v comes back as %v", now, got)
	}
}

func TestWrongNotifications(t *testing.T) {
	failing := OutletFunc(func(context.Context, *Notification) error { t.Error("an outlet was called"); return nil })
	for _, tc := range []struct {
		name      string
		opts      NotifierOptions
		priority  Priority
		eventType string
		payload   any
		want      error
		text      string
	}{
		{"no priority", NotifierOptions{}, "", "e", nil, ErrConfig, `no priority ""`},
		{"unknown priority", NotifierOptions{}, "fatal", "e", nil, ErrConfig, `no priority "fatal"; use the constants`},
		{"priority in capitals", NotifierOptions{}, "INFO", "e", nil, ErrConfig, `no priority "INFO"`},
		{"event type", NotifierOptions{}, PriorityInfo, "a\nb", nil, ErrConfig, `the event type "a\nb" has a control character`},
		{"event type of bytes", NotifierOptions{}, PriorityInfo, "a\xff", nil, ErrConfig, `the event type "a\xff" is not UTF-8`},
		{"publisher id", NotifierOptions{PublisherID: "a\x00"}, PriorityInfo, "e", nil, ErrConfig, "the publisher id has a control character"},
		{"payload", NotifierOptions{}, PriorityInfo, "e", func() {}, ErrEncoding, "the payload cannot be encoded"},
		{"payload in depth", NotifierOptions{}, PriorityInfo, "e", map[string]any{"a": make(chan int)}, ErrEncoding, "the payload cannot be encoded"},
		{"raw payload", NotifierOptions{}, PriorityInfo, "e", json.RawMessage("{"), ErrEncoding, "the payload cannot be encoded"},
		{"payload of a serializer", NotifierOptions{Serializer: brokenSerializer{text: "{"}}, PriorityInfo, "e", nil, ErrEncoding, "the payload cannot be encoded"},
		{"serializer panics", NotifierOptions{Serializer: brokenSerializer{}}, PriorityInfo, "e", nil, ErrEncoding, "panic: no text"},
		{"topic", NotifierOptions{Topics: []string{"a", "#"}}, PriorityInfo, "e", nil, ErrInvalidTarget, "wildcard"},
		{"empty topic", NotifierOptions{Topics: []string{""}}, PriorityInfo, "e", nil, ErrInvalidTarget, "a notifier needs a topic"},
		{"timeout", NotifierOptions{Timeout: -1}, PriorityInfo, "e", nil, ErrConfig, "the timeout is negative"},
		{"outlet", NotifierOptions{Outlets: []Outlet{nil}}, PriorityInfo, "e", nil, ErrConfig, "an outlet is nil"},
		{"spool", NotifierOptions{Spool: &Spool{}}, PriorityInfo, "e", nil, ErrConfig, "another transport"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, tap := tapped(t)
			var told error
			if tc.opts.Outlets == nil {
				tc.opts.Outlets = []Outlet{BrokerOutlet(0), failing}
			}
			tc.opts.OnResult = func(_ *Notification, err error) { told = err }
			n := NewNotifier(r.Transport, &tc.opts)
			err := n.Notify(t.Context(), tc.priority, tc.eventType, tc.payload)
			n.NotifyAndForget(t.Context(), tc.priority, tc.eventType, tc.payload)
			for _, err := range []error{err, told} {
				if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) || strings.Contains(err.Error(), "\n") {
					t.Errorf("got %v, want %v with %q", err, tc.want, tc.text)
				}
			}
			if sent := tap.take(); len(sent) > 0 {
				t.Errorf("sent %v", sent)
			}
		})
	}
}

// brokenSerializer returns its text, or panics without one.
type brokenSerializer struct {
	JSON
	text string
}

func (b brokenSerializer) Marshal(context.Context, any) ([]byte, error) {
	if b.text == "" {
		panic("no text")
	}
	return []byte(b.text), nil
}

func TestOneFailureStopsNoOther(t *testing.T) {
	r, tap := tapped(t)
	tap.set(func(m driver.Message) error {
		if m.Target.Topic == "a" {
			return driver.Errorf(driver.ReasonAccessRefused, "not allowed to write to a")
		}
		return nil
	})
	var order []string
	own := func(name string, do func() error) Outlet {
		return OutletFunc(func(context.Context, *Notification) error { order = append(order, name); return do() })
	}
	broken := errors.New("broken")
	n := NewNotifier(r.Transport, &NotifierOptions{Topics: []string{"a", "b", "c"}, Outlets: []Outlet{
		own("1", func() error { return broken }), BrokerOutlet(NotificationV1), own("2", func() error { panic("oh") }), own("3", func() error { return nil }),
	}})
	err := n.Info(t.Context(), "e", nil)
	if !errors.Is(err, broken) || !errors.Is(err, ErrRefused) || !errors.Is(err, ErrPanic) || !strings.Contains(err.Error(), "topic=a") {
		t.Errorf("got %v", err)
	}
	var topics []string
	for _, m := range tap.take() {
		topics = append(topics, m.Target.Topic)
	}
	slices.Sort(topics)
	if !slices.Equal(order, []string{"1", "2", "3"}) || !slices.Equal(topics, []string{"a", "b", "c"}) {
		t.Errorf("outlets %v, topics %v", order, topics)
	}
	if st := r.Stats(); st.Notifications != 3 || st.NotificationsFailed != 1 {
		t.Errorf("%+v", st)
	}
}

// TestTopicsDoNotWaitForEachOther: one that waits for its time to end takes it from no other.
func TestTopicsDoNotWaitForEachOther(t *testing.T) {
	r := newRig(t, nil, func(f *faults) {
		f.onSend = func(ctx context.Context, m *driver.Message) (bool, error) {
			if m.Target.Topic == "slow" {
				<-ctx.Done()
				return true, driver.Errorf(driver.ReasonNotConnected, "nobody is there: %w", ctx.Err())
			}
			return true, ctx.Err()
		}
	})
	n := NewNotifier(r.Transport, &NotifierOptions{Topics: []string{"slow", "fast"}, Timeout: 50 * time.Millisecond})
	err := n.Info(t.Context(), "e", nil)
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "topic=slow") || strings.Contains(err.Error(), "topic=fast") {
		t.Errorf("got %v", err)
	}
}

func TestNotifierWith(t *testing.T) {
	r, tap := tapped(t)
	base := NewNotifier(r.Transport, &NotifierOptions{PublisherID: "a", Topics: []string{"x"}})
	other := base.With(PublisherID("b"), Topics("y", "z"), NotifyRetry(0), NotifyTimeout(time.Second))
	for _, n := range []*Notifier{base, other, other.With(Topics())} {
		if err := n.Info(t.Context(), "e", nil); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, m := range tap.take() {
		var body struct {
			ID string `json:"publisher_id"`
		}
		if err := json.Unmarshal(m.Body, &body); err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %s %v", body.ID, m.Target.Topic, m.FailFast))
	}
	slices.Sort(got)
	if want := []string{"a x false", "b notifications true", "b y true", "b z true"}; !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
	if err := base.With(Topics("*")).Info(t.Context(), "e", nil); !errors.Is(err, ErrInvalidTarget) {
		t.Errorf("got %v", err)
	}
}

func TestNotifierEnabled(t *testing.T) {
	r, tap := tapped(t)
	log := LogOutlet(nil)
	for _, tc := range []struct {
		outlets []Outlet
		want    bool
	}{
		{nil, true}, {[]Outlet{NoopOutlet()}, false}, {[]Outlet{NoopOutlet(), NoopOutlet()}, false},
		{[]Outlet{NoopOutlet(), log}, true}, {[]Outlet{OutletFunc(nil)}, true},
	} {
		n := NewNotifier(r.Transport, &NotifierOptions{Outlets: tc.outlets})
		if n.Enabled() != tc.want {
			t.Errorf("%v: %v", tc.outlets, n.Enabled())
		}
		if !tc.want { // a payload that cannot be encoded is not even looked at
			if err := n.Info(t.Context(), "e", func() {}); err != nil {
				t.Error(err)
			}
			n.NotifyAndForget(t.Context(), PriorityInfo, "e", func() {})
		}
	}
	if sent := tap.take(); len(sent) > 0 {
		t.Errorf("sent %v", sent)
	}
}

func TestDefaultPublisherID(t *testing.T) {
	w := &wiretap{}
	r := newRig(t, &Options{AppName: "compute"}, w.hook)
	if err := NewNotifier(r.Transport, nil).Info(t.Context(), "e", nil); err != nil {
		t.Fatal(err)
	}
	if body := string(w.take()[0].Body); !strings.Contains(body, `"publisher_id":"compute.`) {
		t.Error(body)
	}
}

func TestNotifierNeedsNotifications(t *testing.T) {
	r := newRig(t, nil, func(f *faults) { f.info = driver.Info{Name: "plain", Capabilities: []driver.Capability{driver.CapRPC}} })
	err := NewNotifier(r.Transport, nil).Info(t.Context(), "e", nil)
	if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), `"plain" cannot do notifications`) {
		t.Errorf("got %v", err)
	}
	if _, err := OpenSpool(r.Transport, &SpoolOptions{Dir: t.TempDir()}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("got %v", err)
	}
}

func TestOutletGetsNoForeignNotification(t *testing.T) {
	err := BrokerOutlet(0).Notify(t.Context(), &Notification{EventType: "e"})
	if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "not from a notifier") {
		t.Errorf("got %v", err)
	}
}

// TestOutletsMayChangeACopy: what an outlet in front of the broker's changes is sent, if it can be.
func TestOutletsMayChangeACopy(t *testing.T) {
	r, tap := tapped(t)
	change := func(do func(*Notification)) Outlet {
		return OutletFunc(func(ctx context.Context, n *Notification) error {
			c := *n
			do(&c)
			return BrokerOutlet(NotificationV2).Notify(ctx, &c)
		})
	}
	for _, tc := range []struct {
		name   string
		change func(*Notification)
		want   error
	}{
		{"headers and format", func(n *Notification) { n.Headers, n.Format = map[string]string{"traceparent": "00-1"}, NotificationV1 }, nil},
		{"payload", func(n *Notification) { n.Payload = []byte("{") }, ErrEncoding},
		{"headers of bytes", func(n *Notification) { n.Headers = map[string]string{"\xff": ""} }, ErrEncoding},
		{"context", func(n *Notification) { n.Context = RequestContext{"a": func() {}} }, ErrEncoding},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := NewNotifier(r.Transport, &NotifierOptions{Outlets: []Outlet{change(tc.change)}}).Info(t.Context(), "e", nil)
			if !errors.Is(err, tc.want) {
				t.Fatalf("got %v", err)
			}
			sent := tap.take()
			if tc.want != nil {
				if len(sent) > 0 {
					t.Error("it was sent")
				}
				return
			}
			if sent[0].Headers["traceparent"] != "00-1" || sent[0].Format != NotificationV1 {
				t.Errorf("%+v", sent[0])
			}
		})
	}
}
