// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// The cases of TestRequestWireFormat, TestReplyWireFormat and TestMsgIdCache in
// oslo_messaging/tests/drivers/test_impl_rabbit.py, against a raw peer on a real broker.

// wireForm is what their scenarios are made of: a message, a context and a target.
type wireForm struct {
	name    string
	message string // JSON
	context messaging.RequestContext
	target  messaging.Target
}

func wireForms() []wireForm {
	var all []wireForm
	for name, message := range map[string]string{
		"empty": `{}`, "primitive": `{"foo":"bar"}`, "complex": `{"a":{"b":"1920-02-03T04:05:06.000007"}}`,
	} {
		for _, rc := range []messaging.RequestContext{nil, {"user": "mark", "project": "snarkybunch"}} {
			for _, target := range []messaging.Target{{Topic: "testtopic"}, {Topic: "testtopic", Server: "testserver"}, {Topic: "testtopic", Fanout: true}} {
				all = append(all, wireForm{fmt.Sprintf("%s, %d in the context, %s", name, len(rc), target), message, rc, target})
			}
		}
	}
	return all
}

// keys are the context as it travels.
func (f wireForm) keys() map[string]any {
	keys := make(map[string]any)
	for k, v := range f.context {
		keys["_context_"+k] = v
	}
	return keys
}

func parsed(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

var hexID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// takeID removes an id of uuid4's form from a message.
func takeID(t *testing.T, m map[string]any, key string) string {
	t.Helper()
	id, _ := m[key].(string)
	if !hexID.MatchString(id) {
		t.Errorf("%s is %v", key, m[key])
	}
	delete(m, key)
	return id
}

// TestRequestWireFormat: 18 of upstream's 36, as Parley compresses nothing that it sends, and
// the same 18 as calls where there is no fanout.
func TestRequestWireFormat(t *testing.T) {
	w := worldWith(t, testbed.NeedAMQP)
	tr, peer := w.open(t, messaging.Options{}), newRawPeer(t, w)
	queues := map[messaging.Target]<-chan amqp.Delivery{
		{Topic: "testtopic"}:                       peer.consume("testtopic", "openstack", "topic"),
		{Topic: "testtopic", Server: "testserver"}: peer.consume("testtopic.testserver", "openstack", "topic"),
		{Topic: "testtopic", Fanout: true}:         peer.consume("testtopic_fanout_12345", "testtopic_fanout", "fanout"),
	}
	for _, f := range wireForms() {
		t.Run("cast "+f.name, func(t *testing.T) {
			ctx := messaging.WithRequestContext(soon(t), f.context)
			if err := client(tr, f.target).Cast(ctx, "foo", json.RawMessage(f.message)); err != nil {
				t.Fatal(err)
			}
			d := next(t, queues[f.target])
			checkRequest(t, f, opened(t, d))
			if d.Expiration != "" || d.ContentType != jsonType || d.ContentEncoding != "utf-8" || d.DeliveryMode != amqp.Persistent {
				t.Errorf("properties %+v", d)
			}
		})
		if f.target.Fanout {
			continue
		}
		t.Run("call "+f.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(messaging.WithRequestContext(soon(t), f.context))
			defer cancel()
			ended := make(chan error, 1)
			c := client(tr, f.target).With(messaging.Timeout(20*time.Second), messaging.Monitor(30*time.Second))
			go func() { ended <- c.Call(ctx, "foo", json.RawMessage(f.message), nil) }()
			d := next(t, queues[f.target])
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("the call that nobody answered: %v", err)
			}
			inner := opened(t, d)
			takeID(t, inner, "_msg_id")
			if q, _ := inner["_reply_q"].(string); !strings.HasPrefix(q, "reply_") || inner["_timeout"] != 30.0 {
				t.Errorf("_reply_q %v, _timeout %v", inner["_reply_q"], inner["_timeout"])
			}
			delete(inner, "_reply_q")
			delete(inner, "_timeout")
			checkRequest(t, f, inner)
			if d.Expiration == "" || len(d.Expiration) > len("20000") {
				t.Errorf("expiration %q", d.Expiration)
			}
		})
	}
}

// checkRequest wants nothing in a request but what upstream has there, and when its time is over.
func checkRequest(t *testing.T, f wireForm, inner map[string]any) {
	t.Helper()
	takeID(t, inner, "_unique_id")
	if sent, ok := inner["_parley_deadline"]; ok {
		if _, isNumber := sent.(float64); !isNumber {
			t.Errorf("_parley_deadline is %v", sent)
		}
		delete(inner, "_parley_deadline")
	}
	want := f.keys()
	want["method"], want["args"] = "foo", parsed(t, f.message)
	if !reflect.DeepEqual(inner, want) {
		t.Errorf("sent %v\nwant %v", inner, want)
	}
}

// TestReplyWireFormat is what a server makes of requests in all 36 forms. The context has no
// client_timeout, which upstream's has always.
func TestReplyWireFormat(t *testing.T) {
	w := worldWith(t, testbed.NeedAMQP)
	ep := messaging.NewEndpoint(nil)
	ep.HandleFunc("foo", func(ctx context.Context, args map[string]any) (any, error) {
		rc, _ := messaging.RequestContextFrom(ctx)
		return map[string]any{"args": args, "context": map[string]any(rc)}, nil
	})
	serve(t, w.open(t, messaging.Options{}), messaging.Target{Topic: "testtopic", Server: "testserver"}, nil, ep)
	peer := newRawPeer(t, w)
	replies := peer.consume("reply_raw", "", "")
	for number, f := range wireForms() {
		for _, compressed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, compressed %t", f.name, compressed), func(t *testing.T) {
				id := fmt.Sprintf("%031d%t", number, compressed)[:32]
				request := f.keys()
				maps.Copy(request, map[string]any{"method": "foo", "args": parsed(t, f.message), "_msg_id": id, "_unique_id": id, "_reply_q": "reply_raw", "_timeout": nil})
				inner, err := json.Marshal(request)
				peer.must(err)
				exchange, key := "openstack", f.target.Topic
				switch {
				case f.target.Fanout:
					exchange, key = "testtopic_fanout", ""
				case f.target.Server != "":
					key += "." + f.target.Server
				}
				peer.PublishRaw(exchange, key, compressedMessage(envelope(string(inner)), compressed))
				reply := opened(t, next(t, replies))
				rc := map[string]any{}
				maps.Copy(rc, f.context)
				want := map[string]any{"args": parsed(t, f.message), "context": rc}
				if reply["_msg_id"] != id || !reflect.DeepEqual(reply["result"], want) || reply["failure"] != nil || reply["ending"] != true {
					t.Errorf("got %v\nwant %v", reply, want)
				}
			})
		}
	}
}

// compressedMessage is kombu's gzip, which is zlib under another name.
func compressedMessage(body string, compressed bool) amqp.Publishing {
	m := jsonMessage(body)
	if compressed {
		var b bytes.Buffer
		z := zlib.NewWriter(&b)
		_, _ = z.Write([]byte(body))
		_ = z.Close()
		m.Body, m.Headers = b.Bytes(), amqp.Table{"compression": "application/x-gzip"}
	}
	return m
}

// TestDuplicateRequest is TestMsgIdCache: the second copy of a request is not run, and is not
// left at the broker either.
func TestDuplicateRequest(t *testing.T) {
	w := worldWith(t, testbed.NeedAMQP)
	var ran atomic.Int64
	ep := messaging.NewEndpoint(nil)
	ep.HandleFunc("count", func(context.Context, map[string]any) (any, error) { return ran.Add(1), nil })
	s := messaging.NewRPCServer(w.open(t, messaging.Options{}), messaging.Target{Topic: "testtopic", Server: "testserver"}, nil, ep)
	stop := testbed.Serve(t, s)
	peer := newRawPeer(t, w)
	replies := peer.consume("reply_raw", "", "")
	for i, id := range []string{"one", "one", "two"} {
		peer.PublishRaw("openstack", "testtopic", jsonMessage(envelope(
			fmt.Sprintf(`{"method": "count", "args": {}, "_msg_id": "%d", "_reply_q": "reply_raw", "_timeout": null, "_unique_id": %q}`, i, id))))
	}
	answered := make(map[string]any)
	for range 2 {
		reply := opened(t, next(t, replies))
		answered[reply["_msg_id"].(string)] = reply["result"]
	}
	if _, ok := answered["1"]; ok || ran.Load() != 2 {
		t.Errorf("answered were %v, %d were run", answered, ran.Load())
	}
	stop() // what is not acknowledged goes back to the queue
	if q, err := peer.QueueDeclarePassive("testtopic", false, false, false, false, nil); err != nil || q.Messages != 0 {
		t.Errorf("%d messages are left, %v", q.Messages, err)
	}
}

// TestMonitoredUnknownMethod is TestNoHeartbeatsForUnknownMethod as it is seen on the wire.
func TestMonitoredUnknownMethod(t *testing.T) {
	w := worldWith(t, testbed.NeedAMQP)
	serve(t, w.open(t, messaging.Options{}), messaging.Target{Topic: "testtopic", Server: "testserver"}, nil, (&pings{}).endpoint())
	peer := newRawPeer(t, w)
	replies := peer.consume("reply_raw", "", "")
	ask := func(method, id, timeout string) {
		peer.PublishRaw("openstack", "testtopic", jsonMessage(envelope(
			fmt.Sprintf(`{"method": %q, "args": {}, "_msg_id": %q, "_reply_q": "reply_raw", "_timeout": %s, "_unique_id": %q}`, method, id, timeout, id))))
	}
	ask("unknown", "1", "0.2")
	if reply := opened(t, next(t, replies)); reply["ending"] != true || !strings.Contains(reply["failure"].(string), "NoSuchMethod") {
		t.Errorf("got %v", reply)
	}
	// A watchdog that was left would beat every tenth of a second.
	select {
	case d := <-replies:
		t.Errorf("then came %s", d.Body)
	case <-time.After(500 * time.Millisecond):
	}
	ask("alive", "2", "null")
	if reply := opened(t, next(t, replies)); reply["_msg_id"] != "2" {
		t.Errorf("then came %v", reply)
	}
}
