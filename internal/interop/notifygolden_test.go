// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/pyjson"
	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// updateVariable lets TestGoldenNotifications write what Parley publishes, to be looked at.
const updateVariable = "PARLEY_GOLDEN_UPDATE"

// notifyGolden is where the recordings of a release are, and "parley" those of our own.
func notifyGolden(release string) string { return filepath.Join("testdata", "golden", release) }

// TestGoldenNotifications sends what Python's notifiers of the recordings sent, and compares what
// our driver published with what they did: byte by byte, but for blanks and what differs each time.
func TestGoldenNotifications(t *testing.T) {
	broker := bed.Broker(t)
	proxy := peertest.RunAMQPProxy(t, broker.Addr())
	tr, _ := bed.Open(t, broker.URLAt(proxy.Addr(), broker.NewVhost(t)))
	for _, release := range []string{peertest.OsloNewest, peertest.OsloDebian} {
		files, err := filepath.Glob(filepath.Join(notifyGolden(release), "notification_*.json"))
		if err != nil || len(files) != 12 {
			t.Fatalf("found %d recordings of notifications, %v", len(files), err)
		}
		for _, file := range files {
			name := filepath.Base(file)
			t.Run(release+"/"+name, func(t *testing.T) {
				proxy.Reset()
				want := readGolden(t, file)
				renotify(t, tr, want)
				m, err := proxy.WaitFor(soon(t), func(m peertest.Method) bool { return m.Name == "basic.publish" && m.FromClient })
				if err != nil {
					t.Fatal(err)
				}
				compareNotification(t, m, want)
				if release == peertest.OsloNewest {
					keepNotification(t, name, m)
				}
			})
		}
	}
}

// notificationOf returns the text of a notification's object in a body of either format.
func notificationOf(t *testing.T, body string) (text string, f messaging.NotificationFormat) {
	t.Helper()
	outer, ok := decodeJSON(t, []byte(body)).(map[string]any)
	if !ok {
		t.Fatalf("not an object: %.200s", body)
	}
	inner, enveloped := outer["oslo.message"].(string)
	if !enveloped {
		return body, messaging.NotificationV1
	}
	// Key order and version; the text in it is compared by the caller.
	if want := `{"oslo.version":"2.0","oslo.message":"`; !strings.HasPrefix(compact(body), want) || len(outer) != 2 {
		t.Errorf("the envelope is %.100s", body)
	}
	return inner, messaging.NotificationV2
}

// renotify sends the notification of a recording from Go.
func renotify(t *testing.T, tr *messaging.Transport, m goldenMessage) {
	t.Helper()
	text, format := notificationOf(t, m.Body)
	var fields struct {
		PublisherID string          `json:"publisher_id"`
		EventType   string          `json:"event_type"`
		Priority    string          `json:"priority"`
		Payload     json.RawMessage `json:"-"`
	}
	rc := messaging.RequestContext{}
	values, _ := decodeJSON(t, []byte(text)).(map[string]any)
	for key, value := range values {
		if name, ok := strings.CutPrefix(key, "_context_"); ok {
			rc[name] = value
		}
	}
	fields.PublisherID, _ = values["publisher_id"].(string)
	fields.EventType, _ = values["event_type"].(string)
	fields.Priority, _ = values["priority"].(string)
	fields.Payload = rawPayload(payloadOf(t, text))
	topic, level, _ := strings.Cut(m.RoutingKey, ".")
	priority, err := messaging.ParsePriority(fields.Priority)
	if err != nil || string(priority) != level {
		t.Fatalf("the routing key is %s, the priority %s, %v", m.RoutingKey, priority, err)
	}
	n := messaging.NewNotifier(tr, &messaging.NotifierOptions{
		PublisherID: fields.PublisherID, Topics: []string{topic}, Outlets: []messaging.Outlet{messaging.BrokerOutlet(format)},
	})
	// What is not published must not be, whatever the filter leaves.
	rc["auth_token"] = "token"
	if err := n.Notify(messaging.WithRequestContext(soon(t), rc), priority, fields.EventType, fields.Payload); err != nil {
		t.Fatal(err)
	}
}

// payloadOf is the text of the payload in a notification.
func payloadOf(t *testing.T, text string) string {
	t.Helper()
	const before, after = `"payload": `, `, "timestamp": "`
	_, rest, ok := strings.Cut(text, before)
	payload, _, ok2 := strings.Cut(rest, after)
	if !ok || !ok2 {
		t.Fatalf("no payload in %s", text)
	}
	return payload
}

// compareNotification compares all that a peer can see.
func compareNotification(t *testing.T, got peertest.Method, want goldenMessage) {
	t.Helper()
	address := func(exchange, key, mandatory any) string {
		return fmt.Sprintf("exchange %v, routing key %v, mandatory %v", exchange, key, mandatory)
	}
	if g, w := address(got.Args["exchange"], got.Args["routing_key"], got.Args["mandatory"]), address(want.Exchange, want.RoutingKey, want.Mandatory); g != w {
		t.Errorf("published to %s, Python to %s", g, w)
	}
	compareProperties(t, got.Properties, want.Properties)
	g, format := notificationOf(t, string(got.Body))
	w, wanted := notificationOf(t, want.Body)
	if format != wanted {
		t.Errorf("published in format %v, want %v", format, wanted)
	}
	if g, w := fieldTexts(t, masked(g)), fieldTexts(t, masked(w)); !slices.Equal(g, w) {
		t.Errorf("published\n%s, Python\n%s", g, w)
	}
}

// fieldTexts are the fields of an object in their order, as they are written but for blanks. Python
// escapes what is not ASCII in texts, which is the same text.
func fieldTexts(t *testing.T, text string) (texts []string) {
	t.Helper()
	fields, err := pyjson.Fields(nil, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		value := compact(string(f.Value))
		if strings.HasPrefix(value, `"`) {
			value = canonical(t, f.Value)
		}
		texts = append(texts, string(f.Key)+":"+value)
	}
	return texts
}

var (
	dashedID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)
	hexID    = regexp.MustCompile(`[0-9a-f]{32}`)
	stamp    = regexp.MustCompile(`[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6})?`)
)

// masked is a body without what differs each time. The forms must be the same.
func masked(body string) string {
	body = dashedID.ReplaceAllLiteralString(body, "00000000-0000-4000-8000-000000000001")
	body = hexID.ReplaceAllLiteralString(body, "00000000000000000000000000000001")
	return stamp.ReplaceAllLiteralString(body, "2026-01-02 03:04:05.000006")
}

// compact is JSON without blanks between its tokens. NaN is left alone.
func compact(text string) string {
	var b strings.Builder
	inText, escaped := false, false
	for _, c := range []byte(text) {
		switch {
		case escaped:
			escaped = false
		case inText && c == '\\':
			escaped = true
		case c == '"':
			inText = !inText
		case !inText && c == ' ':
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// keepNotification compares what we publish with what we did.
func keepNotification(t *testing.T, name string, m peertest.Method) {
	t.Helper()
	exchange, _ := m.Args["exchange"].(string)
	key, _ := m.Args["routing_key"].(string)
	mandatory, _ := m.Args["mandatory"].(bool)
	text, err := json.MarshalIndent(goldenMessage{exchange, key, mandatory, m.Properties, masked(string(m.Body))}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
	file := filepath.Join(notifyGolden("parley"), name)
	if os.Getenv(updateVariable) == "1" {
		if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if kept, err := os.ReadFile(file); err != nil || string(kept) != string(text) {
		t.Errorf("published\n%s, before\n%s, %v", text, kept, err)
	}
}

// TestGoldenNotificationTopology compares what our driver declares, binds and consumes for a
// notifier and for listeners with what Python's did.
func TestGoldenNotificationTopology(t *testing.T) {
	broker := bed.Broker(t)
	for _, release := range []string{peertest.OsloNewest, peertest.OsloDebian} {
		for _, tc := range []struct {
			file string
			run  func(t *testing.T, tr *messaging.Transport)
		}{
			{"notifier_first.json", func(t *testing.T, tr *messaging.Transport) {
				n := messaging.NewNotifier(tr, nil)
				if err := n.Info(soon(t), "first", nil); err != nil {
					t.Fatal(err)
				}
			}},
			{"listener_start.json", func(t *testing.T, tr *messaging.Transport) { listenAs(t, tr, "") }},
			{"pool_start.json", func(t *testing.T, tr *messaging.Transport) { listenAs(t, tr, "recorder") }},
		} {
			t.Run(release+"/"+tc.file, func(t *testing.T) {
				proxy := peertest.RunAMQPProxy(t, broker.Addr())
				tr, _ := bed.Open(t, broker.URLAt(proxy.Addr(), broker.NewVhost(t)))
				tc.run(t, tr)
				var want []goldenMethod
				text, err := os.ReadFile(filepath.Join(notifyGolden(release), tc.file))
				if err != nil {
					t.Fatal(err)
				}
				if err := json.Unmarshal(text, &want); err != nil {
					t.Fatal(err)
				}
				// A listener consumes once it has been asked for something.
				compareTopology(t, sentTopology(t, proxy, topologyOf(t, want)), topologyOf(t, want))
			})
		}
	}
}

// sentTopology waits until a driver has sent what is wanted, and returns all it sent.
func sentTopology(t *testing.T, proxy *peertest.AMQPProxy, want []string) (topology []string) {
	t.Helper()
	testbed.Wait(patience, func() bool {
		var got []goldenMethod
		for _, m := range proxy.Methods() {
			if m.FromClient {
				got = append(got, goldenMethod{m.Name, m.Args})
			}
		}
		topology = topologyOf(t, got)
		return !slices.ContainsFunc(want, func(m string) bool { return !slices.Contains(topology, m) })
	})
	return topology
}

// listenAs listens as the recorded listeners did.
func listenAs(t *testing.T, tr *messaging.Transport, pool string) {
	t.Helper()
	h := &heard{}
	ep := messaging.NewNotificationEndpoint(nil)
	ep.Handle(messaging.PriorityInfo, h.handle)
	ep.Handle(messaging.PriorityError, h.handle)
	testbed.Serve(t, messaging.NewNotificationListener(tr, targetsOf([]string{messaging.DefaultNotificationTopic}),
		&messaging.NotificationListenerOptions{Pool: pool}, ep))
}
