// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

// testGoNotifiesLevels: every level, to two topics at once. The copies have one message id.
func testGoNotifiesLevels(t *testing.T, p *notePeers) {
	eachFormat(t, func(t *testing.T, f format) {
		n := p.goNotifier(messaging.NotifierOptions{Topics: pythonTopics, Outlets: f.outlets()})
		event := "levels." + f.name
		before := time.Now()
		for _, level := range messaging.Priorities() {
			if err := n.Notify(soon(t), level, event, map[string]any{"level": string(level)}); err != nil {
				t.Fatal(err)
			}
		}
		levels := make(map[string][]peertest.Noted)
		for _, got := range p.pythonHeard(t, event, 2*len(messaging.Priorities())) {
			levels[got.Level] = append(levels[got.Level], got)
			if *got.PublisherID != "go.host" || !sameJSON(t, []byte(got.Payload), []byte(`{"level": "`+got.Level+`"}`)) {
				t.Errorf("got %+v", got)
			}
			checkTimestamp(t, got.Metadata["timestamp"], before)
		}
		for _, level := range messaging.Priorities() {
			copies := levels[string(level)]
			if len(copies) != 2 || copies[0].Metadata["message_id"] != copies[1].Metadata["message_id"] || len(copies[0].Metadata["message_id"]) != 36 {
				t.Errorf("level %s: %+v", level, copies)
			}
		}
	})
}

func testPythonNotifiesLevels(t *testing.T, p *notePeers) {
	eachFormat(t, func(t *testing.T, f format) {
		event := "levels." + f.name
		before := time.Now()
		for _, level := range messaging.Priorities() {
			p.notify(t, peertest.Event{Driver: f.driver, Topics: goTopics, Level: string(level), EventType: event, Payload: map[string]any{"level": level}})
		}
		levels := make(map[messaging.Priority][]*messaging.Notification)
		for _, got := range p.goListener.wait(t, event, 2*len(messaging.Priorities())) {
			levels[got.Priority] = append(levels[got.Priority], got)
			var payload map[string]any
			if err := got.Decode(&payload); err != nil || payload["level"] != string(got.Priority) {
				t.Errorf("the payload is %s, %v", got.Payload, err)
			}
			if got.PublisherID != "python.host" || got.Format != f.format || got.Attempt != 1 || got.Redelivered {
				t.Errorf("got %+v", got)
			}
			if late := got.Timestamp.Sub(before); late < -time.Second || late > patience {
				t.Errorf("the timestamp is %v", got.Timestamp)
			}
		}
		for _, level := range messaging.Priorities() {
			copies := levels[level]
			if len(copies) != 2 || copies[0].MessageID != copies[1].MessageID || len(copies[0].MessageID) != 36 {
				t.Errorf("level %s: %+v", level, copies)
			}
		}
	})
}

// checkTimestamp checks one as Python has it.
func checkTimestamp(t *testing.T, text string, before time.Time) {
	t.Helper()
	at, err := time.Parse("2006-01-02 15:04:05.999999", text)
	if late := at.Sub(before); err != nil || late < -time.Second || late > patience {
		t.Errorf("the timestamp is %q, %v", text, err)
	}
}

// names are those of publishers and event types that are not plain.
func names() []string {
	return []string{"compute.host1", "älice ☃ 😀", `"quotes" \ and / more`, "<b>&amp;</b>", "a  b", strings.Repeat("long", 100)}
}

func testGoNotifiesNames(t *testing.T, p *notePeers) {
	for _, name := range names() {
		n := p.goNotifier(messaging.NotifierOptions{PublisherID: name})
		if err := n.Info(soon(t), "names "+name, nil); err != nil {
			t.Error(err)
			continue
		}
		if got := p.pythonHeard(t, "names "+name, 1)[0]; *got.PublisherID != name || got.Payload != "null" {
			t.Errorf("got %+v", got)
		}
	}
}

func testPythonNotifiesNames(t *testing.T, p *notePeers) {
	for _, name := range names() {
		// Control characters, which we do not send, are understood.
		name += "\t\n\x7f"
		p.notify(t, peertest.Event{PublisherID: name, EventType: "names " + name})
		if got := p.goListener.wait(t, "names "+name, 1)[0]; got.PublisherID != name || string(got.Payload) != "null" {
			t.Errorf("got %+v", got)
		}
	}
}

func testGoNotifiesValues(t *testing.T, p *notePeers) { goNotifiesAll(t, p, "plain", plainValues()) }
func testPythonNotifiesValues(t *testing.T, p *notePeers) {
	pythonNotifiesAll(t, p, "plain", plainValues())
}
func testGoNotifiesHuge(t *testing.T, p *notePeers) { goNotifiesAll(t, p, "huge", hugeValues()) }
func testPythonNotifiesHuge(t *testing.T, p *notePeers) {
	pythonNotifiesAll(t, p, "huge", hugeValues())
}
func testGoNotifiesMebibyte(t *testing.T, p *notePeers) {
	goNotifiesAll(t, p, "mebibyte", mebibytes()[:2])
}
func testPythonNotifiesMebibyte(t *testing.T, p *notePeers) {
	pythonNotifiesAll(t, p, "mebibyte", mebibytes()[:2])
}

// goNotifiesAll lets a Python listener tell what it got of each value.
func goNotifiesAll(t *testing.T, p *notePeers, kind string, values []jsonValue) {
	eachFormat(t, func(t *testing.T, f format) {
		n := p.goNotifier(messaging.NotifierOptions{Outlets: f.outlets()})
		for _, v := range values {
			event := kind + " " + v.name + " " + f.name
			if err := n.Info(soon(t), event, v.want); err != nil {
				t.Errorf("%s: %v", v.name, err)
				continue
			}
			if got := p.pythonHeard(t, event, 1)[0].Payload; !sameJSON(t, []byte(got), []byte(v.text)) {
				t.Errorf("%s: got %.200s, want %.200s", v.name, got, v.text)
			}
		}
	})
}

func pythonNotifiesAll(t *testing.T, p *notePeers, kind string, values []jsonValue) {
	eachFormat(t, func(t *testing.T, f format) {
		for _, v := range values {
			event := kind + " " + v.name + " " + f.name
			p.notify(t, peertest.Event{Driver: f.driver, EventType: event, PayloadJSON: v.text})
			got := p.goListener.wait(t, event, 1)[0]
			if !sameJSON(t, got.Payload, []byte(v.text)) {
				t.Errorf("%s: got %.200s, want %.200s", v.name, got.Payload, v.text)
			}
			var decoded any
			if err := got.Decode(&decoded); err != nil || !reflect.DeepEqual(decoded, v.want) {
				t.Errorf("%s: decoded %s, %v", v.name, short(decoded), err)
			}
		}
	})
}

// rawPayloads cross as text only: they equal nothing, or a Go string cannot hold them.
func testGoNotifiesNaN(t *testing.T, p *notePeers)        { goNotifiesText(t, p, nanText) }
func testPythonNotifiesNaN(t *testing.T, p *notePeers)    { pythonNotifiesText(t, p, nanText) }
func testGoNotifiesSurrogates(t *testing.T, p *notePeers) { goNotifiesText(t, p, surrogateText) }
func testPythonNotifiesSurrogates(t *testing.T, p *notePeers) {
	pythonNotifiesText(t, p, surrogateText)
}

const (
	nanText       = `[NaN, Infinity, -Infinity, {"v": NaN}]`
	surrogateText = `["\ud800", "a\udfffb", "\ude00\ud83d", "\ud83d\ude00"]`
)

func goNotifiesText(t *testing.T, p *notePeers, text string) {
	eachFormat(t, func(t *testing.T, f format) {
		n := p.goNotifier(messaging.NotifierOptions{Outlets: f.outlets()})
		event := "text " + text + f.name
		if err := n.Info(soon(t), event, rawPayload(text)); err != nil {
			t.Fatal(err)
		}
		if got := p.pythonHeard(t, event, 1)[0].Payload; got != text {
			t.Errorf("got %s, want %s", got, text)
		}
	})
}

func pythonNotifiesText(t *testing.T, p *notePeers, text string) {
	eachFormat(t, func(t *testing.T, f format) {
		event := "text " + text + f.name
		p.notify(t, peertest.Event{Driver: f.driver, EventType: event, PayloadJSON: text})
		if got := string(p.goListener.wait(t, event, 1)[0].Payload); got != text {
			t.Errorf("got %s, want %s", got, text)
		}
	})
}

// testGoNotifiesHeaders: Python handles a notification with headers like any other.
func testGoNotifiesHeaders(t *testing.T, p *notePeers) {
	tr, check := p.goTransport, func(*testing.T) {}
	if p.broker != nil {
		proxy := peertest.RunAMQPProxy(t, p.broker.Addr())
		tr, _ = bed.Open(t, p.broker.URLAt(proxy.Addr(), p.vhost))
		check = func(t *testing.T) { sentHeaders(t, proxy) }
	}
	eachFormat(t, func(t *testing.T, f format) {
		n := messaging.NewNotifier(tr, &messaging.NotifierOptions{
			Topics: append([]string{goTopics[0]}, pythonTopics...), Outlets: []messaging.Outlet{outletWithHeaders(f)},
		})
		event := "headers." + f.name
		if err := n.Info(soon(t), event, 1); err != nil {
			t.Fatal(err)
		}
		p.pythonHeard(t, event, 2)
		if got := p.goListener.wait(t, event, 1)[0]; !reflect.DeepEqual(got.Headers, headers()) {
			t.Errorf("Go heard the headers %v", got.Headers)
		}
		check(t) // otherwise nothing is proven
	})
}

// sentHeaders checks that they were in what was published, and forgets it.
func sentHeaders(t *testing.T, proxy *peertest.AMQPProxy) {
	t.Helper()
	m, err := proxy.WaitFor(soon(t), func(m peertest.Method) bool { return m.Name == "basic.publish" && m.FromClient })
	if err != nil {
		t.Fatal(err)
	}
	sent, _ := m.Properties["headers"].(map[string]any)
	for header, value := range headers() {
		if sent[header] != value {
			t.Errorf("the header %s was sent as %v", header, sent[header])
		}
	}
	proxy.Reset()
}

// testPythonNotifiesHeaders: those of Python have none.
func testPythonNotifiesHeaders(t *testing.T, p *notePeers) {
	eachFormat(t, func(t *testing.T, f format) {
		event := "no headers." + f.name
		p.notify(t, peertest.Event{Driver: f.driver, EventType: event})
		if got := p.goListener.wait(t, event, 1)[0]; len(got.Headers) != 0 {
			t.Errorf("Go heard the headers %v", got.Headers)
		}
	})
}

// testGoFiltered: a Python listener with a filter, and one of ours, take the same of what Go sends.
func testGoFiltered(t *testing.T, p *notePeers) {
	testFiltered(t, p, "filtered.go", func(publisher, event string, topics []string) {
		n := p.goNotifier(messaging.NotifierOptions{PublisherID: publisher, Topics: topics})
		if err := n.Info(soon(t), event, nil); err != nil {
			t.Fatal(err)
		}
	})
}

func testPythonFiltered(t *testing.T, p *notePeers) {
	testFiltered(t, p, "filtered.python", func(publisher, event string, topics []string) {
		p.notify(t, peertest.Event{PublisherID: publisher, EventType: event, Topics: topics})
	})
}

// testFiltered has the two listen in pools of their own, or to topics of their own where there are
// no pools.
func testFiltered(t *testing.T, p *notePeers, topic string, notify func(publisher, event string, topics []string)) {
	topics, pools := []string{topic}, map[string]string{"theirs": topic + "-theirs", "ours": topic + "-ours"}
	if !p.wire.Has(driver.CapPools) {
		topics, pools = []string{topic, topic + "2"}, nil
	}
	filter := map[string]string{"publisher_id": "compute.*1$", "event_type": `instance\.(create|delete)`}
	theirs := p.runPythonListener(t, peertest.PythonListenerOptions{Pool: pools["theirs"], Filter: filter}, topics[0])
	ours := &heard{}
	ep := messaging.NewNotificationEndpoint(&messaging.NotificationEndpointOptions{
		Filter: &messaging.NotificationFilter{PublisherID: filter["publisher_id"], EventType: filter["event_type"]},
	})
	ep.Handle(messaging.PriorityInfo, ours.handle)
	l := p.listenWith(t, &messaging.NotificationListenerOptions{Pool: pools["ours"], Concurrency: 1}, ep, topics[len(topics)-1])
	want := make(map[string]bool)
	for _, publisher := range []string{"compute.host1", "compute.host2", "my compute.host1", "compute1"} {
		for _, event := range []string{"instance.create.end", "an instance.create", "instance.update", "instance.delete"} {
			taken := publisher != "compute.host2" && publisher != "my compute.host1" && strings.HasPrefix(event, "instance.") && event != "instance.update"
			if taken {
				want[publisher+" "+event] = true
			}
			notify(publisher, event, topics)
		}
	}
	got := make(map[string]bool)
	for _, n := range ours.wait(t, "", len(want)) {
		got[n.PublisherID+" "+n.EventType] = true
	}
	if !maps.Equal(got, want) {
		t.Errorf("Go took %v", got)
	}
	got = make(map[string]bool)
	for _, n := range pythonHas(t, theirs, "", len(want)) {
		got[*n.PublisherID+" "+*n.EventType] = true
	}
	if !maps.Equal(got, want) {
		t.Errorf("Python took %v", got)
	}
	if s := l.Stats(); s.Handled != uint64(len(want)) {
		t.Errorf("the counters are %+v", s)
	}
}
