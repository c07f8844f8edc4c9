// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// oddServer answers every request in the way it is told to: what strangers may send to a client.
type oddServer struct {
	*rawPeer
	requests <-chan amqp.Delivery
}

func newOddServer(t *testing.T, w *world) *oddServer {
	t.Helper()
	peer := newRawPeer(t, w)
	return &oddServer{peer, peer.consume("odd", "openstack", "topic")}
}

// call makes a call and publishes replies to it, in which ID stands for the call's id.
func (s *oddServer) call(t *testing.T, c *messaging.RPCClient, replies ...amqp.Publishing) (any, error) {
	t.Helper()
	type outcome struct {
		result any
		err    error
	}
	ended := make(chan outcome, 1)
	go func() {
		var o outcome
		o.err = c.Call(soon(t), "m", nil, &o.result)
		ended <- o
	}()
	request := opened(t, next(t, s.requests))
	for _, m := range replies {
		m.Body = []byte(strings.ReplaceAll(string(m.Body), "ID", request["_msg_id"].(string)))
		s.PublishRaw("", request["_reply_q"].(string), m)
	}
	o := <-ended
	return o.result, o.err
}

// replied is a good reply with what differs.
func replied(inner string) amqp.Publishing { return jsonMessage(envelope("{" + inner + "}")) }

// failed is a reply with a failure object.
func failed(failure string) amqp.Publishing {
	text, _ := json.Marshal(failure)
	return replied(`"result": null, "failure": ` + string(text) + `, "ending": true, "_msg_id": "ID", "_unique_id": "u"`)
}

const goodReply = `"result": 1, "failure": null, "ending": true, "_msg_id": "ID", "_unique_id": "u"`

func withType(m amqp.Publishing, contentType, encoding string) amqp.Publishing {
	m.ContentType, m.ContentEncoding = contentType, encoding
	return m
}

// TestOddReplies gives a Go client every reply of a server that is not Python's. Upstream's client
// raises KeyError or JSONDecodeError, or waits in vain, for half of them.
func TestOddReplies(t *testing.T) {
	w := worldWith(t, testbed.NeedAMQP)
	s := newOddServer(t, w)
	c := client(w.open(t, messaging.Options{}), messaging.Target{Topic: "odd"})
	type one = []amqp.Publishing
	const noReply = "no reply"
	for _, tc := range []struct {
		name    string
		replies one
		want    string // the result, the failure, or noReply
	}{
		{"complete", one{replied(goodReply)}, "1"},
		{"no _unique_id", one{replied(`"result": 1, "failure": null, "ending": true, "_msg_id": "ID"`)}, "1"},
		{"more keys", one{replied(goodReply + `, "x": {}`)}, "1"},
		{"no envelope", one{jsonMessage("{" + goodReply + "}")}, "1"},
		{"no content encoding", one{withType(replied(goodReply), jsonType, "")}, "1"},
		{"binary", one{withType(replied(goodReply), jsonType, "binary")}, "1"},
		{"no failure", one{replied(`"result": 1, "ending": true, "_msg_id": "ID"`)}, "1"},
		{"no ending", one{replied(`"result": 1, "failure": null, "_msg_id": "ID"`)}, "1"},
		{"no result", one{replied(`"failure": null, "ending": true, "_msg_id": "ID"`)}, "<nil>"},
		{"empty failure", one{replied(`"result": 1, "failure": "", "ending": true, "_msg_id": "ID"`)}, "1"},
		{"NaN", one{replied(`"result": NaN, "failure": null, "ending": true, "_msg_id": "ID"`)}, "NaN"},
		{"no _msg_id", one{replied(`"result": 1, "failure": null, "ending": true`)}, noReply},
		{"wrong _msg_id", one{replied(`"result": 1, "failure": null, "ending": true, "_msg_id": "x"`)}, noReply},
		{"text/plain", one{withType(replied(goodReply), "text/plain", "utf-8")}, noReply},
		{"no content type", one{withType(replied(goodReply), "", "utf-8")}, noReply},
		{"octet-stream", one{withType(replied(goodReply), "application/octet-stream", "binary")}, noReply},
		{"failure as an object", one{replied(`"result": null, "failure": {"class": "E", "module": "m", "message": "x"}, "ending": true, "_msg_id": "ID"`)}, "m.E: x"},
		{"failure as plain text", one{replied(`"result": null, "failure": "boom", "ending": true, "_msg_id": "ID"`)}, "boom"},
		{"empty failure object", one{failed(`{}`)}, ""},
		{"ValueError of Python 3", one{failed(`{"class": "ValueError", "module": "builtins", "message": "x", "tb": ["line\n"], "args": ["x"], "kwargs": {}}`)}, "ValueError: x"},
		{"ValueError of Python 2", one{failed(`{"class": "ValueError", "module": "exceptions", "message": "x", "tb": [], "args": ["x"], "kwargs": {}}`)}, "ValueError: x"},
		{"a Go error", one{failed(`{"class": "errorString", "module": "errors", "message": "x", "tb": [], "args": ["x"], "kwargs": {}}`)}, "errors.errorString: x"},
		{"OSError", one{failed(`{"class": "OSError", "module": "builtins", "message": "[Errno 2] no", "tb": [], "args": [2, "no"], "kwargs": {}}`)}, "OSError: [Errno 2] no"},
		{"arguments that do not fit", one{failed(`{"class": "KeyError", "module": "builtins", "message": "x", "tb": [], "args": [1, 2, 3], "kwargs": {"a": 1}}`)}, "KeyError: x"},
		{"a function's name", one{failed(`{"class": "eval", "module": "builtins", "message": "x", "tb": [], "args": ["1"], "kwargs": {}}`)}, "eval: x"},
		{"message and tb null", one{failed(`{"class": "E", "module": "m", "message": null, "tb": null}`)}, "m.E"},
		{"nothing but class and message", one{failed(`{"class": "E", "message": "x"}`)}, "E: x"},
		{"heartbeat with the id of the reply", one{
			replied(`"result": null, "failure": null, "ending": false, "_msg_id": "ID", "_unique_id": "u"`), replied(goodReply),
		}, "1"},
		{"payload, then the end, as before 2015", one{
			replied(`"result": 1, "failure": null, "ending": false, "_msg_id": "ID"`),
			replied(`"result": null, "failure": null, "ending": true, "_msg_id": "ID"`),
		}, "1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := c
			if tc.want == noReply {
				c = c.With(messaging.Timeout(300 * time.Millisecond))
			}
			result, err := s.call(t, c, tc.replies...)
			remote, isRemote := errors.AsType[*messaging.RemoteError](err)
			switch {
			case tc.want == noReply:
				if !errors.Is(err, messaging.ErrNoReply) {
					t.Errorf("got %v, %v", result, err)
				}
			case isRemote:
				if remote.Error() != tc.want {
					t.Errorf("got the failure %q", remote.Error())
				}
			case err != nil || fmt.Sprint(result) != tc.want:
				t.Errorf("got %v, %v", result, err)
			}
		})
	}
}
