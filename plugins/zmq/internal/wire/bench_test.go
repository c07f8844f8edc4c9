// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// typical is a call of OpenStack's with a body of 1 KiB.
func typical() Packet {
	return Packet{Type: Call, Seq: 123456, Floor: 123400, Message: driver.Message{
		Kind: driver.Call, Target: driver.Target{Exchange: "nova", Topic: "compute", Server: "compute-17"},
		ReplyTo: "reply_2f6e0d4c8b1a4e7f9d3c5b7a8e6f4d21", CallID: "5f1c0b6a9c1b4d2f8a7e6d5c4b3a2910",
		UniqueID: "0123456789abcdef0123456789abcdef", TimeLeft: time.Minute, Deadline: time.UnixMilli(1795433677123),
		Context: bytes.Repeat([]byte{'c'}, 400), Body: bytes.Repeat([]byte{'b'}, 1024),
	}}
}

func BenchmarkEncode(b *testing.B) {
	p := typical()
	room := make([][]byte, 0, frameCount)
	b.ReportAllocs()
	for b.Loop() {
		_ = p.Append(room)
	}
}

func BenchmarkDecode(b *testing.B) {
	p := typical()
	frames := p.Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(frames); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSettle(b *testing.B) {
	p := Packet{Type: Settle, Floor: 1, Load: 3, Done: make([]Range, 16)}
	for i := range p.Done {
		p.Done[i] = Range{uint64(1000 + 20*i), uint64(1010 + 20*i)}
	}
	room := make([][]byte, 0, frameCount)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(p.Append(room)); err != nil {
			b.Fatal(err)
		}
	}
}
