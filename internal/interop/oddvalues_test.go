// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"encoding/json"
	"errors"
	"math"
	"testing"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/messaging"
)

// testGoSendsNaN sends the floats that JSON proper has not, alone and inside others.
func testGoSendsNaN(t *testing.T, p *peers) {
	for text, v := range map[string]any{
		`NaN`: math.NaN(), `Infinity`: math.Inf(1), `-Infinity`: math.Inf(-1),
		`[NaN, Infinity, {"k": -Infinity}]`: []any{math.NaN(), math.Inf(1), map[string]any{"k": math.Inf(-1)}},
	} {
		var got any
		if err := p.goClient.Call(soon(t), "value", map[string]any{"v": v}, &got); err != nil || short(got) != text {
			t.Errorf("%s came back as %s, %v", text, short(got), err)
		}
	}
	var typed float64
	if err := p.goClient.Call(soon(t), "value", map[string]any{"v": math.NaN()}, &typed); !errors.Is(err, messaging.ErrEncoding) {
		t.Errorf("a float64 took NaN: %v, %v", typed, err)
	}
	var kind string
	if err := p.goClient.Call(soon(t), "typeof", map[string]any{"v": math.NaN()}, &kind); err != nil || kind != "float" {
		t.Errorf("the handler sees a %s, %v", kind, err)
	}
}

// testPythonSendsNaN is the same from Python, which shows what came back as it writes it.
func testPythonSendsNaN(t *testing.T, p *peers) {
	for text, repr := range map[string]string{
		`NaN`: "nan", `Infinity`: "inf", `-Infinity`: "-inf", `[NaN, Infinity, {"k": -Infinity}]`: "[nan, inf, {'k': -inf}]",
	} {
		reply, err := p.call(t, peertest.Request{Method: "value", ArgsJSON: `{"v": ` + text + `}`})
		if err != nil || reply.Repr != repr {
			t.Errorf("%s came back as %q, %v", text, reply.Repr, err)
		}
		reply, err = p.call(t, peertest.Request{Method: "echo", ArgsJSON: `{"v": ` + text + `}`})
		if want := "{'v': " + repr + "}"; err != nil || reply.Repr != want {
			t.Errorf("%s came back as %q, %v, want %q", text, reply.Repr, err, want)
		}
	}
	kind, err := p.callText(t, peertest.Request{Method: "typeof", ArgsJSON: `{"v": NaN}`})
	if err != nil || kind != "float64" {
		t.Errorf("the handler sees a %s, %v", kind, err)
	}
}

// surrogates are texts with halves of a pair, and what a Go string keeps of them: everything
// but the halves.
func surrogates() map[string]string {
	return map[string]string{
		`"\ud800"`:             "\ufffd",
		`"a\udfffb"`:           "a\ufffdb",
		`"\ude00\ud83d"`:       "\ufffd\ufffd", // a pair the wrong way round
		`"\ud83d\ud83d\ude00"`: "\ufffd😀",
	}
}

// testGoSendsSurrogates sends and gets them as raw JSON, where nothing is lost.
func testGoSendsSurrogates(t *testing.T, p *peers) {
	for text, decoded := range surrogates() {
		args := json.RawMessage(`{"v":` + text + `}`)
		var raw json.RawMessage
		if err := p.goClient.Call(soon(t), "value", args, &raw); err != nil || string(raw) != text {
			t.Errorf("%s came back as %s, %v", text, raw, err)
		}
		var untyped any
		if err := p.goClient.Call(soon(t), "value", args, &untyped); err != nil || untyped != decoded {
			t.Errorf("%s is decoded as %q, %v, want %q", text, untyped, err, decoded)
		}
	}
	err := p.goClient.Call(soon(t), "fail", json.RawMessage(`{"message":"b\ud800m"}`), nil)
	if remote, ok := errors.AsType[*messaging.RemoteError](err); !ok || !errors.Is(err, errValue) || remote.Message != "b\ufffdm" {
		t.Errorf("a failure with one came as %v", err)
	}
}

// testPythonSendsSurrogates has a handler return them as raw JSON, and another as a Go string.
func testPythonSendsSurrogates(t *testing.T, p *peers) {
	for text, decoded := range surrogates() {
		args := map[string]any{"v": json.RawMessage(text)}
		reply, err := p.call(t, peertest.Request{Method: "value", Args: args})
		if err != nil || string(reply.Result) != text {
			t.Errorf("%s came back as %s, %v", text, reply.Result, err)
		}
		reply, err = p.call(t, peertest.Request{Method: "echo", Args: args})
		if want, _ := json.Marshal(map[string]string{"v": decoded}); err != nil || !sameJSON(t, reply.Result, want) {
			t.Errorf("%s came back as %s, %v, want %s", text, reply.Result, err, want)
		}
	}
	reply, err := p.call(t, peertest.Request{Method: "context", Ctxt: map[string]any{"user": json.RawMessage(`"\ud800"`)}})
	if err != nil || !sameJSON(t, reply.Result, []byte(`{"user": "\ufffd"}`)) {
		t.Errorf("in a context one came as %s, %v", reply.Result, err)
	}
	_, err = p.call(t, peertest.Request{Method: "fail", Args: map[string]any{"message": json.RawMessage(`"b\ud800m"`)}})
	if failure, ok := errors.AsType[*peertest.PythonError](err); !ok || failure.Class != "ValueError" {
		t.Errorf("a failure with one came as %v", err)
	}
}

// oddNames are names of arguments that no language would give one.
const oddNames = `{"": 1, "a b": 2, "schlüssel": 3, "😀": 4, "class": 5, "1": 6, "-": 7, "\"\\": 8, "\u0000": 9, "_private": 10}`

func testGoSendsNames(t *testing.T, p *peers) {
	sent := decodeJSON(t, []byte(oddNames))
	var got any
	if err := p.goClient.Call(soon(t), "echo", sent, &got); err != nil || short(got) != short(sent) {
		t.Errorf("got %s, %v, want %s", short(got), err, short(sent))
	}
	// Names that a Python method has for itself.
	for _, name := range []string{"self", "ctxt"} {
		err := p.goClient.Call(soon(t), "echo", map[string]any{name: 1}, nil)
		if !errors.Is(err, &messaging.RemoteError{Module: "builtins", Class: "TypeError"}) {
			t.Errorf("the argument %s: got %v, want a TypeError", name, err)
		}
	}
}

func testPythonSendsNames(t *testing.T, p *peers) {
	reply, err := p.call(t, peertest.Request{Method: "echo", ArgsJSON: oddNames})
	if err != nil || !sameJSON(t, reply.Result, []byte(oddNames)) {
		t.Errorf("got %s, %v, want %s", reply.Result, err, oddNames)
	}
	// Names that the client's method has for itself: nothing is sent.
	for _, name := range []string{"self", "ctxt", "method"} {
		_, err := p.call(t, peertest.Request{Method: "echo", Args: map[string]any{name: 1}})
		if failure, ok := errors.AsType[*peertest.PythonError](err); !ok || failure.Class != "TypeError" {
			t.Errorf("the argument %s: got %v, want a TypeError", name, err)
		}
	}
}
