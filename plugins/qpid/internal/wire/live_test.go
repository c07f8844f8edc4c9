// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/plugin/driver"
)

// updateVariable lets TestLive write what Python sends, to be looked at.
const updateVariable = "PARLEY_GOLDEN_UPDATE"

const (
	goldenDir = "testdata/oslo-14.9.3"
	vhost     = "golden"
)

// golden is one message as Python sent it and go-amqp received it from Broker-J.
type golden struct {
	Name     string            `json:"name"`
	Source   driver.SourceKind `json:"source"`   // where it arrives
	To       string            `json:"to"`       // the address that Python sent it to
	Sections string            `json:"sections"` // hexadecimal
	Text     string            `json:"text"`     // the body, to read
}

// live is a connection of ours to the broker where Python is.
type live struct {
	t    *testing.T
	ctx  context.Context //nolint:containedctx // of one test
	url  string
	tap  *tap
	conn *amqp.Conn
	all  map[string]golden
}

func newLive(t *testing.T) *live {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	broker := peertest.RunSharedBrokerJ(t)
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", broker.Addr())
	if err != nil {
		t.Fatal(err)
	}
	l := &live{t: t, ctx: ctx, url: broker.PythonURL(vhost), tap: &tap{Conn: nc}, all: map[string]golden{}}
	if l.conn, err = amqp.NewConn(ctx, l.tap, &amqp.ConnOptions{ContainerID: "golden", IdleTimeout: -1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.conn.Close() })
	return l
}

func (l *live) session() *amqp.Session {
	l.t.Helper()
	s, err := l.conn.NewSession(l.ctx, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}

func (l *live) receiver(address string) *amqp.Receiver {
	l.t.Helper()
	r, err := l.session().NewReceiver(l.ctx, address, &amqp.ReceiverOptions{Credit: 10, DynamicAddress: address == ""})
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

// receive takes one message and keeps it under a name.
func (l *live) receive(r *amqp.Receiver, name string, kind driver.SourceKind) *driver.Delivery {
	l.t.Helper()
	m, err := r.Receive(l.ctx, nil)
	if err != nil {
		l.t.Fatalf("%s: %v", name, err)
	}
	if err := r.AcceptMessage(l.ctx, m); err != nil {
		l.t.Fatalf("%s: %v", name, err)
	}
	raw := l.tap.next(l.t)
	text, _ := m.Value.(string)
	l.all[name] = golden{
		Name: name, Source: kind, To: r.Address(), Sections: hex.EncodeToString(withoutPaths(raw)), Text: string(withoutPaths([]byte(text))),
	}
	d := new(driver.Delivery)
	if err := Decode(d, m, kind); err != nil {
		l.t.Fatalf("%s: %v", name, err)
	}
	return d
}

var pythonPath = regexp.MustCompile(`/[\w./-]+/(\w+\.py)`)

// withoutPaths makes the paths of this machine in tracebacks others of the same length.
func withoutPaths(text []byte) []byte {
	return pythonPath.ReplaceAllFunc(text, func(path []byte) []byte {
		dir := len(path) - len(filepath.Base(string(path)))
		return append([]byte("/"+strings.Repeat("x", dir-2)+"/"), path[dir:]...)
	})
}

// send sends what Encode makes of m.
func (l *live) send(to, replyTo string, m *driver.Message) {
	l.t.Helper()
	encoded, err := Encode(m, to, replyTo)
	if err != nil {
		l.t.Fatal(err)
	}
	s, err := l.session().NewSender(l.ctx, to, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := s.Send(l.ctx, encoded, nil); err != nil {
		l.t.Fatal(err)
	}
}

// Every kind of message of oslo.messaging 14.9.3 is received by go-amqp and understood, what Encode
// makes is understood by Python, and both look as the ones kept in testdata.
func TestLive(t *testing.T) {
	l := newLive(t)
	python := peertest.PythonAMQP1(t)
	t.Run("requests", func(t *testing.T) { l.t = t; l.requests(python) })
	t.Run("replies", func(t *testing.T) { l.t = t; l.replies(python) })
	t.Run("notifications", func(t *testing.T) { l.t = t; l.notifications(python) })
	l.t = t
	for name, g := range l.all {
		file := filepath.Join(goldenDir, name+".json")
		if os.Getenv(updateVariable) == "1" {
			text, err := json.MarshalIndent(g, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, append(text, '\n'), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		kept := readGolden(t, file)
		if got, want := shape(t, g), shape(t, kept); got != want {
			t.Errorf("%s is now\n%s, and the one kept is\n%s", name, got, want)
		}
	}
}

// requests lets Python call and cast, and answers.
func (l *live) requests(python peertest.Python) {
	client := peertest.RunPythonClient(l.t, python, peertest.PythonClientOptions{URL: l.url, Conf: peertest.AMQP1Conf()})
	any1 := l.receiver("unicast." + vhost + ".openstack.topicA")
	one := l.receiver("exclusive." + vhost + ".openstack.topicA.host1")
	every := l.receiver("broadcast." + vhost + ".openstack.topicA.all")
	base := peertest.Request{
		Topic: "topicA", Namespace: "ns", Version: "1.0", Timeout: 100 * time.Second, Method: "echo",
		Args: map[string]any{"arg": []any{1, "é", nil, true}}, Ctxt: map[string]any{"user": "u1"},
	}
	with := func(change func(*peertest.Request)) peertest.Request {
		r := base
		change(&r)
		return r
	}
	answer := func(d *driver.Delivery) {
		l.send(d.ReplyTo, "", &driver.Message{Kind: driver.Reply, CallID: d.CallID, UniqueID: "u", Body: []byte(`{"x": "é", "n": 1180591620717411303424}`)})
	}
	for _, c := range []struct {
		name    string
		from    *amqp.Receiver
		request peertest.Request
		answer  func(*driver.Delivery)
		want    string // of the reply, or of the error
	}{
		{"call", any1, base, answer, `{"x": "\u00e9", "n": 1180591620717411303424}`},
		{"call_without_context", any1, with(func(r *peertest.Request) { r.Ctxt, r.Namespace, r.Version = nil, "", "" }), answer, `{"x": "\u00e9", "n": 1180591620717411303424}`},
		{"call_odd", any1, with(func(r *peertest.Request) {
			r.ArgsJSON = `{"nan": NaN, "inf": [Infinity, -Infinity], "big": 1180591620717411303424, "f": 1e300, "s": "日本\ud83d\ude00\u0000\u2028\"\\"}`
		}), answer, `{"x": "\u00e9", "n": 1180591620717411303424}`},
		{"call_direct", one, with(func(r *peertest.Request) { r.Server = "host1" }), answer, `{"x": "\u00e9", "n": 1180591620717411303424}`},
		{"call_monitored", any1, with(func(r *peertest.Request) { r.Monitor = 20 * time.Second }), func(d *driver.Delivery) {
			if d.MonitorTimeout != 20*time.Second {
				l.t.Errorf("the monitor timeout is %v", d.MonitorTimeout)
			}
			for range 2 {
				l.send(d.ReplyTo, "", &driver.Message{Kind: driver.Heartbeat, CallID: d.CallID, UniqueID: "u", TimeLeft: 10 * time.Second})
			}
			answer(d)
		}, `{"x": "\u00e9", "n": 1180591620717411303424}`},
		{"call_failing", any1, base, func(d *driver.Delivery) {
			l.send(d.ReplyTo, "", &driver.Message{Kind: driver.Reply, CallID: d.CallID, UniqueID: "u", Body: []byte("null"), Failure: []byte(
				`{"class": "ValueError", "module": "builtins", "message": "kaboom é", "tb": ["x\n"], "args": ["kaboom é"], "kwargs": {}}`)})
		}, "kaboom é"},
	} {
		type outcome struct {
			reply peertest.Reply
			err   error
		}
		done := make(chan outcome, 1)
		go func() {
			r, err := client.Call(l.ctx, c.request)
			done <- outcome{r, err}
		}()
		d := l.receive(c.from, c.name, driver.SourceServer)
		if d.Kind != driver.Call || d.CallID == "" || !strings.HasPrefix(d.ReplyTo, "TempQueue") || d.TimeLeft <= 0 || !d.Deadline.IsZero() {
			l.t.Errorf("%s: %+v", c.name, d)
		}
		c.answer(d)
		o := <-done
		got := string(o.reply.Result)
		if o.err != nil {
			got = o.err.Error()
		}
		if !strings.Contains(got, c.want) && !sameJSON(got, c.want) {
			l.t.Errorf("%s: Python got %s, want %s", c.name, got, c.want)
		}
	}
	if err := client.Cast(l.ctx, base); err != nil {
		l.t.Fatal(err)
	}
	if d := l.receive(any1, "cast", driver.SourceServer); d.Kind != driver.Cast || d.TimeLeft != 0 {
		l.t.Errorf("cast: %+v", d)
	}
	if err := client.Fanout(l.ctx, base); err != nil {
		l.t.Fatal(err)
	}
	if d := l.receive(every, "fanout", driver.SourceServer); d.Kind != driver.Cast {
		l.t.Errorf("fanout: %+v", d)
	}
}

func sameJSON(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && jsonText(x) == jsonText(y)
}

func jsonText(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}

// replies calls Python and takes what it answers.
func (l *live) replies(python peertest.Python) {
	peertest.RunPythonServer(l.t, python, peertest.PythonServerOptions{URL: l.url, Topic: "topicB", Server: "py1", Conf: peertest.AMQP1Conf()})
	back := l.receiver("")
	to := "unicast." + vhost + ".openstack.topicB"
	call := func(id, body string, monitor time.Duration) {
		l.send(to, back.Address(), &driver.Message{
			Kind: driver.Call, CallID: id, UniqueID: "u" + id, Body: []byte(body), Context: []byte(`{"user": "u1"}`), MonitorTimeout: monitor,
			TimeLeft: 100 * time.Second, Deadline: time.Now().Add(100 * time.Second), Headers: map[string]string{"traceparent": "00"},
		})
	}
	call("id1", `{"method": "value", "args": {"v": {"n": 1180591620717411303424, "x": NaN, "s": "é"}}}`, 0)
	if d := l.receive(back, "reply", driver.SourceReplies); d.Kind != driver.Reply || d.CallID != "id1" ||
		string(d.Body) != `{"n": 1180591620717411303424, "x": NaN, "s": "\u00e9"}` {
		l.t.Errorf("reply: %+v, %s", d, d.Body)
	}
	call("id2", `{"method": "value", "args": {}}`, 0)
	if d := l.receive(back, "reply_null", driver.SourceReplies); d.Kind != driver.Reply || string(d.Body) != "null" {
		l.t.Errorf("reply: %+v, %s", d, d.Body)
	}
	call("id3", `{"method": "fail", "args": {"message": "kaboom é"}}`, 0)
	if d := l.receive(back, "failure", driver.SourceReplies); d.CallID != "id3" || !strings.Contains(string(d.Failure), `"message": "kaboom \u00e9"`) {
		l.t.Errorf("failure: %+v, %s", d, d.Failure)
	}
	call("id4", `{"method": "sleep", "args": {"seconds": 1.7}}`, 2*time.Second)
	if d := l.receive(back, "heartbeat", driver.SourceReplies); d.Kind != driver.Heartbeat || d.CallID != "id4" {
		l.t.Errorf("heartbeat: %+v", d)
	}
	for { // more of them may come, on a slow machine
		if d := l.receive(back, "reply_monitored", driver.SourceReplies); d.Kind == driver.Reply {
			break
		}
	}
	// An id that is no text comes back as it was sent. (Of bytes proton's Python makes none.)
	for _, id := range []any{amqp.UUID{1, 2, 3}, uint64(7)} {
		text, err := callID(id)
		if err != nil {
			l.t.Fatal(err)
		}
		m, err := Encode(&driver.Message{Kind: driver.Call, CallID: text, Body: []byte(`{"method": "ping", "args": {}}`)}, to, back.Address())
		if err != nil {
			l.t.Fatal(err)
		}
		m.Properties.MessageID = id
		s, err := l.session().NewSender(l.ctx, to, nil)
		if err != nil {
			l.t.Fatal(err)
		}
		if err := s.Send(l.ctx, m, nil); err != nil {
			l.t.Fatal(err)
		}
		got, err := back.Receive(l.ctx, nil)
		if err != nil {
			l.t.Fatal(err)
		}
		l.tap.next(l.t)
		if !sameID(got.Properties.CorrelationID, id) {
			l.t.Errorf("the reply to %#v has the correlation-id %#v", id, got.Properties.CorrelationID)
		}
		if err := back.AcceptMessage(l.ctx, got); err != nil {
			l.t.Fatal(err)
		}
	}
}

// notifications lets Python notify.
func (l *live) notifications(python peertest.Python) {
	notifier := peertest.RunPythonNotifier(l.t, python, peertest.PythonNotifierOptions{URL: l.url, Conf: peertest.AMQP1Conf()})
	from := l.receiver("unicast." + vhost + ".openstack.notifs.info")
	for name, format := range map[string]struct {
		driver string
		format driver.NotificationFormat
	}{"notification_v1": {"messaging", driver.NotificationV1}, "notification_v2": {"messagingv2", driver.NotificationV2}} {
		err := notifier.Notify(l.ctx, peertest.Event{
			Driver: format.driver, PublisherID: "pub.1", Topics: []string{"notifs"}, Level: "info", EventType: "ev.created",
			PayloadJSON: `{"k": "vé\"", "n": [NaN, 1180591620717411303424]}`, Ctxt: map[string]any{"user": "u1"},
		})
		if err != nil {
			l.t.Fatal(err)
		}
		d := l.receive(from, name, driver.SourceNotifications)
		if d.Kind != driver.Notification || d.Format != format.format || string(d.Context) != `{}` || // this release publishes nothing of a dictionary
			!strings.Contains(string(d.Body), `"payload": {"k": "v\u00e9\"", "n": [NaN, 1180591620717411303424]}`) {
			l.t.Errorf("%s: %+v, %s", name, d, d.Body)
		}
	}
}
