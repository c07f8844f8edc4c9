// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/registry"
)

// packetOf returns frames with a header in hexadecimal digits, spaces allowed.
func packetOf(tb testing.TB, header string) [][]byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(header, " ", ""))
	if err != nil {
		tb.Fatal(err)
	}
	return [][]byte{nil, []byte(Version), b, nil, nil}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct{ name, header, want string }{
		{"empty", "", "want a value"},
		{"no map", "80", "want a map"},
		{"no type", "a0", "no type"},
		{"type zero", "a1 00 00", "no type"},
		{"first key not the type", "a1 01 01", "no type"},
		{"unknown type", "a1 00 0c", "not known"},
		{"type too large", "a1 00 19 0101", "too large"},
		{"no seq", "a1 00 01", "without a seq"},
		{"seq zero", "a2 00 01 01 00", "without a seq"},
		{"seq is text", "a2 00 01 01 61 31", "want an unsigned integer"},
		{"key twice", "a3 00 01 01 01 01 02", "twice or out of order"},
		{"unknown key twice", "a4 00 01 01 01 18 64 01 18 64 01", "twice or out of order"},
		{"keys out of order", "a3 00 01 07 61 74 01 01", "twice or out of order"},
		{"key is text", "a2 00 01 61 61 01", "want an unsigned integer"},
		{"key is negative", "a2 00 01 20 01", "want an unsigned integer"},
		{"indefinite map", "bf 00 0b ff", "indefinite"},
		{"indefinite text", "a3 00 01 01 01 07 7f 61 61 ff", "indefinite"},
		{"indefinite list unknown", "a2 00 0b 18 64 9f ff", "indefinite"},
		{"reserved head", "a2 00 0b 18 64 1c", "reserved"},
		{"long integer", "a1 00 18 0b", "shortest"},
		{"long integer of 8", "a2 00 0b 02 1b 00000000ffffffff", "shortest"},
		{"long length", "a3 00 01 01 01 07 78 01 61", "shortest"},
		{"cut", "a1 00", "more entries than bytes"},
		{"cut in a list", "a2 00 06 14 82 01", "more entries than bytes"},
		{"cut head", "a2 00 0b 02 19 01", "does not end"},
		{"cut text", "a3 00 01 01 01 07 62 61", "text does not end"},
		{"huge text", "a3 00 01 01 01 07 7b ffffffffffffffff", "text does not end"},
		{"huge map", "bb ffffffffffffffff", "more entries than bytes"},
		{"huge list", "a2 00 06 14 9b ffffffffffffffff", "more entries than bytes"},
		{"huge list unknown", "a2 00 06 18 64 9b ffffffffffffffff", "more entries than bytes"},
		{"huge map unknown", "a2 00 06 18 64 bb 8000000000000000", "more entries than bytes"},
		{"huge bytes unknown", "a2 00 06 18 64 5b 7fffffffffffffff", "does not end"},
		{"bytes after", "a1 00 0b 00", "bytes after the map"},
		{"bad UTF-8", "a3 00 01 01 01 07 61 ff", "not valid UTF-8"},
		{"bytes for text", "a3 00 01 01 01 07 41 61", "want a text"},
		{"number for bool", "a3 00 01 01 01 09 01", "want true or false"},
		{"null for bool", "a3 00 01 01 01 09 f6", "want true or false"},
		{"float for time", "a3 00 01 01 01 11 f9 3c00", "want an integer"},
		{"half a range", "a2 00 06 14 83 01 00 02", "half a range"},
		{"range beyond the end", "a2 00 06 14 82 02 1b ffffffffffffffff", "too large"},
		{"nack too short", "a2 00 06 16 81 82 01 01 00", "too few values"},
		{"nack no list", "a2 00 06 16 81 01 01 01 01", "want a nack"},
		{"header twice", "a3 00 01 01 01 13 a2 61 61 60 61 61 60", "a header twice"},
		{"header cut", "a3 00 01 01 01 13 a1 61 61 62 61", "does not end"},
		{"header no text", "a3 00 01 01 01 13 a1 61 61 01", "want a text"},
		{"too deep", "a2 00 0b 18 64 " + strings.Repeat("81", 17) + "00", "too deeply"},
		{"too deep by tags", "a2 00 0b 18 64 " + strings.Repeat("c1", 17) + "00", "too deeply"},
		{"target out of order", "a2 00 09 18 1a a2 01 61 61 00 01", "out of order"},
		{"stray break", "a2 00 0b 18 64 ff", "reserved"},
		{"two byte false", "a2 00 0b 18 64 f8 14", "shortest"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Decode(packetOf(t, tt.header))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %+v, %v, want an error with %q", p, err, tt.want)
			}
		})
	}
}

func TestRefusedFrames(t *testing.T) {
	version, header := []byte(Version), []byte{0xa1, 0, byte(Goodbye)}
	for _, tt := range []struct {
		frames [][]byte
		want   string
	}{
		{nil, "0 frames"},
		{[][]byte{nil, version, header, nil}, "4 frames"},
		{[][]byte{nil, version, header, nil, nil, nil}, "6 frames"},
		{[][]byte{{1}, version, header, nil, nil}, "first frame"},
		{[][]byte{nil, []byte("1.0"), header, nil, nil}, "version 2.0"},
		{[][]byte{nil, version, make([]byte, MaxHeader+1), nil, nil}, "the limit"},
		{[][]byte{nil, version, {0xa1, 0, byte(Hello)}, nil, nil}, "without a record"},
	} {
		if _, err := Decode(tt.frames); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want an error with %q", err, tt.want)
		}
	}
	if Is(nil) || Is([][]byte{nil, []byte("1.0")}) || !Is([][]byte{nil, version}) {
		t.Error("Is does not tell the version")
	}
}

// TestErrorSaysWhose: a message that cannot be read can be refused by its number.
func TestErrorSaysWhose(t *testing.T) {
	_, err := Decode(packetOf(t, "a3 00 01 01 05 07 61 ff"))
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Type != Call || e.Seq != 5 || e.Unknown {
		t.Errorf("got %+v", err)
	}
	_, err = Decode(packetOf(t, "a1 00 0c"))
	if e, ok = errors.AsType[*Error](err); !ok || !e.Unknown {
		t.Errorf("got %+v", err)
	}
}

// TestLaterVersions: keys of the other kind of packet and unknown ones are skipped, whatever is in them.
func TestLaterVersions(t *testing.T) {
	for name, tt := range map[string]struct {
		header string
		want   Packet
	}{
		"unknown values": {"ab 00 0b 18 64 f9 3c00 18 65 fa 00000000 18 66 fb 0000000000000000 18 67 a1 61 61 81 f6" +
			"18 68 c1 00 18 69 43 010203 18 6a 61 ff 18 6b f8 20 18 6c 20 1b 0100000000000000 f7", Packet{Type: Goodbye}},
		"keys of messages": {"a3 00 06 01 05 07 61 74", Packet{Type: Settle}},
		"keys of others":   {"a3 00 01 01 05 17 05", Packet{Type: Call, Seq: 5, Message: driver.Message{Kind: driver.Call}}},
		"longer nack":      {"a2 00 06 16 81 84 05 02 00 61 61", Packet{Type: Settle, Nacks: []Nack{{Seq: 5, Reason: NackNoTarget}}}},
		"empty lists":      {"a4 00 06 14 80 15 80 16 80", Packet{Type: Settle}},
		"deep enough":      {"a2 00 0b 18 64 " + strings.Repeat("81", 15) + "00", Packet{Type: Goodbye}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Decode(packetOf(t, tt.header))
			if err != nil || !reflect.DeepEqual(p, &tt.want) {
				t.Errorf("got %+v, %v, want %+v", p, err, tt.want)
			}
		})
	}
	// Bodies of packets that have none.
	frames := packetOf(t, "a1 00 0b")
	frames[frameContext], frames[frameBody] = []byte("x"), []byte("y")
	if p, err := Decode(frames); err != nil || !reflect.DeepEqual(p, &Packet{Type: Goodbye}) {
		t.Errorf("got %+v, %v", p, err)
	}
}

func TestTimes(t *testing.T) {
	const ms = time.Millisecond
	longest := time.Duration(math.MaxInt64).Truncate(ms)
	for d, want := range map[time.Duration]time.Duration{
		0: 0, 1: ms, ms: ms, ms + 1: 2 * ms, -1: -ms, -ms: -ms, -ms - 1: -2 * ms,
		math.MaxInt64: longest, math.MinInt64: -longest,
	} {
		p := Packet{Type: Call, Seq: 1, Message: driver.Message{TimeLeft: d, MonitorTimeout: d}}
		back, err := Decode(p.Append(nil))
		if err != nil || back.Message.TimeLeft != want || back.Message.MonitorTimeout != max(0, want) {
			t.Errorf("%d: got %d and %d, %v, want %d", d, back.Message.TimeLeft, back.Message.MonitorTimeout, err, want)
		}
	}
	// What no clock shows tells nothing.
	if back, err := Decode(packetOf(t, "a3 00 01 01 01 12 1b 7fffffffffffffff")); err != nil || !back.Message.Deadline.IsZero() {
		t.Errorf("got %v, %v", back, err)
	}
}

// TestHeaders: headers beyond the limits are left out and harm nothing.
func TestHeaders(t *testing.T) {
	many := make(map[string]string)
	for i := range driver.MaxHeaders {
		many[fmt.Sprintf("h%d", i)] = strings.Repeat("v", 50)
	}
	more := map[string]string{"one": "more"}
	for k, v := range many {
		more[k] = v
	}
	for name, tt := range map[string]struct {
		headers map[string]string
		crosses bool
	}{
		"most":      {many, true},
		"too many":  {more, false},
		"too long":  {map[string]string{"a": strings.Repeat("v", driver.MaxHeaderBytes)}, false},
		"bad UTF-8": {map[string]string{"a": "\xff"}, false},
		"bad name":  {map[string]string{"\xff": "a", "b": "c"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := Packet{Type: Cast, Seq: 1, Message: driver.Message{Kind: driver.Cast, Headers: tt.headers, Body: []byte("{}")}}
			back, err := Decode(p.Append(nil))
			if err != nil || string(back.Message.Body) != "{}" {
				t.Fatalf("got %+v, %v", back, err)
			}
			if got := reflect.DeepEqual(back.Message.Headers, tt.headers); got != tt.crosses || !got && back.Message.Headers != nil {
				t.Errorf("got headers %v", back.Message.Headers)
			}
			if err := p.Check(); (err == nil) != tt.crosses {
				t.Errorf("Check says %v", err)
			}
		})
	}
}

// TestLimits: what Check allows is taken, and what it refuses is refused.
func TestLimits(t *testing.T) {
	ranges := make([]Range, MaxRanges+1)
	nacks := make([]Nack, MaxRanges+1)
	for i := range ranges {
		ranges[i] = Range{math.MaxUint64/2 + uint64(i), math.MaxUint64}
		nacks[i] = Nack{Seq: math.MaxUint64, Reason: 255, RetryAfter: time.Duration(math.MaxInt64).Truncate(time.Millisecond)}
	}
	text := strings.Repeat("ü", MaxText/2)
	targets := make([]registry.Target, MaxTargets+1)
	endpoints := make([]string, MaxEndpoints+1)
	record := func(f func(*registry.Record)) *registry.Record {
		r := &registry.Record{Node: "n"}
		f(r)
		return r
	}
	for name, tt := range map[string]struct {
		packet Packet
		ok     bool
	}{
		"ranges":             {Packet{Type: Settle, Acked: ranges[1:], Done: ranges[1:], Nacks: nacks[1:]}, true},
		"too many acked":     {Packet{Type: Settle, Acked: ranges}, false},
		"too many done":      {Packet{Type: Settle, Done: ranges}, false},
		"too many nacks":     {Packet{Type: Settle, Nacks: nacks}, false},
		"range upside down":  {Packet{Type: Settle, Done: []Range{{5, 4}}}, false},
		"texts":              {Packet{Type: Call, Seq: 1, Pool: text, Message: driver.Message{Kind: driver.Call, ReplyTo: text, Target: driver.Target{Topic: text}}}, true},
		"text too long":      {Packet{Type: Call, Seq: 1, Message: driver.Message{UniqueID: text + "x"}}, false},
		"text not UTF-8":     {Packet{Type: Call, Seq: 1, Message: driver.Message{Priority: "\xff"}}, false},
		"target too long":    {Packet{Type: Recall, Target: registry.Target{Reply: text + "x"}}, false},
		"no seq":             {Packet{Type: Call}, false},
		"no type":            {Packet{}, false},
		"unknown type":       {Packet{Type: Goodbye + 1}, false},
		"hello of nobody":    {Packet{Type: Hello}, false},
		"welcome of nobody":  {Packet{Type: Welcome}, true},
		"record without id":  {Packet{Type: Hello, Record: &registry.Record{}}, false},
		"record long id":     {Packet{Type: Hello, Record: &registry.Record{Node: text}}, false},
		"targets":            {Packet{Type: Hello, Record: record(func(r *registry.Record) { r.Targets = targets[1:]; r.Endpoints = endpoints[1:] })}, true},
		"too many targets":   {Packet{Type: Hello, Record: record(func(r *registry.Record) { r.Targets = targets })}, false},
		"too many endpoints": {Packet{Type: Welcome, Record: record(func(r *registry.Record) { r.Endpoints = endpoints })}, false},
		"record too long":    {Packet{Type: Hello, Record: record(func(r *registry.Record) { r.Name = strings.Repeat("n", MaxRecord) })}, false},
	} {
		t.Run(name, func(t *testing.T) {
			check := tt.packet.Check()
			frames := tt.packet.Append(nil)
			back, err := Decode(frames)
			if (check == nil) != tt.ok || (err == nil) != tt.ok {
				t.Errorf("Check says %v and Decode %v", check, err)
			}
			if tt.ok && err == nil && !reflect.DeepEqual(back, &tt.packet) {
				t.Errorf("another packet came back")
			}
			if tt.ok && len(frames[frameHeader]) > MaxHeader {
				t.Errorf("a header of %d bytes", len(frames[frameHeader]))
			}
		})
	}
}

func TestRecord(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want string // of the error
	}{
		"later fields":     {`{"node":"n","later":[1],"targets":null,"endpoints":[]}`, ""},
		"not UTF-8":        {"{\"node\":\"\xff\"}", "UTF-8"},
		"no JSON":          {`{`, "malformed"},
		"no object":        {`[]`, "wrong type"},
		"text after":       {`{"node":"n"}{}`, "malformed"},
		"wrong type":       {`{"node":5}`, "wrong type"},
		"targets no list":  {`{"node":"n","targets":{}}`, "no list"},
		"target no object": {`{"node":"n","targets":["secret"]}`, "wrong type"},
		"kind too large":   {`{"node":"n","targets":[{"kind":256}]}`, "wrong type"},
	} {
		t.Run(name, func(t *testing.T) {
			frames := packetOf(t, "a1 00 07")
			frames[frameBody] = []byte(tt.text)
			p, err := Decode(frames)
			if tt.want == "" {
				if want := (&registry.Record{Node: "n"}); err != nil || !reflect.DeepEqual(p.Record, want) {
					t.Errorf("got %+v, %v", p, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
	// A megabyte of short entries does not become many.
	frames := packetOf(t, "a1 00 07")
	frames[frameBody] = []byte(`{"node":"n","targets":[{}` + strings.Repeat(`,{}`, MaxRecord/3-20) + `]}`)
	if n := allocated(func() { _, _ = Decode(frames) }); n > 16<<20 {
		t.Errorf("%d bytes for a record of %d", n, len(frames[frameBody]))
	}
}

// allocated is how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestMemory: frames are shared and the header is not kept.
func TestMemory(t *testing.T) {
	g := goldens()[0]
	frames := g.packet.Append(nil)
	if &frames[frameBody][0] != &g.packet.Message.Body[0] {
		t.Error("Append copied the body")
	}
	p, err := Decode(frames)
	if err != nil || &p.Message.Body[0] != &frames[frameBody][0] || &p.Message.Context[0] != &frames[frameContext][0] {
		t.Errorf("Decode copied the body: %v", err)
	}
	clear(frames[frameHeader])
	if !reflect.DeepEqual(p, &g.packet) {
		t.Errorf("the header's memory is in use")
	}
	if got := g.packet.Append(frames[:0:0]); len(got) != frameCount {
		t.Errorf("%d frames", len(got))
	}
	// A buffer behind one frame is not the next frame's.
	frames = g.packet.Append([][]byte{[]byte("identity")})
	_ = append(frames[1+frameVersion], 'x')
	if back, err := Decode(frames[1:]); err != nil || !reflect.DeepEqual(back, &g.packet) {
		t.Errorf("appending to a frame changed another: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, g := range goldens() {
		frames := g.packet.Append(nil)
		f.Add(frames[frameHeader], frames[frameContext], frames[frameBody])
	}
	f.Fuzz(func(t *testing.T, header, context, body []byte) {
		p, err := Decode([][]byte{{}, []byte(Version), header, context, body})
		if err != nil {
			return
		}
		frames := p.Append(nil)
		back, err := Decode(frames)
		if err != nil || !reflect.DeepEqual(p, back) {
			t.Fatalf("decoded %+v, then %+v, %v", p, back, err)
		}
		if again := back.Append(nil); !slices.EqualFunc(frames, again, bytes.Equal) {
			t.Fatalf("encoded %x, then %x", frames, again)
		}
		if err := p.Check(); err != nil {
			t.Fatalf("taken, and Check says %v", err)
		}
	})
}

func FuzzHeader(f *testing.F) {
	for _, g := range goldens() {
		f.Add(g.packet.Append(nil)[frameHeader])
	}
	f.Add([]byte{0xa2, 0, 11, 0x18, 0x64, 0x81, 0xc1, 0xa1, 0x20, 0xfb, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, header []byte) {
		r := reader{data: header}
		r.skip(0)
		if wellFormed := r.problem == "" && r.left() == 0; wellFormed {
			return
		}
		// What is not well-formed is no header either.
		if p, err := Decode([][]byte{{}, []byte(Version), header, nil, nil}); err == nil {
			t.Fatalf("malformed, %s, and decoded: %+v", r.problem, p)
		}
	})
}
