// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
	"github.com/parleymq/parley/sdk/envelope"
)

// TestPython speaks to real peers: what is on the wire is judged by them.
func TestPython(t *testing.T) {
	broker := peertest.RunSharedRabbitMQ(t)
	for _, python := range peertest.Pythons(t) {
		t.Run(python.Name+" server", func(t *testing.T) { testPythonServer(newBench(t, broker), python) })
		t.Run(python.Name+" client", func(t *testing.T) { testPythonClient(newBench(t, broker), python) })
	}
}

func testPythonServer(b *bench, python peertest.Python) {
	peertest.RunPythonServer(b.t, python, peertest.PythonServerOptions{URL: b.pythonURL(), Conf: b.pythonConf(), Topic: "v", Server: "s1"})
	c := b.open(nil)
	name := "reply_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	l := b.listen(c, testkit.Replies(name))
	ask := func(method, args string) *driver.Delivery {
		m := call(name)
		m.Body = fmt.Appendf(nil, `{"method": %q, "args": %s, "version": "1.0"}`, method, args)
		m.Context = []byte(`{"user": "alice", "roles": ["admin"]}`)
		b.send(c, m)
		d := testkit.Poll(soon(b.t), b.t, l, 1, 10)[0]
		testkit.Settle(soon(b.t), b.t, l, driver.Accepted, d)
		if d.CallID != m.CallID {
			b.t.Fatalf("an answer to %q, want %q", d.CallID, m.CallID)
		}
		return d
	}
	if d := ask("echo", `{"n": 1180591620717411303424, "x": 1.0, "s": "h\u00e9llo"}`); d.Kind != driver.Reply || d.Failure != nil ||
		string(d.Body) != `{"n": 1180591620717411303424, "x": 1.0, "s": "h\u00e9llo"}` {
		b.t.Errorf("echo: got %s %s %s", d.Kind, d.Body, d.Failure)
	}
	if d := ask("fail", `{}`); len(d.Failure) == 0 || !strings.Contains(string(d.Failure), `"message"`) {
		b.t.Errorf("fail: got %s %s %s", d.Kind, d.Body, d.Failure)
	}
	if d := ask("no_such", `{}`); !strings.Contains(string(d.Failure), "NoSuchMethod") {
		b.t.Errorf("no_such: got %s", d.Failure)
	}
}

func testPythonClient(b *bench, python peertest.Python) {
	client := peertest.RunPythonClient(b.t, python, peertest.PythonClientOptions{URL: b.pythonURL(), Conf: b.pythonConf()})
	c := b.open(nil)
	l := b.listen(c, server(driver.SettleOnPoll))
	replied := make(chan error, 1)
	go func() {
		ds, err := l.Poll(soon(b.t), 1)
		if err != nil {
			replied <- err
			return
		}
		var body struct{ Args json.RawMessage }
		if err := json.Unmarshal(ds[0].Body, &body); err != nil {
			replied <- err
			return
		}
		replied <- c.Send(soon(b.t), []*driver.Message{{
			Kind: driver.Reply, ReplyTo: ds[0].ReplyTo, CallID: ds[0].CallID, UniqueID: uuid.NewString(), Body: body.Args,
		}})
	}()
	reply, err := client.Call(soon(b.t), peertest.Request{
		Topic: "v", Server: "s1", Method: "echo", Args: map[string]any{"a": 1}, Timeout: 10 * time.Second,
	})
	testkit.Must(b.t, err)
	testkit.Must(b.t, <-replied)
	var got map[string]int
	testkit.Must(b.t, json.Unmarshal(reply.Result, &got))
	if got["a"] != 1 {
		b.t.Errorf("got %s", reply.Result)
	}
	testkit.Must(b.t, client.Fanout(soon(b.t), peertest.Request{Topic: "v", Method: "all"}))
	if d := testkit.Poll(soon(b.t), b.t, l, 1, 10)[0]; d.Kind != driver.Cast {
		b.t.Errorf("got %+v", d)
	}
}

// TestGoldenAddress checks exchange, key, flags and properties against what Python peers
// published.
func TestGoldenAddress(t *testing.T) {
	files, err := filepath.Glob("../../sdk/envelope/testdata/golden/*/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	s := testSettings(t, nil, nil)
	for _, file := range files {
		t.Run(strings.TrimPrefix(file, "../../sdk/envelope/testdata/golden/"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			testkit.Must(t, err)
			var g struct {
				Exchange   string
				RoutingKey string `json:"routing_key"`
				Mandatory  bool
				Properties struct {
					ContentType     string `json:"content_type"`
					ContentEncoding string `json:"content_encoding"`
					Expiration      string
				}
				Body string
			}
			testkit.Must(t, json.Unmarshal(text, &g))
			m, err := envelope.Decode(g.Properties.ContentType, g.Properties.ContentEncoding, "", []byte(g.Body), envelope.Limits{})
			testkit.Must(t, err)
			restoreTarget(m, g.Exchange, g.RoutingKey)
			var o outgoing
			testkit.Must(t, s.address(&o, m))
			if o.exchange.name != g.Exchange || o.key != g.RoutingKey || o.mandatory != g.Mandatory {
				t.Errorf("got exchange %q, key %q, mandatory %t", o.exchange.name, o.key, o.mandatory)
			}
			if (g.Properties.Expiration != "") != (m.Kind == driver.Call) {
				t.Errorf("a %s has the expiration %q", m.Kind, g.Properties.Expiration)
			}
		})
	}
}

// restoreTarget gives a decoded message the target that it was sent to.
func restoreTarget(m *driver.Message, exchange, key string) {
	switch m.Kind {
	case driver.Reply, driver.Heartbeat:
		m.ReplyTo = key
	case driver.Notification:
		m.Target.Exchange = exchange
		m.Target.Topic, m.Priority, _ = strings.Cut(key, ".")
	default:
		if topic, ok := strings.CutSuffix(exchange, "_fanout"); ok {
			m.Target = driver.Target{Topic: topic, Fanout: true}
			return
		}
		m.Target.Exchange = exchange
		m.Target.Topic, m.Target.Server, _ = strings.Cut(key, ".")
	}
}
