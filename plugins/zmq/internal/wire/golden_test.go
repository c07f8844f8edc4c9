// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/hex"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/registry"
)

var update = flag.Bool("update", false, "write testdata/*.hex anew")

// golden is a packet, its header as JSON, and what it is.
type golden struct {
	name, about, header string
	packet              Packet
}

// goldens has a packet of each type. What it says is on the wire for ever.
func goldens() []golden {
	const (
		callID = "5f1c0b6a9c1b4d2f8a7e6d5c4b3a2910"
		unique = "0123456789abcdef0123456789abcdef"
		reply  = "reply_2f6e0d4c8b1a4e7f9d3c5b7a8e6f4d21"
	)
	record := &registry.Record{
		Node: "00112233445566778899aabbccddeeff", Instance: "i-1", Name: "nova-api on h1", Version: 3,
		Endpoints: []string{"tcp://192.0.2.1:5570", "ipc:///run/parley/n.sock"},
		Targets: []registry.Target{
			{Kind: driver.SourceServer, Exchange: "nova", Topic: "compute", Server: "h1", Scoped: true},
			{Kind: driver.SourceReplies, Reply: reply},
			{Kind: driver.SourceNotifications, Exchange: "nova", Topic: "notifications", Priority: "info", Pool: "p"},
		},
	}
	return []golden{
		{"call", "a call with everything that a call can have, sent for the third time",
			`{"0":1,"1":4294967296,"2":4294967290,"3":2,"4":true,"6":"nova","7":"compute","8":"h1","13":"` + reply + `","14":"` + callID + `","15":"` + unique + `","16":30000,"17":59001,"18":1795433677123,"19":{"baggage":"a=é","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}}`,
			Packet{Type: Call, Seq: 1 << 32, Floor: 1<<32 - 6, Attempt: 2, Redelivered: true, Message: driver.Message{
				Kind: driver.Call, Target: driver.Target{Exchange: "nova", Topic: "compute", Server: "h1"},
				ReplyTo: reply, CallID: callID, UniqueID: unique,
				MonitorTimeout: 30 * time.Second, TimeLeft: 59001 * time.Millisecond, Deadline: time.UnixMilli(1795433677123),
				Context: []byte(`{"user": "alice"}`), Body: []byte(`{"method": "echo", "args": {"a": 1180591620717411303424}}`),
				Headers: map[string]string{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "baggage": "a=é"},
			}}},
		{"call_small", "a call with nothing that it can do without", `{"0":1,"1":1,"7":"t"}`,
			Packet{Type: Call, Seq: 1, Message: driver.Message{
				Kind: driver.Call, Target: driver.Target{Topic: "t"}, Body: []byte(`{"method": "m"}`)}}},
		{"cast", "a copy of a fanout that stays in its exchange", `{"0":2,"1":24,"6":"nova","7":"compute","9":true,"10":true,"15":"` + unique + `"}`,
			Packet{Type: Cast, Seq: 24, Message: driver.Message{
				Kind: driver.Cast, Target: driver.Target{Exchange: "nova", Topic: "compute", Fanout: true, Scoped: true},
				UniqueID: unique, Context: []byte(`{}`), Body: []byte(`{"method": "refresh", "args": {}}`)}}},
		{"notify", "a notification for a pool", `{"0":3,"1":65536,"5":"p","6":"nova","7":"notifications","11":"info","12":2,"15":"` + unique + `"}`,
			Packet{Type: Notify, Seq: 65536, Pool: "p", Message: driver.Message{
				Kind: driver.Notification, Target: driver.Target{Exchange: "nova", Topic: "notifications"},
				Priority: "info", Format: driver.NotificationV2, UniqueID: unique,
				Context: []byte(`{}`), Body: []byte(`{"event_type": "a.b", "priority": "INFO", "payload": {}}`)}}},
		{"reply", "the result of a call", `{"0":4,"1":255,"13":"` + reply + `","14":"` + callID + `","15":"` + unique + `","17":1}`,
			Packet{Type: Reply, Seq: 255, Message: driver.Message{
				Kind: driver.Reply, ReplyTo: reply, CallID: callID, UniqueID: unique, TimeLeft: time.Millisecond, Body: []byte(`[NaN, 1.0]`)}}},
		{"reply_failure", "the failure of a call", `{"0":4,"1":256,"13":"` + reply + `","14":"` + callID + `","15":"` + unique + `"}`,
			Packet{Type: Reply, Seq: 256, Message: driver.Message{
				Kind: driver.Reply, ReplyTo: reply, CallID: callID, UniqueID: unique, Body: []byte(`null`),
				Failure: []byte(`{"class": "ValueError", "module": "builtins", "message": "bad", "tb": [], "args": ["bad"], "kwargs": {}}`)}}},
		{"heartbeat", "a sign of life, with its time over", `{"0":5,"1":2,"13":"` + reply + `","14":"` + callID + `","17":-1}`,
			Packet{Type: Heartbeat, Seq: 2, Message: driver.Message{
				Kind: driver.Heartbeat, ReplyTo: reply, CallID: callID, TimeLeft: -time.Millisecond}}},
		{"settle", "answers of each kind", `{"0":6,"2":3,"20":[1,99,200,0],"21":[18446744073709551615,0],"22":[[300,1,250],[301,5,0]],"23":17}`,
			Packet{Type: Settle, Floor: 3, Load: 17,
				Acked: []Range{{1, 100}, {200, 200}}, Done: []Range{{math.MaxUint64, math.MaxUint64}},
				Nacks: []Nack{{Seq: 300, Reason: NackBusy, RetryAfter: 250 * time.Millisecond}, {Seq: 301, Reason: NackBack}}}},
		{"hello", "a node says what it listens to and wants to know when that is known", `{"0":7,"24":9,"25":true}`,
			Packet{Type: Hello, Number: 9, Sync: true, Record: record}},
		{"welcome", "the answer to a hello", `{"0":8,"24":9}`, Packet{Type: Welcome, Number: 9, Record: record}},
		{"recall", "a node has a listener without work", `{"0":9,"24":5,"26":{"0":3,"1":"nova","2":"notifications","3":"s","4":true,"5":"r","6":"info","7":"p","8":true}}`,
			Packet{Type: Recall, Number: 5, Target: registry.Target{Kind: driver.SourceNotifications,
				Exchange: "nova", Topic: "notifications", Server: "s", Scoped: true, Reply: "r", Priority: "info", Pool: "p", AtLeastOnce: true}}},
		{"gossip", "what registries tell each other", `{"0":10,"23":1}`, Packet{Type: Gossip, Load: 1, Payload: []byte{0xff, 0, 1}}},
		{"goodbye", "the end of a link", `{"0":11}`, Packet{Type: Goodbye}},
	}
}

func (g *golden) file() string { return filepath.Join("testdata", g.name+".hex") }

// text is the golden file: comments, and a line for each frame.
func (g *golden) text(frames [][]byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s: %s\n# header %s\n", g.name, g.about, g.header)
	for _, frame := range frames {
		if line := hex.EncodeToString(frame); line != "" {
			b.WriteString(line + "\n")
			continue
		}
		b.WriteString("-\n")
	}
	return b.String()
}

// readFrames reads a golden file.
func readFrames(tb testing.TB, file string) [][]byte {
	tb.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	var frames [][]byte
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		frame, err := hex.DecodeString(strings.TrimPrefix(line, "-"))
		if err != nil {
			tb.Fatal(err)
		}
		frames = append(frames, frame)
	}
	return frames
}

func TestGolden(t *testing.T) {
	for _, g := range goldens() {
		t.Run(g.name, func(t *testing.T) {
			if err := g.packet.Check(); err != nil {
				t.Fatal(err)
			}
			got := g.text(g.packet.Append(nil))
			if *update {
				if err := os.WriteFile(g.file(), []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(g.file())
			if err != nil || got != string(want) {
				t.Errorf("encoded:\n%s\nwant, %v:\n%s", got, err, want)
			}
			back, err := Decode(readFrames(t, g.file()))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(back, &g.packet) {
				t.Errorf("decoded:\n%+v\nwant:\n%+v", back, g.packet)
			}
		})
	}
}

// TestEveryFieldCrosses finds a field that was added and forgotten here: each is set in a golden
// packet, which comes back equal.
func TestEveryFieldCrosses(t *testing.T) {
	set := map[string]bool{
		"Packet.Message.FailFast": true, "Packet.Message.Mandatory": true, // do not cross
		"Packet.Record.Legacy": true, // crosses in JSON, as all of a record
	}
	for _, g := range goldens() {
		walk("Packet", reflect.ValueOf(g.packet), func(path string, isSet bool) { set[path] = set[path] || isSet })
	}
	for path, isSet := range set {
		if !isSet {
			t.Errorf("no golden packet has %s", path)
		}
	}
}

func walk(path string, v reflect.Value, f func(string, bool)) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct || v.Type() == reflect.TypeFor[time.Time]() {
		f(path, !v.IsZero())
		return
	}
	for i := range v.NumField() {
		walk(path+"."+v.Type().Field(i).Name, v.Field(i), f)
	}
}
