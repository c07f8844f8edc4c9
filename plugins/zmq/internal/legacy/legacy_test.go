// SPDX-License-Identifier: Apache-2.0

package legacy

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/parleymq/parley/plugin/driver"
)

// readGolden returns the frames that 8.1.4 made, as peer_test.go captured them.
func readGolden(tb testing.TB, name string) [][]byte {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "8.1.4", name+".txt"))
	if err != nil {
		tb.Fatal(err)
	}
	var frames [][]byte
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		frame, err := strconv.Unquote(strings.TrimSpace(line))
		if err != nil {
			tb.Fatal(err)
		}
		frames = append(frames, []byte(frame))
	}
	return frames
}

func TestGoldenRequests(t *testing.T) {
	for name, typ := range map[string]Type{"call": Call, "cast": Cast, "fanout": Fanout, "notify": Notify} {
		frames := readGolden(t, name)
		r, err := DecodeRequest(frames)
		if err != nil || r.Type != typ || r.MessageID != string(frames[frameID]) || !Is(frames) {
			t.Errorf("%s: %+v, %v", name, r, err)
			continue
		}
		if r.Message.UniqueID != r.MessageID || (r.Message.CallID == r.MessageID) != (typ == Call) ||
			r.Message.Target != (driver.Target{Fanout: typ == Fanout}) || TypeOf(&r.Message) != typ {
			t.Errorf("%s: %+v", name, r.Message)
		}
		if again := AppendRequest(nil, r.Type, r.MessageID, &r.Message); !reflect.DeepEqual(again, frames) {
			t.Errorf("%s: encoded again: %q, want %q", name, again, frames)
		}
	}
}

func TestGoldenReplies(t *testing.T) {
	for name, wantFailure := range map[string]string{"reply": "", "failure": `{"class": "ValueError", "module": "builtins", "message": "bad \"\u00e9\"", `} {
		frames := readGolden(t, name)
		id, body, failure, err := DecodeReply(frames)
		if err != nil || id != string(frames[frameID]) || !strings.HasPrefix(string(failure), wantFailure) {
			t.Fatalf("%s: %s, %s, %s, %v", name, id, body, failure, err)
		}
		if want := "null"; wantFailure != "" && string(body) != want || wantFailure == "" && string(body) != someMessage {
			t.Errorf("%s: body %s", name, body)
		}
		if again := AppendReply(nil, id, body, failure); !reflect.DeepEqual(again, frames) {
			t.Errorf("%s: encoded again: %q, want %q", name, again, frames)
		}
	}
}

// split makes frames of a text with a space between two of them.
func split(s string) [][]byte { return bytes.SplitN([]byte(s), []byte(" "), 5) }

func TestRequestsRefused(t *testing.T) {
	for _, tt := range []struct{ frames, want string }{
		{" 1.0", "2 frames"},
		{" 2.0 1 id [{},{}]", "version 1.0"},
		{"identity  1.0 1 id", "version 1.0"},
		{" 1.0 1 id", "4 frames"},
		{" 1.0 6 id", "acknowledgement"},
		{" 1.0 5 id [{},{}]", "response"},
		{" 1.0 6 id [{},{}]", "response"},
		{" 1.0 0 id [{},{}]", "message type"},
		{" 1.0 7 id [{},{}]", "message type"},
		{" 1.0 11 id [{},{}]", "message type"},
		{" 1.0  id [{},{}]", "message type"},
		{" 1.0 1  [{},{}]", "message id"},
		{" 1.0 1 i\x1bd [{},{}]", "message id"},
		{" 1.0 1 " + strings.Repeat("i", maxID+1) + " [{},{}]", "message id"},
		{" 1.0 1 id ", "list of two"},
		{" 1.0 1 id {}", "list of two"},
		{" 1.0 1 id [{}]", "list of two"},
		{" 1.0 1 id []", "list of two"},
		{" 1.0 1 id [{},{},{}]", "list of two"},
		{" 1.0 1 id [{},{}", "list of two"},
		{" 1.0 1 id [{},{}] x", "list of two"},
		{" 1.0 1 id [" + strings.Repeat("[", 100000), "too deeply"},
		{" 1.0 1 id [1,{}]", "context is no object"},
		{" 1.0 1 id [{},null]", "message is no object"},
		{" 1.0 4 id [{},[]]", "message is no object"},
		{" 1.0 1 id [{},{\"a\":\"\xff\"}]", "UTF-8"},
		{" 1.0 1 id \xdc\x00\x02\x80\x80", "msgpack"},
		{" 1.0 1 id \xdd\x00\x00\x00\x02\x80\x80", "msgpack"},
	} {
		r, err := DecodeRequest(split(tt.frames))
		if _, ok := errors.AsType[*Error](err); !ok || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.60q: got %+v, %v, want an error with %q", tt.frames, r, err, tt.want)
		}
		if !reflect.DeepEqual(r.Message, driver.Message{}) {
			t.Errorf("%.60q: a message with an error: %+v", tt.frames, r.Message)
		}
	}
	// Behind a proxy there is one frame more.
	if _, err := DecodeRequest([][]byte{nil, []byte("1.0"), []byte("1"), []byte("key"), []byte("id"), []byte("[{},{}]")}); err == nil || !strings.Contains(err.Error(), "use_router_proxy") {
		t.Errorf("got %v", err)
	}
	// A call that cannot be read can be answered.
	if r, err := DecodeRequest(readGolden(t, "call_msgpack")); err == nil || r.Type != Call || len(r.MessageID) != 36 {
		t.Errorf("got %+v, %v", r, err)
	}
	if Is(nil) || Is([][]byte{nil}) || Is(split("identity  1.0")) {
		t.Error("Is takes everything")
	}
}

func TestRequests(t *testing.T) {
	for _, tt := range []struct{ frames, context, body, priority string }{
		{" 1.0 2 id [null,{}]", "", "{}", ""},
		{" 1.0 2 id [ {} ,\t{\"n\": 1e999} ]", "{}", `{"n": 1e999}`, ""},
		{` 1.0 4 id [{},{"priority":"WARN"}]`, "{}", `{"priority":"WARN"}`, "warn"},
		{` 1.0 4 id [{},{"priority":"\u0057ARN","priority":"Sample"}]`, "{}", `{"priority":"\u0057ARN","priority":"Sample"}`, "sample"},
		{` 1.0 4 id [{},{"priority":"else"}]`, "{}", `{"priority":"else"}`, ""},
		{` 1.0 4 id [{},{"priority":5}]`, "{}", `{"priority":5}`, ""},
		{` 1.0 4 id [{},{}]`, "{}", `{}`, ""},
	} {
		r, err := DecodeRequest(split(tt.frames))
		if m := r.Message; err != nil || string(m.Context) != tt.context || string(m.Body) != tt.body || m.Priority != tt.priority {
			t.Errorf("%s: got %+v, %v", tt.frames, r, err)
		}
	}
	if TypeOf(&driver.Message{Kind: driver.Reply}) != 0 {
		t.Error("a reply has the type of a request")
	}
}

func TestReplies(t *testing.T) {
	const wrapped = `{"class": "", "module": "", "message": "%", "tb": [], "args": [], "kwargs": {}}`
	for _, tt := range []struct{ frames, body, failure, err string }{
		{" 1.0 5 id [1.0, null]", "1.0", "", ""},
		{` 1.0 5 id [1, ""]`, "1", "", ""},
		{` 1.0 5 id [1, {}]`, "1", "", ""},
		{` 1.0 5 id [1, "{\"class\": \"E\"}"]`, "null", `{"class": "E"}`, ""},
		{` 1.0 5 id [1, {"class": "E"}]`, "null", `{"class": "E"}`, ""},
		{` 1.0 5 id [null, "no object"]`, "null", strings.Replace(wrapped, "%", "no object", 1), ""},
		{` 1.0 5 id [null, 5]`, "null", strings.Replace(wrapped, "%", "5", 1), ""},
		{` 1.0 5 id [null]`, "", "", "list of two"},
		{` 1.0 1 id [{}, {}]`, "", "", "no reply"},
		{` 1.0 6 id`, "", "", "acknowledgement"},
		{" 1.0 5 id \x92\xc0\xc0", "", "", "msgpack"},
	} {
		id, body, failure, err := DecodeReply(split(tt.frames))
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: got %v, want an error with %q", tt.frames, err, tt.err)
			}
			continue
		}
		if err != nil || id != "id" || string(body) != tt.body || string(failure) != tt.failure {
			t.Errorf("%s: got %s, %s, %s, %v", tt.frames, id, body, failure, err)
		}
	}
}

func FuzzRequest(f *testing.F) {
	for _, name := range []string{"call", "cast", "fanout", "notify", "call_msgpack"} {
		frames := readGolden(f, name)
		f.Add(frames[frameType], frames[frameID], frames[framePayload])
	}
	f.Fuzz(func(t *testing.T, typ, id, payload []byte) {
		r, err := DecodeRequest([][]byte{nil, []byte(Version), typ, id, payload})
		if err != nil {
			return
		}
		frames := AppendRequest(nil, r.Type, r.MessageID, &r.Message)
		back, err := DecodeRequest(frames)
		if r.Message.Context == nil {
			r.Message.Context = []byte("{}")
		}
		if err != nil || !reflect.DeepEqual(r, back) {
			t.Fatalf("decoded %+v, then %+v, %v", r, back, err)
		}
	})
}

func FuzzReply(f *testing.F) {
	for _, name := range []string{"reply", "failure"} {
		frames := readGolden(f, name)
		f.Add(frames[frameID], frames[framePayload])
	}
	f.Fuzz(func(t *testing.T, id, payload []byte) {
		gotID, body, failure, err := DecodeReply([][]byte{nil, []byte(Version), []byte("5"), id, payload})
		if err != nil {
			return
		}
		frames := AppendReply(nil, gotID, body, failure)
		againID, againBody, againFailure, err := DecodeReply(frames)
		if err != nil || againID != gotID || !bytes.Equal(body, againBody) || !bytes.Equal(failure, againFailure) {
			t.Fatalf("decoded %s, %s, then %s, %s, %v", body, failure, againBody, againFailure, err)
		}
		if again := AppendReply(nil, againID, againBody, againFailure); !slices.EqualFunc(frames, again, bytes.Equal) {
			t.Fatalf("encoded %q, then %q", frames, again)
		}
	})
}
