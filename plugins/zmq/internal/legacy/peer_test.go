// SPDX-License-Identifier: Apache-2.0

package legacy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/pyjson"
	"github.com/parleymq/parley/plugin/driver"
)

var update = flag.Bool("update", false, "capture testdata/8.1.4 anew")

// peer8 is testdata/peer8.py: the classes of oslo.messaging 8.1.4.
type peer8 struct {
	in  io.Writer
	out *bufio.Reader
}

// order is what it is told, answer what it says; see there.
type order struct {
	Op            string   `json:"op"`
	Type          string   `json:"type,omitempty"`
	Context       string   `json:"context,omitempty"`
	Message       string   `json:"message,omitempty"`
	Serialization string   `json:"serialization,omitempty"`
	Frames        []string `json:"frames,omitempty"`
	Failure       string   `json:"failure,omitempty"`
}

type answer struct {
	frames, reply            [][]byte
	id, class, error         string
	context, message, result string // JSON as Python prints it
	refused                  string
}

func startPeer8(t *testing.T) *peer8 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // t's is over before Cleanup
	cmd := peertest.OsloZmqCommand(ctx, t, "testdata/peer8.py")
	stderr := new(bytes.Buffer)
	cmd.Stderr = stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer cancel()
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, stderr)
		}
	})
	return &peer8{in: in, out: bufio.NewReader(out)}
}

// do needs Python's numbers as they are, so the answer is not decoded by encoding/json.
func (p *peer8) do(t *testing.T, o order) (a answer) {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.in.Write(append(text, '\n')); err != nil {
		t.Fatal(err)
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	fields, err := pyjson.Fields(nil, line)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		switch string(f.Key) {
		case "frames":
			a.frames = decodeFrames(t, f.Value)
		case "reply":
			a.reply = decodeFrames(t, f.Value)
		case "context":
			a.context = string(f.Value)
		case "message":
			a.message = string(f.Value)
		case "result":
			a.result = string(f.Value)
		case "id":
			a.id = unquoted(t, f.Value)
		case "class":
			a.class = unquoted(t, f.Value)
		case "error":
			a.error = unquoted(t, f.Value)
		case "refused":
			a.refused = unquoted(t, f.Value)
		}
	}
	return a
}

func unquoted(t *testing.T, value []byte) string {
	t.Helper()
	s, err := pyjson.Unquote(nil, value)
	if err != nil {
		t.Fatal(err)
	}
	return string(s)
}

func decodeFrames(t *testing.T, value []byte) [][]byte {
	t.Helper()
	var digits []string
	if err := json.Unmarshal(value, &digits); err != nil {
		t.Fatal(err)
	}
	frames := make([][]byte, len(digits))
	for i, d := range digits {
		var err error
		if frames[i], err = hex.DecodeString(d); err != nil {
			t.Fatal(err)
		}
	}
	return frames
}

func digits(frames [][]byte) []string {
	out := make([]string, len(frames))
	for i, f := range frames {
		out[i] = hex.EncodeToString(f)
	}
	return out
}

// interop is what goes both ways. Python prints it as it is here.
const (
	someContext = `{"user": "\u00e9", "roles": ["a", "b"]}`
	someMessage = `{"method": "echo", "args": {"big": 1180591620717411303424, "one": 1, "float": 1.0, "nan": NaN, "none": null}, "namespace": "ns", "version": "1.0"}`
	someEvent   = `{"message_id": "x", "publisher_id": "p", "event_type": "a.b", "priority": "INFO", "payload": {"nan": NaN}}`
)

// TestTheirRequests: what 8.1.4 sends is decoded.
func TestTheirRequests(t *testing.T) {
	p := startPeer8(t)
	for _, tt := range []struct {
		name, message string
		want          Request
	}{
		{"call", someMessage, Request{Type: Call, Message: driver.Message{Kind: driver.Call}}},
		{"cast", someMessage, Request{Type: Cast, Message: driver.Message{Kind: driver.Cast}}},
		{"fanout", someMessage, Request{Type: Fanout, Message: driver.Message{Kind: driver.Cast, Target: driver.Target{Fanout: true}}}},
		{"notify", someEvent, Request{Type: Notify, Message: driver.Message{Kind: driver.Notification, Priority: "info", Format: driver.NotificationV1}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			frames := p.do(t, order{Op: "send", Type: tt.name, Context: someContext, Message: tt.message}).frames
			capture(t, tt.name, "as a server's ROUTER gets it, without the identity", frames)
			r, err := DecodeRequest(frames)
			if err != nil {
				t.Fatal(err)
			}
			id := r.MessageID
			tt.want.MessageID, tt.want.Message.UniqueID = id, id
			if r.Type == Call {
				tt.want.Message.CallID = id
			}
			tt.want.Message.Context, tt.want.Message.Body = []byte(someContext), []byte(tt.message)
			if len(id) != 36 || !reflect.DeepEqual(r, tt.want) {
				t.Errorf("got %+v\nwant %+v", r, tt.want)
			}
			if again := AppendRequest(nil, r.Type, id, &r.Message); !reflect.DeepEqual(again, frames) {
				t.Errorf("encoded again: %q, want %q", again, frames)
			}
			if TypeOf(&r.Message) != r.Type {
				t.Errorf("TypeOf says %d", TypeOf(&r.Message))
			}
		})
	}
	packed := order{Op: "send", Type: "call", Context: "{}", Message: `{"method":"m"}`, Serialization: "msgpack"}
	frames := p.do(t, packed).frames
	capture(t, "call_msgpack", "with rpc_zmq_serialization = msgpack", frames)
	r, err := DecodeRequest(frames)
	if err == nil || !strings.Contains(err.Error(), "msgpack") || r.Type != Call || len(r.MessageID) != 36 {
		t.Errorf("msgpack: %+v, %v", r, err)
	}
}

// TestOurRequests: 8.1.4 serves what we send, and its replies are decoded.
func TestOurRequests(t *testing.T) {
	p := startPeer8(t)
	const id = "a9cbe516-e646-11f1-bef0-02fc00000001"
	m := driver.Message{Kind: driver.Call, Context: []byte(someContext), Body: []byte(someMessage)}
	for _, typ := range []Type{Call, Cast, Fanout, Notify} {
		a := p.do(t, order{Op: "serve", Frames: digits(AppendRequest(nil, typ, id, &m))})
		if a.context != someContext || a.message != someMessage || a.refused != "" {
			t.Errorf("type %d: %+v", typ, a)
		}
		if typ != Call {
			continue
		}
		capture(t, "reply", "as a client's DEALER gets it", a.reply)
		gotID, body, failure, err := DecodeReply(a.reply)
		if err != nil || gotID != id || string(body) != someMessage || failure != nil {
			t.Errorf("reply %q: %q, %s, %s, %v", a.reply, gotID, body, failure, err)
		}
		if again := AppendReply(nil, gotID, body, failure); !reflect.DeepEqual(again, a.reply) {
			t.Errorf("encoded again: %q, want %q", again, a.reply)
		}
	}
	a := p.do(t, order{Op: "serve", Failure: `bad "é"`, Frames: digits(AppendRequest(nil, Call, id, &m))})
	capture(t, "failure", "as a client's DEALER gets it", a.reply)
	_, body, failure, err := DecodeReply(a.reply)
	if err != nil || string(body) != "null" || !strings.HasPrefix(string(failure), `{"class": "ValueError", "module": "builtins", "message": "bad \"\u00e9\"", "tb": [`) {
		t.Errorf("failure %q: %s, %s, %v", a.reply, body, failure, err)
	}
	if again := AppendReply(nil, id, body, failure); !reflect.DeepEqual(again, a.reply) {
		t.Errorf("encoded again: %q, want %q", again, a.reply)
	}
	// An empty context and UTF-8 that is not escaped are fine, too.
	a = p.do(t, order{Op: "serve", Frames: digits(AppendRequest(nil, Cast, id, &driver.Message{Body: []byte(`{"method":"é"}`)}))})
	if a.context != "{}" || a.message != `{"method": "\u00e9"}` {
		t.Errorf("got %+v", a)
	}
}

// TestOurReplies: 8.1.4's client takes our replies, and raises our failures.
func TestOurReplies(t *testing.T) {
	p := startPeer8(t)
	const failure = `{"class": "ValueError", "module": "builtins", "message": "bad \"é\"", "tb": ["t\n"], "args": ["bad \"é\""], "kwargs": {}}`
	for _, tt := range []struct{ body, failure, result, class string }{
		{`[1180591620717411303424, 1.0, NaN, "\u00e9"]`, "", `[1180591620717411303424, 1.0, NaN, "\u00e9"]`, ""},
		{`"é"`, "", `"\u00e9"`, ""},
		{"", "", "null", ""},
		{"null", failure, "null", "ValueError"},
		{"null", `{"class": "Mine", "module": "far.away", "message": "m", "tb": [], "args": [], "kwargs": {}}`, "null", "RemoteError"},
	} {
		a := p.do(t, order{Op: "receive", Frames: digits(AppendReply(nil, "some-id", []byte(tt.body), []byte(tt.failure)))})
		if a.id != "some-id" || a.result != tt.result || a.class != tt.class || a.refused != "" {
			t.Errorf("%s, %s: got %+v", tt.body, tt.failure, a)
		}
		if tt.class == "ValueError" && a.error != `bad "é"` {
			t.Errorf("the error says %s", a.error)
		}
	}
	if a := p.do(t, order{Op: "serve", Frames: digits([][]byte{nil, []byte("2.0"), []byte("1"), []byte("id"), []byte("[{},{}]")})}); a.refused == "" {
		t.Error("version 2.0 was taken: this peer refuses nothing")
	}
}

// capture writes a golden file when told to.
func capture(t *testing.T, name, about string, frames [][]byte) {
	t.Helper()
	if !*update {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# oslo.messaging 8.1.4: %s, %s\n", name, about)
	for _, f := range frames {
		b.WriteString(strconv.QuoteToASCII(string(f)) + "\n")
	}
	if err := os.WriteFile(filepath.Join("testdata", "8.1.4", name+".txt"), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}
