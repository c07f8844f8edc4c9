// SPDX-License-Identifier: Apache-2.0

package sieve

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/Azure/go-amqp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func cat(parts ...[]byte) []byte                { return slices.Concat(parts...) }
func be32(n int) []byte                         { return binary.BigEndian.AppendUint32(nil, uint32(n)) }
func section(code byte, value ...[]byte) []byte { return cat([]byte{0, 0x53, code}, cat(value...)) }
func str(s string) []byte                       { return cat([]byte{0xa1, byte(len(s))}, []byte(s)) }

func container(code byte, values ...[]byte) []byte {
	body := cat(values...)
	return cat([]byte{code}, be32(len(body)+4), be32(len(values)), body)
}

func list32(values ...[]byte) []byte { return container(0xd0, values...) }
func map32(values ...[]byte) []byte  { return container(0xd1, values...) }

func nested(depth int) []byte {
	v := []byte{0x40}
	for range depth {
		v = list32(v)
	}
	return v
}

// plain is a message as oslo.messaging sends it.
func plain(t testing.TB) []byte {
	t.Helper()
	to, replyTo := "unicast.openstack.t", "TempQueue1"
	raw, err := (&amqp.Message{
		Header:                &amqp.MessageHeader{Priority: 4, TTL: time.Second},
		Properties:            &amqp.MessageProperties{MessageID: "id", To: &to, ReplyTo: &replyTo},
		ApplicationProperties: map[string]any{"parley_deadline": int64(1763900000123), "traceparent": "00"},
		Value:                 `{"request": {"method": "` + strings.Repeat("x", 1000) + `"}, "context": {}}`,
	}).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// unreadable are messages that end the process, or the link, in the library. why is part of the reason.
func unreadable(t testing.TB) map[string]struct {
	raw []byte
	why string
} {
	t.Helper()
	return map[string]struct {
		raw []byte
		why string
	}{
		"annotation with a binary name":           {section(0x72, map32([]byte{0xa0, 1, 'x'}, []byte{0x40})), "key"},
		"annotation with a list as name":          {section(0x72, map32([]byte{0x45}, []byte{0x40})), "key"},
		"described key":                           {section(0x77, map32([]byte{0x00, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0x45}, []byte{0x40})), "described"},
		"described value":                         {section(0x77, []byte{0x00, 0x53, 1, 0x40}), "described"},
		"nested lists":                            {section(0x77, nested(100)), "deeply"},
		"nested descriptors":                      {section(0x77, make([]byte, 1<<20)), "described"},
		"char":                                    {section(0x74, map32(str("c"), []byte{0x73, 0, 0, 0, 'c'})), "0x73"},
		"decimal":                                 {section(0x77, []byte{0x84, 0, 0, 0, 0, 0, 0, 0, 0}), "0x84"},
		"unknown section":                         {cat(plain(t), section(0x79, []byte{0x40})), "no section"},
		"a section that is a string":              {section(0x73, str("x")), "no section"},
		"not a section":                           {[]byte("hello world"), "no section"},
		"a header's field of a wrong type":        {section(0x70, list32(str("x"))), "wrong type"},
		"too many fields":                         {section(0x70, list32([]byte{0x40}, []byte{0x40}, []byte{0x40}, []byte{0x40}, []byte{0x40}, []byte{0x40})), "wrong type"},
		"a number as application property's name": {section(0x74, map32([]byte{0x53, 1}, []byte{0x40})), "key"},
		"half a map":                              {section(0x77, map32(str("x"))), "sizes"},
		"a list of too many":                      {section(0x77, []byte{0xd0}, be32(70004), be32(70000), make([]byte, 70000)), "too many"},
		"a list that is too long":                 {section(0x77, []byte{0xc0, 10, 1, 0x40}), "sizes"},
		"a short list":                            {section(0x77, []byte{0xc0, 3, 1, 0x40, 0x40}), "sizes"},
		"an array of lists":                       {section(0x77, []byte{0xe0, 4, 1, 0xc0, 1, 0}), "0xc0"},
		"an array of another size":                {section(0x77, []byte{0xe0, 4, 3, 0x50, 1, 2}), "sizes"},
		"truncated":                               {plain(t)[:100], "ends before"},
	}
}

func TestScan(t *testing.T) {
	for name, raw := range map[string][]byte{
		"plain":              plain(t),
		"nothing":            {},
		"data in parts":      cat(section(0x75, []byte{0xa0, 2, 1, 2}), section(0x75, []byte{0xb0}, be32(3), []byte("abc"))),
		"annotations":        section(0x72, map32(cat([]byte{0xa3, 5}, []byte("x-opt")), list32(str("a"), nested(5)), []byte{0x80, 0, 0, 0, 0, 0, 0, 0, 1}, []byte{0x41})),
		"arrays":             section(0x77, list32([]byte{0xe0, 5, 3, 0x50, 1, 2, 3}, []byte{0xe0, 6, 2, 0xa3, 1, 'a', 1, 'b'}, cat([]byte{0xf0}, be32(5), be32(0), []byte{0x71}))),
		"empty map and list": cat(section(0x74, []byte{0xc1, 1, 0}), section(0x77, []byte{0x45})),
		"uuid":               section(0x73, []byte{0xc0, 18, 1, 0x98}, make([]byte, 16)),
	} {
		if why := new(scan).feed(raw, true); why != "" {
			t.Errorf("%s is refused: %s", name, why)
		}
		if err := new(amqp.Message).UnmarshalBinary(raw); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		s := new(scan)
		for i := range raw {
			if why := s.feed(raw[i:i+1], i == len(raw)-1); why != "" {
				t.Errorf("%s in single bytes is refused at %d: %s", name, i, why)
				break
			}
		}
	}
	for name, c := range unreadable(t) {
		if why := new(scan).feed(c.raw, true); !strings.Contains(why, c.why) || why == "" {
			t.Errorf("%s: %q, want %q", name, why, c.why)
		}
	}
}

func frame(channel byte, body []byte) []byte {
	return cat(be32(len(body)+8), []byte{2, 0, 0, channel}, body)
}

func transferOf(more bool, payload []byte) []byte {
	m := byte(0x42)
	if more {
		m = 0x41
	}
	fields := list32([]byte{0x43}, []byte{0x52, 1}, []byte{0xa0, 1, 7}, []byte{0x43}, []byte{0x42}, []byte{m})
	return cat([]byte{0, 0x53, 0x14}, fields, payload)
}

// through sends bytes through a Conn in pieces.
func through(t testing.TB, sent []byte, piece int) (got []byte, reasons []string, err error) {
	t.Helper()
	near, far := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for p := range slices.Chunk(sent, piece) {
			if _, err := far.Write(p); err != nil {
				break
			}
		}
		_ = far.Close()
	}()
	c := New(near, Options{Report: func(why string) { reasons = append(reasons, why) }})
	got, err = io.ReadAll(c)
	_ = near.Close()
	<-ended
	return got, reasons, err
}

func TestConn(t *testing.T) {
	header := []byte("AMQP\x03\x01\x00\x00")
	good := plain(t)
	other := frame(0, []byte{0, 0x53, 0x13, 0x45})
	for name, sent := range map[string][]byte{
		"nothing":        {},
		"messages":       cat(header, frame(0, nil), []byte("AMQP\x00\x01\x00\x00"), other, frame(3, transferOf(false, good)), other, frame(3, transferOf(false, good))),
		"in parts":       cat(header, frame(3, transferOf(true, good[:50])), frame(2, transferOf(false, good)), other, frame(3, transferOf(true, good[50:51])), frame(3, transferOf(false, good[51:]))),
		"large":          cat(header, frame(1, transferOf(false, section(0x77, []byte{0xb1}, be32(1<<20), bytes.Repeat([]byte{'x'}, 1<<20))))),
		"a new link":     cat(header, frame(3, transferOf(true, good[:50])), frame(3, []byte{0, 0x53, 0x16, 0xc0, 2, 1, 0x43}), frame(3, transferOf(false, good))),
		"a new session":  cat(header, frame(3, transferOf(true, good[:50])), frame(3, []byte{0, 0x53, 0x17, 0x45}), frame(3, transferOf(false, good))),
		"something else": []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"short":          {0x15, 3, 3},
		"garbage behind": cat(header, []byte{0, 0, 0, 1, 2, 3, 4, 5, 6}),
	} {
		for _, piece := range []int{1, 7, 5000, 1 << 20} {
			if len(sent) > 1<<20 && piece < 10 {
				continue // a step of the pipe for each
			}
			got, reasons, err := through(t, sent, piece)
			if err != nil || !bytes.Equal(got, sent) || len(reasons) > 0 {
				t.Errorf("%s in pieces of %d: %d bytes of %d came, %v, %v", name, piece, len(got), len(sent), reasons, err)
			}
		}
	}
}

// What cannot be read arrives as something that can, and nothing else is touched.
func TestConnHides(t *testing.T) {
	header := []byte("AMQP\x00\x01\x00\x00")
	good := frame(3, transferOf(false, plain(t)))
	for name, c := range unreadable(t) {
		bad := frame(3, transferOf(false, c.raw))
		got, reasons, err := through(t, cat(header, good, bad, good), 1000)
		if err != nil || len(got) != len(header)+2*len(good)+len(bad) || len(reasons) != 1 || !strings.Contains(reasons[0], c.why) {
			t.Errorf("%s: %d bytes, %q, %v", name, len(got), reasons, err)
			continue
		}
		if !bytes.HasPrefix(got, cat(header, good)) || !bytes.HasSuffix(got, good) {
			t.Errorf("%s: the messages beside it are not the same", name)
		}
		payload := got[len(got)-len(good)-len(c.raw) : len(got)-len(good)]
		var m amqp.Message
		if err := m.UnmarshalBinary(payload); err != nil || len(m.Data) != 1 || !strings.HasPrefix("unreadable: "+c.why, string(m.Data[0][:min(5, len(m.Data[0]))])) {
			t.Errorf("%s became %.100q, %v", name, payload, err)
		}
	}
	// In parts: all of them are hidden when the first tells, and the connection ends when it does not.
	bad := section(0x77, nested(100))
	got, reasons, err := through(t, cat(header, frame(3, transferOf(true, bad[:300])), frame(3, transferOf(true, bad[300:306])), frame(3, transferOf(false, bad[306:])), good), 100)
	if err != nil || len(reasons) != 1 || !bytes.HasSuffix(got, good) {
		t.Errorf("%q, %v", reasons, err)
	}
	for name, sent := range map[string][]byte{
		"a later part": cat(frame(3, transferOf(true, bad[:20])), frame(3, transferOf(false, bad[20:]))),
		"a tiny one":   frame(3, transferOf(false, []byte{1, 2, 3})),
	} {
		got, _, err := through(t, cat(header, good, sent, good), 100)
		if !errors.Is(err, errLate) || !bytes.HasPrefix(got, cat(header, good)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := through(t, cat(header, frame(3, []byte{0, 0x53, 0x14, 0xa0, 1, 1})), 100); !errors.Is(err, errTransfer) {
		t.Errorf("a transfer that is none: %v", err)
	}
}

// FuzzScan asserts what the package is for: what passes, go-amqp can read.
func FuzzScan(f *testing.F) {
	f.Add(plain(f), 10)
	for _, c := range unreadable(f) {
		if len(c.raw) < 1000 {
			f.Add(c.raw, 3)
		}
	}
	f.Add(section(0x72, map32(cat([]byte{0xa3, 5}, []byte("x-opt")), list32(str("a"), nested(5)))), 1)
	f.Add(section(0x77, list32([]byte{0xe0, 5, 3, 0x50, 1, 2, 3}, []byte{0xe0, 6, 2, 0xa3, 1, 'a', 1, 'b'})), 1)
	f.Fuzz(func(t *testing.T, raw []byte, piece int) {
		why := new(scan).feed(raw, true)
		s := new(scan)
		var inParts string
		for rest, n := raw, 1+piece&0xff; ; rest = rest[min(n, len(rest)):] {
			if inParts = s.feed(rest[:min(n, len(rest))], len(rest) <= n); len(rest) <= n {
				break
			}
		}
		if why != inParts {
			t.Fatalf("%q, and in parts %q", why, inParts)
		}
		if why == "" {
			if err := new(amqp.Message).UnmarshalBinary(raw); err != nil {
				t.Fatalf("it passes, and go-amqp says: %v", err)
			}
			return
		}
		if hidden := bytes.Clone(raw); hide(hidden, why) && len(hidden) > 0 {
			if err := new(amqp.Message).UnmarshalBinary(hidden); err != nil || new(scan).feed(hidden, true) != "" {
				t.Fatalf("what is hidden cannot be read: %v", err)
			}
		}
	})
}

// FuzzConn sends anything through.
func FuzzConn(f *testing.F) {
	header := []byte("AMQP\x00\x01\x00\x00")
	f.Add(cat(header, frame(3, transferOf(true, plain(f)[:50])), frame(3, transferOf(false, plain(f)[50:]))), 3)
	f.Add(cat(header, frame(3, []byte{0, 0x53, 0x16, 0xc0, 2, 1, 0x43})), 100)
	f.Fuzz(func(t *testing.T, sent []byte, piece int) {
		got, _, err := through(t, sent, 1+piece&0xfff)
		if len(got) > len(sent) || err == nil && len(got) < len(sent) && len(sent)-len(got) > maxFrame {
			t.Fatalf("%d bytes of %d came, %v", len(got), len(sent), err)
		}
	})
}
