// SPDX-License-Identifier: Apache-2.0

package badinput

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

const jsonType = "application/json"

// envelope wraps a message as upstream does.
func envelope(version, inner string) string {
	text, _ := json.Marshal(map[string]string{"oslo.version": version, "oslo.message": inner})
	return string(text)
}

// rejected are messages that no peer of oslo.messaging sends, and the reason that is logged.
func rejected() []struct{ name, contentType, body, reason string } {
	good := envelope("2.0", `{"method": "count", "args": {}}`)
	return []struct{ name, contentType, body, reason string }{
		{"not JSON", jsonType, "{", "the body is not a JSON object"},
		{"empty", jsonType, "", "the body is not a JSON object"},
		{"list", jsonType, "[1]", "the body is not a JSON object"},
		{"binary", jsonType, "\xff\x00\x01", "the body is not valid UTF-8"},
		{"content type text/plain", "text/plain", good, "content type"},
		{"content type of pickle", "application/x-python-serialize", good, "content type"},
		{"no content type", "", good, "content type"},
		{"envelope of version 3.0", jsonType, envelope("3.0", `{"method": "count"}`), "the envelope has version"},
		{"envelope of version 2.1", jsonType, envelope("2.1", `{"method": "count"}`), "the envelope has version"},
		{"envelope of version 2", jsonType, `{"oslo.version": 2, "oslo.message": "{}"}`, "the envelope has version"},
		{"broken inner message", jsonType, envelope("2.0", "{"), "oslo.message is not the text of a JSON object"},
		{"inner message is no text", jsonType, `{"oslo.version": "2.0", "oslo.message": {"method": "count"}}`, "oslo.message is not a string"},
		{"unique id is no text", jsonType, envelope("2.0", `{"method": "count", "_unique_id": 7}`), "_unique_id is not a string"},
		{"deep", jsonType, strings.Repeat(`{"a":`, 100_000), "the body is not a JSON object"},
	}
}

func publish(p *testbed.RawPeer, exchange, key, contentType, body string) {
	p.PublishRaw(exchange, key, amqp.Publishing{
		ContentType: contentType, ContentEncoding: "utf-8", Body: []byte(body), DeliveryMode: amqp.Persistent,
	})
}

// TestMalformedMessages puts messages into a server's queue and into a caller's reply queue
// that cannot be decoded. Each is dropped with one record that says why, and what comes after
// it is served.
//
// They are written by hand, in AMQP 0-9-1. The bodies are the core's to read, on every wire; what
// only another wire can have wrong is tested where a peer of that wire is written by hand: AMQP 1.0
// in plugins/qpid (TestMessagesThatEndTheLibrary, TestFault...), ZMTP and its packets in
// plugins/zmq/internal/node (TestForeign), internal/wire (TestRefused) and internal/zmtp
// (TestFramesAreRefused).
func TestMalformedMessages(t *testing.T) {
	broker := bed.Broker(t)
	vhost := broker.NewVhost(t)
	tr, logs := bed.Open(t, broker.URL(vhost))
	var ran atomic.Int64
	ep := messaging.NewEndpoint(nil)
	ep.HandleFunc("count", func(context.Context, map[string]any) (any, error) { return ran.Add(1), nil })
	testbed.Serve(t, messaging.NewRPCServer(tr, messaging.Target{Topic: "t", Server: "s1"}, nil, ep))
	caller, callerLogs := bed.Open(t, broker.URL(vhost))
	c := messaging.NewRPCClient(caller, messaging.Target{Topic: "t", Server: "s1"}, &messaging.RPCClientOptions{Timeout: patience})
	mustCount := func(t *testing.T, want int64) {
		t.Helper()
		var n int64
		if err := c.Call(t.Context(), "count", nil, &n); err != nil || n != want {
			t.Fatalf("the next good call: got %d, %v, want %d", n, err, want)
		}
	}
	mustCount(t, 1)
	served := int64(1)
	ch := testbed.NewRawPeer(t, broker, vhost)
	replyQueue := replyQueueOf(t, broker, vhost)
	for _, tc := range rejected() {
		t.Run("request/"+tc.name, func(t *testing.T) {
			before := len(logs.Lines("message rejected"))
			publish(ch, "openstack", "t.s1", tc.contentType, tc.body)
			served++
			mustCount(t, served) // behind it in the same queue
			mustLogOnce(t, logs, before, tc.reason)
		})
	}
	for _, tc := range rejected() {
		t.Run("reply/"+tc.name, func(t *testing.T) {
			before := len(callerLogs.Lines("message rejected"))
			publish(ch, "", replyQueue, tc.contentType, tc.body)
			served++
			mustCount(t, served)
			mustLogOnce(t, callerLogs, before, tc.reason)
		})
	}
	for name, queue := range map[string]string{"server": "t.s1", "replies": replyQueue} {
		q, err := ch.QueueDeclarePassive(queue, false, false, false, false, nil)
		if err != nil && name == "server" || q.Messages > 0 {
			t.Errorf("queue of the %s: %d messages, %v", name, q.Messages, err)
		}
	}
	// Nothing was given again: each record stands there once, still.
	want := len(rejected())
	if got, replies := len(logs.Lines("message rejected")), len(callerLogs.Lines("message rejected")); got != want || replies != want {
		t.Errorf("%d requests and %d replies were logged as rejected, want %d each", got, replies, want)
	}
}

// mustLogOnce checks that one more record says why a message was dropped. The record of the
// driver's process may come after the answer to the next call.
func mustLogOnce(t *testing.T, logs *testbed.Logs, before int, reason string) {
	t.Helper()
	testbed.Eventually(t, patience, "a record of the rejection", func() bool { return len(logs.Lines("message rejected")) > before })
	lines := logs.Lines("message rejected")
	if len(lines) != before+1 {
		t.Errorf("%d records, want one: %q", len(lines)-before, lines[before:])
	}
	line := lines[len(lines)-1]
	t.Logf("seen: %.300s", line)
	if !strings.Contains(line, reason) || !strings.Contains(line, "level=ERROR") {
		t.Errorf("%q is missing in it", reason)
	}
	if len(line) > 2000 {
		t.Errorf("it has %d bytes", len(line))
	}
}

func replyQueueOf(t *testing.T, broker *peertest.RabbitMQ, vhost string) string {
	t.Helper()
	out, err := broker.Ctl(within(t, patience), "list_queues", "-p", vhost, "name", "--formatter", "json")
	if err != nil {
		t.Fatal(err)
	}
	var queues []struct{ Name string }
	if err := json.Unmarshal([]byte(out), &queues); err != nil {
		t.Fatal(err)
	}
	for _, q := range queues {
		if strings.HasPrefix(q.Name, "reply_") {
			return q.Name
		}
	}
	t.Fatalf("no reply queue in %s", out)
	return ""
}

// TestMalformedRequests are good messages whose request makes no sense. Who asked is told.
func TestMalformedRequests(t *testing.T) {
	broker := bed.Broker(t)
	vhost := broker.NewVhost(t)
	tr, _ := bed.Open(t, broker.URL(vhost))
	ep := messaging.NewEndpoint(nil)
	ep.HandleFunc("echo", func(_ context.Context, args map[string]any) (any, error) { return args, nil })
	testbed.Serve(t, messaging.NewRPCServer(tr, messaging.Target{Topic: "t", Server: "s1"}, nil, ep))
	ch := testbed.NewRawPeer(t, broker, vhost)
	q, err := ch.QueueDeclare("reply_raw", false, true, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	replies, err := ch.Consume(q.Name, "", true, true, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, tc := range []struct{ name, request, want string }{
		{"good", `"method": "echo", "args": {"a": 1.0}`, `"result": {"a": 1.0}`},
		{"no args", `"method": "echo"`, `"result": {}`},
		{"args null", `"method": "echo", "args": null`, `"result": {}`},
		{"no method", `"args": {}`, "the request has no method"},
		{"method is no text", `"method": 7`, "method is not a string"},
		{"args is a list", `"method": "echo", "args": [1]`, "args are not an object"},
		{"version is no version", `"method": "echo", "version": "2.x"`, "UnsupportedVersion"},
		{"private", `"method": "_echo"`, "NoSuchMethod"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			id := fmt.Sprintf("%032d", i)
			publish(ch, "openstack", "t.s1", jsonType, envelope("2.0",
				fmt.Sprintf(`{%s, "_msg_id": %q, "_reply_q": "reply_raw", "_timeout": null, "_unique_id": %q}`, tc.request, id, id)))
			select {
			case d := <-replies:
				var outer struct {
					Message string `json:"oslo.message"`
				}
				if err := json.Unmarshal(d.Body, &outer); err != nil {
					t.Fatal(err)
				}
				t.Logf("seen: %s", outer.Message)
				if !strings.Contains(outer.Message, tc.want) || !strings.Contains(outer.Message, id) {
					t.Errorf("%q is missing in the answer", tc.want)
				}
			case <-within(t, patience).Done():
				t.Fatal("no answer")
			}
		})
	}
}
