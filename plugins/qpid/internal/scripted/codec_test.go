// SPDX-License-Identifier: Apache-2.0

package scripted

import (
	"bytes"
	"io"
	"reflect"
	"strings"
	"testing"

	amqp "github.com/Azure/go-amqp"
)

func values() []any {
	return []any{
		nil, true, false, uint8(200), uint16(60000), uint32(1 << 31), uint64(7), uint64(1 << 60), int8(-7), int16(-7), int32(-7),
		int64(-7), float32(1.5), 2.5, Char('é'), Timestamp(-1), UUID{1, 2}, []byte{0, 1}, "text", strings.Repeat("long", 100),
		Symbol("sym"), List{}, List{"a", nil, List{uint32(1)}}, Map{"k": uint32(1), Symbol("s"): nil}, Array{Symbol("a"), Symbol("b")},
		Described{uint64(0x70), List{}}, Described{Symbol("x:y"), "v"}, Opaque{0x74, "\x00\x01\x02\x03"},
	}
}

func TestCodec(t *testing.T) {
	for _, v := range values() {
		got, rest, err := decode(encode(nil, v))
		if err != nil || len(rest) > 0 || !reflect.DeepEqual(got, v) {
			t.Errorf("%#v came back as %#v, %v", v, got, err)
		}
	}
}

// TestForeign are forms that the peer reads and does not write.
func TestForeign(t *testing.T) {
	for _, tt := range []struct {
		bytes string
		want  any
	}{
		{"\x43", uint32(0)},
		{"\x44", uint64(0)},
		{"\x52\x05", uint32(5)},
		{"\x54\xff", int32(-1)},
		{"\x55\xff", int64(-1)},
		{"\x56\x01", true},
		{"\xb1\x00\x00\x00\x01a", "a"},
		{"\xc0\x03\x01\xa1\x00", List{""}},
		{"\xe0\x04\x02\xa3\x01a\x00", nil},
		{"\xe0\x05\x02\xa3\x01a\x00", Array{Symbol("a"), Symbol("")}},
		{"\xe0\x06\x02\x00\x53\x24\x45", nil},
		{"\xe0\x05\x02\x00\x53\x24\x45", Array{Described{uint64(0x24), List{}}, Described{uint64(0x24), List{}}}},
		{"\xc1\x03\x02\x40\x40", Map{nil: nil}},
		{"\xc1\x03\x02\x45\x40", nil}, // a list as a key
		{"\xc1\x02\x01\x40", nil},     // no value
		{"\xa1\x05abc", nil},
		{"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x40", nil},
		{"\x10", nil},
		{"\xa2\x00", nil},
		{strings.Repeat("\x00", 100), nil},
		{strings.Repeat("\xe0\x80\x01", 50), nil},
	} {
		got, _, err := decode([]byte(tt.bytes))
		if tt.want == nil && err == nil || tt.want != nil && (err != nil || !reflect.DeepEqual(got, tt.want)) {
			t.Errorf("%x is %#v, %v, want %#v", tt.bytes, got, err, tt.want)
		}
	}
}

func TestSection(t *testing.T) {
	to := "unicast.q"
	b, err := (&amqp.Message{
		Header: &amqp.MessageHeader{Priority: 4}, Properties: &amqp.MessageProperties{To: &to}, Value: "body",
	}).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if got := section(b, codeProperties).text(2); got != to {
		t.Errorf("to is %q", got)
	}
	if got := section([]byte("garbage"), codeProperties); got != nil {
		t.Errorf("garbage has %v", got)
	}
	for _, payload := range [][]byte{b, encode(nil, Described{uint64(0x77), "body"})} {
		m, err := Decode((&message{payload: payload, attempts: 3}).withAttempts())
		if err != nil || m.Header == nil || m.Header.DeliveryCount != 3 || m.Value != "body" {
			t.Errorf("got %+v, %v", m, err)
		}
	}
}

func FuzzValue(f *testing.F) {
	for _, v := range values() {
		f.Add(encode(nil, v))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, _, err := decode(b)
		if err != nil {
			return
		}
		once := encode(nil, v)
		d := decoder{rest: once}
		again, err := d.value(-3 * maxDepth) // lists are made of some arrays, which may be deeper
		if err != nil {
			t.Fatalf("%#v is encoded as %x: %v", v, once, err)
		}
		if twice := encode(nil, again); !bytes.Equal(once, twice) {
			t.Errorf("%x is decoded and encoded as %x", once, twice)
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add(appendFrame(nil, 0, 1, codeFlow, List{uint32(1)}, []byte("payload")))
	f.Add([]byte{0, 0, 0, 8, 2, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.NewReader(b)
		for {
			_, err := readFrame(in, 4096)
			if err == io.EOF {
				return
			}
			if err != nil {
				return
			}
		}
	})
}

// FuzzPeer gives bytes to a whole peer, behind the handshake.
func FuzzPeer(f *testing.F) {
	var seed []byte
	node := Described{uint64(codeTarget), List{"unicast.q"}}
	seed = appendFrame(seed, 0, 0, codeBegin, List{nil, uint32(0), window, window}, nil)
	seed = appendFrame(seed, 0, 0, codeAttach, List{"l", uint32(0), false, nil, nil, node, node}, nil)
	seed = appendFrame(seed, 0, 0, codeTransfer, List{uint32(0), uint32(0), []byte("t"), uint32(0)}, []byte("payload"))
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		p := Run(t, Options{})
		r := rawClient(t, p)
		r.open()
		r.write(b)
		r.frame(0, codeClose, List{})
		p.Close()
	})
}
