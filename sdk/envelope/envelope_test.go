// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"bytes"
	"compress/zlib"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/pyjson"
	"github.com/parleymq/parley/plugin/driver"
)

// wire pairs a message with the text that a Python peer sends for it, byte for byte.
var wire = []struct {
	name string
	m    driver.Message
	text string
}{
	{"cast", driver.Message{
		Kind: driver.Cast, UniqueID: "u1",
		Body:    []byte(`{"method": "echo", "args": {"a": 1, "c": [1, 2.5, null, true]}, "version": "1.0"}`),
		Context: []byte(`{"user": "alice", "roles": ["admin", "member"], "none": null}`),
	}, `{"oslo.version": "2.0", "oslo.message": "{\"method\": \"echo\", \"args\": {\"a\": 1, \"c\": [1, 2.5, null, true]}, \"version\": \"1.0\", \"_unique_id\": \"u1\", \"_context_user\": \"alice\", \"_context_roles\": [\"admin\", \"member\"], \"_context_none\": null}"}`},
	{"call", driver.Message{
		Kind: driver.Call, UniqueID: "u1", CallID: "c1", ReplyTo: "reply_1",
		Body:    []byte(`{"method": "echo", "args": {"msg": "h\u00e9llo \u2603 \"q\" \\ \n"}}`),
		Context: []byte(`{"user": "alice"}`),
	}, `{"oslo.version": "2.0", "oslo.message": "{\"method\": \"echo\", \"args\": {\"msg\": \"h\\u00e9llo \\u2603 \\\"q\\\" \\\\ \\n\"}, \"_msg_id\": \"c1\", \"_reply_q\": \"reply_1\", \"_timeout\": null, \"_unique_id\": \"u1\", \"_context_user\": \"alice\"}"}`},
	{"monitored call", driver.Message{
		Kind: driver.Call, UniqueID: "u1", CallID: "c1", ReplyTo: "reply_1", MonitorTimeout: 2 * time.Second,
		Body: []byte(`{"method": "slow", "args": {}}`),
	}, `{"oslo.version": "2.0", "oslo.message": "{\"method\": \"slow\", \"args\": {}, \"_msg_id\": \"c1\", \"_reply_q\": \"reply_1\", \"_timeout\": 2, \"_unique_id\": \"u1\"}"}`},
	{"fractional monitor", driver.Message{
		Kind: driver.Call, UniqueID: "u1", CallID: "c1", ReplyTo: "reply_1", MonitorTimeout: 2500 * time.Millisecond,
		Body: []byte(`{"method": "slow", "args": {}}`),
	}, `{"oslo.version": "2.0", "oslo.message": "{\"method\": \"slow\", \"args\": {}, \"_msg_id\": \"c1\", \"_reply_q\": \"reply_1\", \"_timeout\": 2.5, \"_unique_id\": \"u1\"}"}`},
	{"reply", driver.Message{Kind: driver.Reply, UniqueID: "u2", CallID: "c1", Body: []byte(`{"a": 1}`)},
		`{"oslo.version": "2.0", "oslo.message": "{\"result\": {\"a\": 1}, \"failure\": null, \"ending\": true, \"_msg_id\": \"c1\", \"_unique_id\": \"u2\"}"}`},
	{"reply null", driver.Message{Kind: driver.Reply, UniqueID: "u2", CallID: "c1", Body: []byte(`null`)},
		`{"oslo.version": "2.0", "oslo.message": "{\"result\": null, \"failure\": null, \"ending\": true, \"_msg_id\": \"c1\", \"_unique_id\": \"u2\"}"}`},
	{"failure", driver.Message{
		Kind: driver.Reply, UniqueID: "u2", CallID: "c1", Body: []byte(`null`),
		Failure: []byte(`{"class": "ValueError", "module": "builtins", "message": "boom \"q\"", "tb": ["a\n"], "args": [], "kwargs": {}}`),
	}, `{"oslo.version": "2.0", "oslo.message": "{\"result\": null, \"failure\": \"{\\\"class\\\": \\\"ValueError\\\", \\\"module\\\": \\\"builtins\\\", \\\"message\\\": \\\"boom \\\\\\\"q\\\\\\\"\\\", \\\"tb\\\": [\\\"a\\\\n\\\"], \\\"args\\\": [], \\\"kwargs\\\": {}}\", \"ending\": true, \"_msg_id\": \"c1\", \"_unique_id\": \"u2\"}"}`},
	{"heartbeat", driver.Message{Kind: driver.Heartbeat, UniqueID: "u2", CallID: "c1"},
		`{"oslo.version": "2.0", "oslo.message": "{\"result\": null, \"failure\": null, \"ending\": false, \"_msg_id\": \"c1\", \"_unique_id\": \"u2\"}"}`},
	{"notification 1.0", driver.Message{
		Kind: driver.Notification, Format: driver.NotificationV1, UniqueID: "u3",
		Body:    []byte(`{"message_id": "m", "event_type": "e", "payload": {"x": NaN}}`),
		Context: []byte(`{"user": "u"}`),
	}, `{"message_id": "m", "event_type": "e", "payload": {"x": NaN}, "_unique_id": "u3", "_context_user": "u"}`},
	{"notification 2.0", driver.Message{
		Kind: driver.Notification, Format: driver.NotificationV2, UniqueID: "u3",
		Body: []byte(`{"message_id": "m", "event_type": "e", "payload": [1180591620717411303424]}`),
	}, `{"oslo.version": "2.0", "oslo.message": "{\"message_id\": \"m\", \"event_type\": \"e\", \"payload\": [1180591620717411303424], \"_unique_id\": \"u3\"}"}`},
	{"empty body", driver.Message{Kind: driver.Notification, Format: driver.NotificationV1, UniqueID: "u3", Body: []byte(`{}`)},
		`{"_unique_id": "u3"}`},
	{"odd ids and keys", driver.Message{
		Kind: driver.Call, UniqueID: "ü\"", CallID: "c\\1", ReplyTo: "q\n",
		Body: []byte(`{"method": "m"}`), Context: []byte(`{"a\"b": 1}`),
	}, `{"oslo.version": "2.0", "oslo.message": "{\"method\": \"m\", \"_msg_id\": \"c\\\\1\", \"_reply_q\": \"q\\n\", \"_timeout\": null, \"_unique_id\": \"ü\\\"\", \"_context_a\\\"b\": 1}"}`},
}

func TestAppend(t *testing.T) {
	for _, tt := range wire {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Append([]byte("before"), &tt.m)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != "before"+tt.text {
				t.Errorf("got  %s\nwant %s", got[len("before"):], tt.text)
			}
		})
	}
}

func TestDecodeWire(t *testing.T) {
	for _, tt := range wire {
		t.Run(tt.name, func(t *testing.T) {
			got := decode(t, tt.text)
			want := tt.m
			if want.Kind == driver.Reply || want.Kind == driver.Heartbeat {
				want.ReplyTo = ""
			}
			equal(t, got, &want)
		})
	}
}

func decode(t *testing.T, text string) *driver.Message {
	t.Helper()
	m, err := Decode(ContentType, ContentEncoding, "", []byte(text), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// equal compares messages; their texts by value and not by white space.
func equal(t *testing.T, got, want *driver.Message) {
	t.Helper()
	for _, p := range []struct {
		name      string
		got, want []byte
	}{{"Body", got.Body, want.Body}, {"Context", got.Context, want.Context}, {"Failure", got.Failure, want.Failure}} {
		if len(p.got) == 0 && len(p.want) == 0 {
			continue
		}
		g, err := pyjson.Decode(p.got)
		if err != nil {
			t.Errorf("%s %q: %v", p.name, p.got, err)
		}
		w, err := pyjson.Decode(p.want)
		if err != nil {
			t.Errorf("wanted %s %q: %v", p.name, p.want, err)
		}
		gt, _ := pyjson.Encode(g)
		wt, _ := pyjson.Encode(w)
		if !bytes.Equal(gt, wt) {
			t.Errorf("%s: got %s, want %s", p.name, gt, wt)
		}
	}
	g, w := *got, *want
	g.Body, g.Context, g.Failure = nil, nil, nil
	w.Body, w.Context, w.Failure = nil, nil, nil
	if !reflect.DeepEqual(g, w) {
		t.Errorf("got %+v, want %+v", g, w)
	}
}

func TestAppendRefuses(t *testing.T) {
	for name, m := range map[string]driver.Message{
		"body no object":    {Kind: driver.Call, Body: []byte(`[1]`)},
		"body empty":        {Kind: driver.Cast},
		"context no object": {Kind: driver.Cast, Body: []byte(`{}`), Context: []byte(`{"a"`)},
		"unknown kind":      {Kind: 99},
	} {
		t.Run(name, func(t *testing.T) {
			dst := []byte("x")
			got, err := Append(dst, &m)
			if err == nil || string(got) != "x" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// wrap puts an inner text into a 2.0 envelope.
func wrap(inner string) string {
	return `{"oslo.version": "2.0", "oslo.message": ` + string(pyjson.AppendString(nil, inner)) + `}`
}

// TestReplies has a row for each reply of oslo_messaging/tests and of older servers that a
// client may get.
func TestReplies(t *testing.T) {
	const ids = `, "_msg_id": "c"`
	for _, tt := range []struct {
		name, inner string
		kind        driver.Kind
		body        string
		failure     string
	}{
		{"complete", `{"result": 1, "failure": null, "ending": true` + ids + `, "_unique_id": "u"}`, driver.Reply, "1", ""},
		{"without unique id", `{"result": 1, "failure": null, "ending": true` + ids + `}`, driver.Reply, "1", ""},
		{"unknown keys", `{"result": 1, "failure": null, "ending": true, "x": 2` + ids + `}`, driver.Reply, "1", ""},
		{"no failure", `{"result": 1, "ending": true` + ids + `}`, driver.Reply, "1", ""},
		{"no ending", `{"result": 1, "failure": null` + ids + `}`, driver.Reply, "1", ""},
		{"no result", `{"failure": null, "ending": true` + ids + `}`, driver.Reply, "null", ""},
		{"empty failure", `{"result": 1, "failure": "", "ending": true` + ids + `}`, driver.Reply, "1", ""},
		{"failure text", `{"result": null, "failure": "{\"class\": \"E\"}", "ending": true` + ids + `}`, driver.Reply, "null", `{"class": "E"}`},
		{"failure object", `{"result": 7, "failure": {"class": "E"}, "ending": true` + ids + `}`, driver.Reply, "null", `{"class": "E"}`},
		{"failure plain text", `{"result": null, "failure": "boom", "ending": true` + ids + `}`, driver.Reply, "null",
			`{"class": "", "module": "", "message": "boom", "tb": [], "args": [], "kwargs": {}}`},
		{"failure list", `{"result": null, "failure": [1], "ending": true` + ids + `}`, driver.Reply, "null",
			`{"class": "", "module": "", "message": "[1]", "tb": [], "args": [], "kwargs": {}}`},
		{"heartbeat", `{"result": null, "failure": null, "ending": false` + ids + `}`, driver.Heartbeat, "", ""},
		{"legacy payload", `{"result": 1, "failure": null, "ending": false` + ids + `}`, driver.Reply, "1", ""},
		{"legacy failure", `{"result": null, "failure": "{\"class\": \"E\"}", "ending": false` + ids + `}`, driver.Reply, "null", `{"class": "E"}`},
		{"NaN", `{"result": NaN, "failure": null, "ending": true` + ids + `}`, driver.Reply, "NaN", ""},
	} {
		for framing, text := range map[string]string{"bare": tt.inner, "wrapped": wrap(tt.inner)} {
			t.Run(tt.name+"/"+framing, func(t *testing.T) {
				m := decode(t, text)
				if m.Kind != tt.kind || m.CallID != "c" || string(m.Body) != tt.body || string(m.Failure) != tt.failure {
					t.Errorf("got %s %q body %s failure %s", m.Kind, m.CallID, m.Body, m.Failure)
				}
			})
		}
	}
}

func TestRequests(t *testing.T) {
	for _, tt := range []struct {
		name, inner string
		want        driver.Message
	}{
		{"no ids", `{"method": "m", "args": {}}`, driver.Message{Kind: driver.Cast, Body: []byte(`{"method": "m", "args": {}}`)}},
		{"unknown keys stay", `{"method": "m", "x": 1, "_y": 2}`, driver.Message{Kind: driver.Cast, Body: []byte(`{"method": "m", "x": 1, "_y": 2}`)}},
		{"keys in any order", `{"_context_a": {"b": 1}, "_unique_id": "u", "version": "1.1", "method": "m", "_reply_q": "r", "_context_": 0, "namespace": "n", "_msg_id": "c", "args": null}`,
			driver.Message{
				Kind: driver.Call, UniqueID: "u", CallID: "c", ReplyTo: "r", Context: []byte(`{"a": {"b": 1}, "": 0}`),
				Body: []byte(`{"version": "1.1", "method": "m", "namespace": "n", "args": null}`),
			}},
		{"id without queue is a cast", `{"method": "m", "_msg_id": "c"}`, driver.Message{Kind: driver.Cast, Body: []byte(`{"method": "m"}`)}},
		{"null ids", `{"method": "m", "_msg_id": null, "_reply_q": null, "_timeout": 5}`, driver.Message{Kind: driver.Cast, Body: []byte(`{"method": "m"}`)}},
		{"no method, can be answered", `{"_msg_id": "c", "_reply_q": "r"}`, driver.Message{Kind: driver.Call, CallID: "c", ReplyTo: "r", Body: []byte(`{}`)}},
		{"method is no string", `{"method": 5}`, driver.Message{Kind: driver.Cast, Body: []byte(`{"method": 5}`)}},
		{"whole timeout", `{"method": "m", "_msg_id": "c", "_reply_q": "r", "_timeout": 30}`,
			driver.Message{Kind: driver.Call, CallID: "c", ReplyTo: "r", MonitorTimeout: 30 * time.Second, Body: []byte(`{"method": "m"}`)}},
		{"negative timeout", `{"method": "m", "_msg_id": "c", "_reply_q": "r", "_timeout": -1}`,
			driver.Message{Kind: driver.Call, CallID: "c", ReplyTo: "r", Body: []byte(`{"method": "m"}`)}},
		{"NaN timeout", `{"method": "m", "_msg_id": "c", "_reply_q": "r", "_timeout": NaN}`,
			driver.Message{Kind: driver.Call, CallID: "c", ReplyTo: "r", Body: []byte(`{"method": "m"}`)}},
		{"escaped names", `{"\u006dethod": "m", "_unique\u005fid": "\u0075"}`, driver.Message{Kind: driver.Cast, UniqueID: "u", Body: []byte(`{"method": "m"}`)}},
		{"result of a request", `{"method": "m", "result": 1}`, driver.Message{Kind: driver.Cast, Body: []byte(`{"method": "m", "result": 1}`)}},
		{"notification", `{"event_type": "e", "payload": {}, "_context_a": 1, "result": 5}`,
			driver.Message{Kind: driver.Notification, Body: []byte(`{"event_type": "e", "payload": {}, "result": 5}`), Context: []byte(`{"a": 1}`)}},
		{"neither", `{"hello": 1}`, driver.Message{Kind: driver.Notification, Body: []byte(`{"hello": 1}`)}},
	} {
		for framing, text := range map[string]string{"bare": tt.inner, "wrapped": wrap(tt.inner)} {
			t.Run(tt.name+"/"+framing, func(t *testing.T) {
				want := tt.want
				if want.Kind == driver.Notification {
					want.Format = driver.NotificationV1
					if framing == "wrapped" {
						want.Format = driver.NotificationV2
					}
				}
				equal(t, decode(t, text), &want)
			})
		}
	}
}

func TestHugeTimeout(t *testing.T) {
	m := decode(t, `{"method": "m", "_msg_id": "c", "_reply_q": "r", "_timeout": 1e300}`)
	if m.MonitorTimeout <= 0 || m.MonitorTimeout > math.MaxInt64/2+1 {
		t.Errorf("got %v", m.MonitorTimeout)
	}
}

const secret = "s3cr3t-payload"

func TestDecodeRefuses(t *testing.T) {
	good := wrap(`{"method": "m"}`)
	for _, tt := range []struct {
		name                              string
		contentType, encoding, compressed string
		body, want                        string
	}{
		{"text/plain", "text/plain", "utf-8", "", good, `content type "text/plain"`},
		{"no content type", "", "utf-8", "", good, `content type ""`},
		{"pickle", "application/x-python-serialize", "binary", "", good, "content type"},
		{"utf-16", ContentType, "utf-16", "", good, "encoding"},
		{"unknown compression", ContentType, "utf-8", "application/zstd", good, "compression"},
		{"not compressed", ContentType, "utf-8", "application/x-gzip", good, "compression header"},
		{"truncated compression", ContentType, "utf-8", "application/x-gzip", zlibbed(good)[:20], "decompressed"},
		{"not bzip2", ContentType, "utf-8", "application/x-bz2", good, "decompressed"},
		{"invalid", ContentType, "utf-8", "", `{"method": ` + secret, "offset 11"},
		{"list", ContentType, "utf-8", "", `["` + secret + `"]`, "object"},
		{"string", ContentType, "utf-8", "", `"` + secret + `"`, "object"},
		{"empty", ContentType, "utf-8", "", ``, "object"},
		{"version 2.1", ContentType, "utf-8", "", strings.Replace(good, "2.0", "2.1", 1), "version"},
		{"version 1.9", ContentType, "utf-8", "", strings.Replace(good, "2.0", "1.9", 1), "version"},
		{"version 3.0", ContentType, "utf-8", "", strings.Replace(good, "2.0", "3.0", 1), "version"},
		{"version number", ContentType, "utf-8", "", `{"oslo.version": 2.0, "oslo.message": "{}"}`, "version"},
		{"inner object", ContentType, "utf-8", "", `{"oslo.version": "2.0", "oslo.message": {"x": "` + secret + `"}}`, "not a string"},
		{"inner invalid", ContentType, "utf-8", "", wrap(secret), "oslo.message"},
		{"inner list", ContentType, "utf-8", "", wrap("[1]"), "oslo.message"},
		{"unique id number", ContentType, "utf-8", "", wrap(`{"method": "` + secret + `", "_unique_id": 5}`), "_unique_id"},
		{"reply without id", ContentType, "utf-8", "", wrap(`{"result": "` + secret + `", "failure": null, "ending": true}`), "_msg_id"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Decode(tt.contentType, tt.encoding, tt.compressed, []byte(tt.body), Limits{})
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want an Error with %q", err, tt.want)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the payload is in %q", err)
			}
		})
	}
}

func zlibbed(s string) string {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	if _, err := w.Write([]byte(s)); err != nil {
		panic(err) // a buffer takes everything
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.String()
}

func TestCompressed(t *testing.T) {
	text := wrap(`{"method": "m"}`)
	for _, name := range []string{"application/x-gzip", "gzip"} {
		m, err := Decode(ContentType, "", name, []byte(zlibbed(text)), Limits{})
		if err != nil || string(m.Body) != `{"method": "m"}` {
			t.Errorf("%s: got %v, %v", name, m, err)
		}
	}
	bomb := zlibbed(strings.Repeat(" ", 1<<20))
	if _, err := Decode(ContentType, "", "gzip", []byte(bomb), Limits{MaxSize: 1 << 16}); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("a bomb: got %v", err)
	}
	if _, err := Decode(ContentType, "", "", []byte(text), Limits{MaxSize: 10}); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("a large body: got %v", err)
	}
}

func TestAcceptedProperties(t *testing.T) {
	for _, p := range [][2]string{
		{"application/json", ""}, {"application/json", "UTF-8"}, {"application/json; charset=utf-8", "utf-8"},
		{"Application/JSON", "binary"}, {"application/json", "us-ascii"},
	} {
		if _, err := Decode(p[0], p[1], "", []byte(`{"method": "m"}`), Limits{}); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, tt := range wire {
		f.Add([]byte(tt.text))
	}
	f.Add([]byte(wrap(`{"method": "m", "_parley_deadline": 1700000000123}`)))
	f.Add([]byte(`{"method": "m", "_parley_deadline": -1.5e400, "_parley_deadline": 8796093022209}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := Decode(ContentType, "", "", body, Limits{MaxSize: 1 << 20})
		if err != nil {
			return
		}
		for _, part := range [][]byte{m.Body, m.Context, m.Failure} {
			if len(part) > 0 && pyjson.Valid(part) != nil {
				t.Fatalf("%s has the part %q: %v", m.Kind, part, pyjson.Valid(part))
			}
		}
		text, err := Append(nil, m)
		if err != nil {
			t.Fatalf("what was decoded cannot be encoded: %v", err)
		}
		again, err := Decode(ContentType, "", "", text, Limits{})
		if err != nil || again.Kind != m.Kind || again.CallID != m.CallID || again.UniqueID != m.UniqueID || !again.Deadline.Equal(m.Deadline) {
			t.Fatalf("decoded %+v, then %+v, %v", m, again, err)
		}
	})
}

func BenchmarkAppendCall(b *testing.B) {
	m := wire[1].m
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dst, err = Append(dst[:0], &m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeCall(b *testing.B) { benchmarkDecode(b, wire[1].text) }

func BenchmarkDecodeReply(b *testing.B) { benchmarkDecode(b, wire[4].text) }

func BenchmarkDecodeLarge(b *testing.B) {
	benchmarkDecode(b, wrap(`{"method": "m", "args": {"x": "`+strings.Repeat("0123456789abcdef", 4096)+`"}}`))
}

func benchmarkDecode(b *testing.B, text string) {
	body := []byte(text)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var m driver.Message
		if err := DecodeInto(&m, ContentType, ContentEncoding, "", body, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}
