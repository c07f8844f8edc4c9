// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/messaging"
)

// contextText is a context with a value of every kind, true and false ones, at several depths.
const contextText = `{
	"request_id": "req-1", "user": "älice ☃ 😀", "is_admin": true, "read_only": false, "none": null,
	"zero": 0, "count": 3, "huge": 1180591620717411303424, "ratio": 1.0, "empty": "", "roles": ["admin", "member"],
	"nothing": [], "void": {}, "catalog": {"compute": [1, {"deep": [null, false, "é"]}]}, "schlüssel": "x", "a b": 1,
	"": "nameless", "auth_token": "S3cr3t-token"
}`

func testGoSendsContext(t *testing.T, p *peers) {
	sent, _ := decodeJSON(t, []byte(contextText)).(map[string]any)
	ctx := messaging.WithRequestContext(soon(t), sent)
	var got map[string]any
	if err := p.goClient.Call(ctx, "context", nil, &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "client_timeout") // Python's own
	if !reflect.DeepEqual(got, sent) {
		t.Errorf("got %#v, want %#v", got, sent)
	}
	if err := p.goClient.Call(soon(t), "context", nil, &got); err != nil {
		t.Fatal(err)
	}
	if delete(got, "client_timeout"); len(got) != 0 {
		t.Errorf("a call without context brought %v", got)
	}
	if err := p.goClient.With(messaging.Server("py1")).Cast(ctx, "record", note("context")); err != nil {
		t.Fatal(err)
	}
	counts{"py1": func() int { return pythonSaw(t, p.pythonServers["py1"], "context") }}.want(t, map[string]int{"py1": 1})
	if ctxt := pythonRecords(t, p.pythonServers["py1"], "context")[0].Ctxt; ctxt["request_id"] != "req-1" || ctxt["user"] != sent["user"] {
		t.Errorf("the cast brought %v", ctxt)
	}
}

func testPythonSendsContext(t *testing.T, p *peers) {
	sent := make(map[string]any) // as text: on its way to the client nothing may be lost
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(contextText), &fields); err != nil {
		t.Fatal(err)
	}
	for key, value := range fields {
		sent[key] = value
	}
	reply, err := p.call(t, peertest.Request{Method: "context", Ctxt: sent})
	if err != nil {
		t.Fatal(err)
	}
	if !sameJSON(t, reply.Result, []byte(contextText)) {
		t.Errorf("got %s, want %s", reply.Result, contextText)
	}
	reply, err = p.call(t, peertest.Request{Method: "context"})
	if err != nil || !sameJSON(t, reply.Result, []byte("null")) && !sameJSON(t, reply.Result, []byte("{}")) {
		t.Errorf("a call without context: got %s, %v", reply.Result, err)
	}
}
